//! Types in TypeScript's own words.

use serde_json::Value as Json;

/// The type of one text alone, or a name in quotes.
pub(super) fn text(text: &str) -> String {
    Json::String(text.to_owned()).to_string()
}

/// The type of one value alone.
pub(super) fn exact(value: &Json) -> String {
    value.to_string() // JSON is a type as it is
}

/// The type of values like this one.
pub(super) fn loose(value: &Json) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(_) => "boolean".to_owned(),
        Json::Number(_) => "number".to_owned(),
        Json::String(_) => "string".to_owned(),
        Json::Object(_) => "object".to_owned(),
        Json::Array(items) => {
            let mut types: Vec<_> = items.iter().map(loose).collect();
            types.sort();
            types.dedup();
            match &*types {
                [] => "unknown[]".to_owned(),
                [one] => format!("{one}[]"),
                several => format!("({})[]", several.join(" | ")),
            }
        }
    }
}

/// The name of a field: in quotes where it is no identifier.
pub(super) fn name(name: &str) -> String {
    let is_first = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$');
    let is_identifier =
        name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit());
    if is_identifier {
        name.to_owned()
    } else {
        text(name)
    }
}
