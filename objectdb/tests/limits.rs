//! How much a statement may have.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{error, new, numbers, run, try_run};
use portside_objectdb::{Database, Limits, Pages, Value};

const TOO_BIG: &str = "string or blob too big: SQLITE_TOOBIG";
const MOST: usize = 2 << 20;

#[test]
fn a_text_a_blob_and_a_row_end_at_two_mebibytes() {
    let database = new();
    run(&database, "CREATE TABLE t(a, b)");
    for (value, too_long) in [
        (Value::Blob(vec![1; MOST]), Value::Blob(vec![1; MOST + 1])),
        (
            Value::Text("x".repeat(MOST)),
            Value::Text("x".repeat(MOST + 1)),
        ),
    ] {
        let length = database.exec("SELECT length(?)", std::slice::from_ref(&value));
        let length = length.unwrap().next().unwrap().unwrap();
        assert_eq!(length, [Value::Integer(MOST.try_into().unwrap())]);
        let refused = database.exec("SELECT length(?)", &[too_long]).err();
        assert_eq!(refused.unwrap().to_string(), TOO_BIG);
        // With what a row has beside it, it is too long.
        let refused = database.exec("INSERT INTO t VALUES (?, 1)", &[value]).err();
        assert_eq!(refused.unwrap().to_string(), TOO_BIG);
    }
    assert_eq!(error(&database, "SELECT zeroblob(2097153)"), TOO_BIG);
    let two = "INSERT INTO t VALUES (randomblob(1100000), randomblob(1100000))";
    assert_eq!(error(&database, two), TOO_BIG);
    run(
        &database,
        "INSERT INTO t VALUES (randomblob(1000000), randomblob(1000000))",
    );
    assert_eq!(numbers(&database, "SELECT count(*) FROM t"), [1]);
}

#[test]
fn a_file_of_no_bytes_holds_nothing() {
    let limits = Limits {
        bytes: 0,
        ..Limits::default()
    };
    let database = Database::open(Pages::default(), limits).unwrap();
    assert_eq!(numbers(&database, "SELECT 1"), [1]);
    assert!(try_run(&database, "CREATE TABLE t(a)").is_err());
}

#[test]
fn nothing_is_kept_prepared_if_nothing_may_be() {
    let limits = Limits {
        cached_statements: 0,
        cached_bytes: 0,
        ..Limits::default()
    };
    let database = Database::open(Pages::default(), limits).unwrap();
    for _ in 0..3 {
        assert_eq!(numbers(&database, "SELECT 1; SELECT 2"), [2]);
    }
}
