//! What tests of databases share.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::BTreeMap;

use portside_core::write::WriteBatch;
use portside_objectdb::{Database, Error, Limits, Pages, Value};

/// Does what a store does with a batch.
pub fn apply(batch: WriteBatch, entries: &mut BTreeMap<String, Vec<u8>>) {
    if batch.clear {
        entries.clear();
    }
    for (key, value) in batch.writes {
        match value {
            Some(value) => drop(entries.insert(key, value.to_vec())),
            None => drop(entries.remove(&key)),
        }
    }
}

pub fn new() -> Database {
    Database::open(Pages::default(), Limits::default()).unwrap()
}

/// Executes a text without values, to the end.
pub fn run(database: &Database, sql: &str) {
    try_run(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub fn try_run(database: &Database, sql: &str) -> Result<(), Error> {
    database.exec(sql, &[])?.try_for_each(|row| row.map(drop))
}

pub fn error(database: &Database, sql: &str) -> String {
    let failed = try_run(database, sql).err();
    let failed = failed.unwrap_or_else(|| panic!("{sql} is executed"));
    failed.to_string()
}

/// The whole numbers of the first column.
pub fn numbers(database: &Database, sql: &str) -> Vec<i64> {
    let rows = database.exec(sql, &[]).unwrap();
    rows.map(|row| match row.unwrap().first() {
        Some(Value::Integer(number)) => *number,
        other => panic!("{sql}: {other:?}"),
    })
    .collect()
}

/// The file as it would be loaded after a loss of the process.
pub fn reopened(database: &Database) -> Database {
    let opened = Database::open(database.copy().unwrap(), Limits::default()).unwrap();
    opened.check().unwrap();
    opened
}
