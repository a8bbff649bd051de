//! How much a statement may have.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{error, new, numbers, run, try_run};
use portside_objectdb::{Database, Error, Limits, Pages, Value};

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

#[test]
fn a_transaction_does_not_take_all_memory() {
    const CHANGES_TOO_MUCH: &str = "Durable Object was reset and rolled back to its last known good state because its transaction \
        was ended by an error: it changes more than 4 MiB of the database: write less in one turn or transaction";
    let limits = Limits {
        transaction_bytes: 4 << 20,
        ..Limits::default()
    };
    let open = |pages| Database::open(pages, limits).unwrap();
    let database = open(Pages::default());
    run(&database, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    for _ in 0..5 {
        let some = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2500)
            INSERT INTO t(b) SELECT randomblob(1000) FROM n";
        run(&database, some);
        database.commit().unwrap();
    }
    let committed = database.copy().unwrap();
    let is_lost = |database: &Database, error: Error| {
        assert_eq!(error.to_string(), CHANGES_TOO_MUCH);
        assert!(error.is_reset() && database.commit().is_err());
        assert!(database.copy().unwrap() == committed);
    };
    // One statement, many small ones, and keys.
    let database = open(committed.copy().unwrap());
    let one = try_run(&database, "UPDATE t SET b = randomblob(1000)");
    is_lost(&database, one.unwrap_err());
    let database = open(committed.copy().unwrap());
    let many = (0..9_000).find_map(|n| {
        let sql = format!("INSERT INTO t(b) VALUES (zeroblob(1000 + {n} % 7))");
        try_run(&database, &sql).err()
    });
    is_lost(&database, many.unwrap());
    let database = open(committed.copy().unwrap());
    let keys = (0..900).find_map(|n| database.put(&format!("{n}"), &[7; 10_000]).err());
    is_lost(&database, keys.unwrap());
    // Parts that are each small enough.
    let database = open(committed.copy().unwrap());
    let parts = (0..9).find_map(|_| {
        run(&database, "UPDATE t SET b = randomblob(1000) WHERE a < 300");
        run(
            &database,
            "INSERT INTO t(b) SELECT randomblob(1000) FROM t LIMIT 1000",
        );
        database.end_transaction().err()
    });
    assert_eq!(parts.unwrap().to_string(), CHANGES_TOO_MUCH);
    assert!(database.commit().is_err());
    // One statement with large rows.
    let database = open(committed.copy().unwrap());
    let large = try_run(
        &database,
        "INSERT INTO t(b) SELECT zeroblob(1900000) FROM t LIMIT 20",
    );
    is_lost(&database, large.unwrap_err());
    // What is only read, and what is undone, does not count.
    let database = open(committed.copy().unwrap());
    for _ in 0..5 {
        run(
            &database,
            "UPDATE t SET b = randomblob(1000) WHERE a < 2000",
        );
        database.roll_back().unwrap();
    }
    let database = open(committed.copy().unwrap());
    assert_eq!(
        numbers(&database, "SELECT count(DISTINCT b) FROM t"),
        [12_500]
    );
    run(&database, "DELETE FROM t WHERE a < 500");
    database.commit().unwrap();
}

#[test]
fn what_a_statement_that_writes_returns_does_not_take_all_memory() {
    let limits = Limits {
        returned_bytes: 1 << 20,
        ..Limits::default()
    };
    let database = Database::open(Pages::default(), limits).unwrap();
    run(&database, "CREATE TABLE t(a)");
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20)
        INSERT INTO t SELECT i FROM n RETURNING zeroblob(40000)";
    assert_eq!(database.exec(many, &[]).unwrap().count(), 20);
    database.commit().unwrap();
    let more = many.replace("40000", "60000");
    let error = database.exec(&more, &[]).err().unwrap();
    assert!(
        error.is_reset() && error.to_string().contains("returned more than 1 MiB"),
        "{error}"
    );
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000) SELECT i FROM n";
    let database = Database::open(Pages::default(), limits).unwrap();
    assert_eq!(database.exec(numbers, &[]).unwrap().count(), 1_000_000);
}
