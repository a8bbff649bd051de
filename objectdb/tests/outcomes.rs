//! What statements do, one by one: as in a Durable Object, on which `outcomes.txt` was written.
//!
//! A paragraph of that file is a new object. `> ` is a text, in which `{{x*3}}` is `xxx`; `? ` are its values; and what follows is
//! its outcome: `= ` the columns and the rows, or `! ` the error's message.
#![allow(clippy::unwrap_used, reason = "tests")]

use portside_objectdb::{Database, Limits, Pages, Value};
use serde_json::Value as Json;

/// A text, with repetitions written out.
fn expand(text: &str) -> String {
    let mut parts = text.split("{{");
    let mut all = parts.next().unwrap().to_owned();
    for part in parts {
        let (repetition, rest) = part.split_once("}}").unwrap();
        let (what, times) = repetition.rsplit_once('*').unwrap();
        all += &what.repeat(times.parse().unwrap());
        all += rest;
    }
    all
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Number(number) => Value::Real(number.as_f64().unwrap()),
        Json::String(text) => Value::Text(text.clone()),
        blob => {
            let digits = blob["h"].as_str().unwrap().as_bytes().chunks(2);
            let byte = |two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
            Value::Blob(digits.map(byte).collect())
        }
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => (number + 0.0).to_string(),
        Value::Text(text) => format!("'{text}'"),
        Value::Blob(bytes) => {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            format!("x'{}'", digits.collect::<String>())
        }
    }
}

fn outcome(database: &Database, sql: &str, values: &[Value]) -> String {
    let execute = || {
        let mut cursor = database.exec(sql, values)?;
        let rows: Vec<_> = cursor.by_ref().collect::<Result<_, _>>()?;
        Ok((cursor.column_names().join(", "), rows))
    };
    let (names, rows) = match execute() {
        Ok(rows) => rows,
        Err::<_, portside_objectdb::Error>(error) => return format!("! {error}"),
    };
    let row = |row: &Vec<Value>| row.iter().map(show).collect::<Vec<_>>().join(" ");
    let rows: Vec<_> = rows.iter().map(row).collect();
    match (names.is_empty(), rows.is_empty()) {
        (true, _) => "=".to_owned(),
        (false, true) => format!("= {names}:"),
        (false, false) => format!("= {names}: {}", rows.join("; ")),
    }
}

#[test]
fn statements_do_what_they_do_in_a_durable_object() {
    let file = include_str!("outcomes.txt");
    let (mut seen, mut wrong) = (0, vec![]);
    for object in file.split("\n\n") {
        let database = Database::open(Pages::default(), Limits::default()).unwrap();
        let mut lines = object
            .lines()
            .filter(|line| !line.starts_with('#'))
            .peekable();
        while let Some(line) = lines.next() {
            let sql = expand(line.strip_prefix("> ").unwrap());
            let values = lines.next_if(|line| line.starts_with("? "));
            let values: Vec<Json> = values.map_or_else(Vec::new, |values| {
                serde_json::from_str(&values[2..]).unwrap()
            });
            let values: Vec<Value> = values.iter().map(value).collect();
            let expected = lines.next().unwrap();
            let found = outcome(&database, &sql, &values);
            if found != expected {
                wrong.push(format!("{line}\n  expected {expected}\n  found    {found}"));
            }
            seen += 1;
        }
        database.commit().unwrap();
        database.check().unwrap();
    }
    assert!(seen > 200, "{seen}");
    assert!(
        wrong.is_empty(),
        "{} of {seen}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
