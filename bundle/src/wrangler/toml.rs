//! TOML as values with their places.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Unreadable;
use crate::node::{Key, Node, Value};
use crate::problem::{Lines, Place};

/// Reads a document.
///
/// # Errors
/// It is not TOML.
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    let lines = &Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| Unreadable {
        place: lines.place(error.span().unwrap_or_default().start),
        message: error.message().to_owned(),
    })?;
    Ok(Node {
        place: Place::START,
        value: Value::Map(fields(lines, table.get_ref())),
    })
}

/// Whether a text is a date, as TOML has dates, without a time.
pub(super) fn is_date(text: &str) -> bool {
    if !text.chars().all(|c| c.is_ascii_digit() || c == '-') {
        return false;
    }
    let assignment = format!("date = {text}");
    DeTable::parse(&assignment).is_ok_and(|table| {
        let value = table.get_ref().get("date").map(Spanned::get_ref);
        matches!(value, Some(DeValue::Datetime(date)) if date.date.is_some())
    })
}

fn fields(lines: &Lines<'_>, table: &DeTable<'_>) -> Vec<(Key, Node)> {
    let mut fields: Vec<_> = (table.iter())
        .map(|(name, value)| (name.span().start, name, value))
        .collect();
    fields.sort_by_key(|(start, ..)| *start);
    (fields.into_iter())
        .map(|(start, name, value)| {
            let key = Key {
                place: lines.place(start),
                name: name.get_ref().to_string(),
            };
            (key, node(lines, value))
        })
        .collect()
}

fn node(lines: &Lines<'_>, spanned: &Spanned<DeValue<'_>>) -> Node {
    let value = match spanned.get_ref() {
        DeValue::String(string) => Value::Text(string.to_string()),
        DeValue::Integer(number) => Value::Number(integer(number.as_str(), number.radix())),
        DeValue::Float(number) => Value::Number(float(number.as_str())),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(lines, item)).collect()),
        DeValue::Table(table) => Value::Map(fields(lines, table)),
    };
    Node {
        place: lines.place(spanned.span().start),
        value,
    }
}

/// The number as JSON has it, where it can be.
fn integer(digits: &str, radix: u32) -> String {
    i128::from_str_radix(digits, radix).map_or_else(|_| digits.to_owned(), |n| n.to_string())
}

fn float(digits: &str) -> String {
    (digits.parse::<f64>()).map_or_else(|_| digits.to_owned(), |n| n.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_read() {
        let text = "a = \"t\"\nb.c = [1, 0x10, +2, 1_000.5, true]\n[d]\ne = 2024-01-31\n[[f]]\ng = { h = 1 }\n[[f]]\n";
        let node = read(text).unwrap();
        assert_eq!(
            node.json(),
            serde_json::json!({
                "a": "t", "b": { "c": [1, 16, 2, 1000.5, true] }, "d": { "e": "2024-01-31" },
                "f": [{ "g": { "h": 1 } }, {}],
            })
        );
        let at = |node: &Node| (node.place.line, node.place.column);
        assert_eq!(at(node.field("a").unwrap()), (1, 5));
        assert_eq!(
            at(node.field("d").and_then(|d| d.field("e")).unwrap()),
            (4, 5)
        );
        let Value::List(tables) = &node.field("f").unwrap().value else {
            panic!("f is a list");
        };
        assert_eq!(tables.iter().map(at).collect::<Vec<_>>(), [(5, 1), (7, 1)]);
        let names: Vec<_> = node.fields().iter().map(|(key, _)| &*key.name).collect();
        assert_eq!(names, ["a", "b", "d", "f"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert!(is_date("2024-02-29"));
        for text in [
            "2023-02-29",
            "2024-1-1",
            "2024",
            "12:00:00",
            "",
            "today",
            "2024-01-01T00:00:00Z",
        ] {
            assert!(!is_date(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_toml_has_a_place() {
        let Unreadable { place, message } = read("a = 1\nb = \n").unwrap_err();
        assert_eq!(place.line, 2, "{message}");
        let Unreadable { place, .. } = read("a = 1\na = 2\n").unwrap_err();
        assert_eq!((place.line, place.column), (2, 1));
    }
}
