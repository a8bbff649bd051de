//! JSON with comments and trailing commas, as values with their places.

use std::collections::BTreeSet;

use jsonc_parser::ast::{ObjectPropName, Value as Ast};
use jsonc_parser::common::Ranged as _;
use jsonc_parser::{ParseOptions, parse_to_ast};

use super::Unreadable;
use crate::node::{Key, Node, Value};
use crate::problem::{Lines, Place};

/// What wrangler's own parser takes: comments and commas at the end are all that it has beyond JSON.
const DIALECT: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Reads a document.
///
/// # Errors
/// It is not JSON with comments, or has a name twice in one object.
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    let lines = &Lines::of(text);
    let parsed = parse_to_ast(text, &Default::default(), &DIALECT).map_err(|error| Unreadable {
        place: lines.place(error.range().start),
        message: error.kind().to_string(),
    })?;
    let root = parsed.value.ok_or_else(|| Unreadable {
        place: Place::START,
        message: "is empty: an object with the settings is wanted".to_owned(),
    })?;
    node(lines, &root)
}

fn node(lines: &Lines<'_>, ast: &Ast<'_>) -> Result<Node, Unreadable> {
    let value = match ast {
        Ast::NullKeyword(_) => Value::Null,
        Ast::BooleanLit(literal) => Value::Bool(literal.value),
        Ast::NumberLit(literal) => Value::Number(literal.value.to_owned()),
        Ast::StringLit(literal) => Value::Text(literal.value.to_string()),
        Ast::Array(array) => {
            let items = array.elements.iter().map(|item| node(lines, item));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Ast::Object(object) => {
            let mut names = BTreeSet::new();
            let mut fields = vec![];
            for property in &object.properties {
                let (name, range) = match &property.name {
                    ObjectPropName::String(name) => (name.value.to_string(), name.range()),
                    ObjectPropName::Word(name) => (name.value.to_owned(), name.range()),
                };
                let place = lines.place(range.start);
                if !names.insert(name.clone()) {
                    let message = format!("{name} is here twice: remove one");
                    return Err(Unreadable { place, message });
                }
                fields.push((Key { place, name }, node(lines, &property.value)?));
            }
            Value::Map(fields)
        }
    };
    let place = lines.place(ast.range().start);
    Ok(Node { place, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_last_commas_are_read() {
        let text = "// here\n{\n\t\"a\": [1, -2.5, true, null,], /* b */ \"b\": { \"c\\u00e9\": \"😀\", },\n}\n";
        let node = read(text).unwrap();
        assert_eq!(
            node.json(),
            serde_json::json!({ "a": [1, -2.5, true, null], "b": { "cé": "😀" } })
        );
        let b = node.field("b").unwrap();
        assert_eq!((b.place.line, b.place.column), (3, 44));
    }

    #[test]
    fn what_is_no_json_has_a_place() {
        let told = |text: &str| {
            let Unreadable { place, message } = read(text).unwrap_err();
            format!("{}:{}: {message}", place.line, place.column)
        };
        assert_eq!(
            told("{\n  \"a\": 1,\n  \"a\": 2\n}"),
            "3:3: a is here twice: remove one"
        );
        assert_eq!(
            told(""),
            "1:1: is empty: an object with the settings is wanted"
        );
        assert!(told("{ 'a': 1 }").starts_with("1:3: "));
        assert!(told("{ \"a\": 1 \"b\": 2 }").starts_with("1:"));
    }
}
