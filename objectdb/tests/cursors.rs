//! Cursors, and what happens while they are open.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{error, new, numbers, reopened, run};
use portside_objectdb::{Cursor, Database, Value};

const DELETED: &str = "SQLite query was canceled because the database was deleted.";

fn with_three_rows() -> Database {
    let database = new();
    run(
        &database,
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t(b)",
    );
    run(&database, "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)");
    database
}

fn all(database: &Database) -> Cursor {
    database.exec("SELECT a FROM t", &[]).unwrap()
}

fn number(cursor: &mut Cursor) -> i64 {
    match cursor.next().unwrap().unwrap()[0] {
        Value::Integer(number) => number,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_cursor_reads_as_its_rows_are_asked_for() {
    let database = with_three_rows();
    let mut cursor = database.exec("SELECT a, b FROM t", &[]).unwrap();
    assert_eq!(cursor.column_names(), ["a", "b"]);
    assert_eq!(cursor.rows_read(), 1);
    assert_eq!(number(&mut cursor), 1);
    assert_eq!(cursor.rows_read(), 2);
    run(
        &database,
        "INSERT INTO t VALUES (9, 9); DELETE FROM t WHERE a = 3",
    );
    assert_eq!(cursor.by_ref().count(), 2);
    assert!(cursor.next().is_none());
    assert_eq!(cursor.column_names(), ["a", "b"]);
}

#[test]
fn an_open_cursor_keeps_no_commit_from_happening_and_goes_on_after_it() {
    let database = with_three_rows();
    let mut cursor = all(&database);
    assert_eq!(number(&mut cursor), 1);
    assert!(database.commit().unwrap().is_some());
    assert_eq!(numbers(&reopened(&database), "SELECT a FROM t"), [1, 2, 3]);
    run(&database, "INSERT INTO t VALUES (4, 4)");
    assert!(database.commit().unwrap().is_some());
    assert_eq!(cursor.map(|row| row.unwrap().len()).sum::<usize>(), 3);
    assert_eq!(numbers(&reopened(&database), "SELECT max(a) FROM t"), [4]);
}

#[test]
fn a_statement_that_writes_is_executed_to_its_end_at_once() {
    let database = with_three_rows();
    let sql = "INSERT INTO t VALUES (?, 0), (?, 0) RETURNING a";
    let mut cursor = database
        .exec(sql, &[Value::Integer(7), Value::Integer(8)])
        .unwrap();
    assert_eq!(number(&mut cursor), 7);
    assert_eq!(cursor.rows_written(), 2);
    assert!(database.commit().unwrap().is_some());
    assert_eq!(number(&mut cursor), 8);
    assert!(cursor.next().is_none());
}

#[test]
fn the_same_text_can_be_executed_while_it_is_open() {
    let database = with_three_rows();
    let mut first = all(&database);
    assert_eq!(number(&mut first), 1);
    let mut second = all(&database);
    assert_eq!((number(&mut second), number(&mut first)), (1, 2));
    drop(first);
    let mut third = all(&database);
    assert_eq!((number(&mut third), number(&mut second)), (1, 2));
}

#[test]
fn cursors_do_not_end_each_other() {
    let database = with_three_rows();
    let nothing = database.exec("SELECT 1 WHERE 0", &[]).unwrap();
    let mut first = all(&database);
    let mut second = database.exec("SELECT b FROM t", &[]).unwrap();
    drop(nothing);
    assert_eq!((number(&mut first), number(&mut second)), (1, 1));
    let mut ended = database.exec("SELECT 7", &[]).unwrap();
    assert_eq!(number(&mut ended), 7);
    let third = all(&database);
    drop(ended);
    assert_eq!((first.count(), second.count(), third.count()), (2, 2, 3));
}

#[test]
fn a_table_that_is_read_is_not_dropped_but_may_be_changed() {
    let database = with_three_rows();
    let mut cursor = all(&database);
    assert_eq!(number(&mut cursor), 1);
    assert_eq!(
        error(&database, "DROP TABLE t"),
        "database table is locked: SQLITE_LOCKED"
    );
    run(&database, "ALTER TABLE t ADD COLUMN c");
    assert_eq!(number(&mut cursor), 2);
    drop(cursor);
    run(&database, "DROP TABLE t");
}

#[test]
fn what_is_undone_ends_cursors() {
    let database = with_three_rows();
    database.savepoint().unwrap();
    let mut cursor = all(&database);
    assert_eq!(number(&mut cursor), 1);
    run(&database, "INSERT INTO t VALUES (4, 4)");
    database.roll_back_to().unwrap();
    let ended = cursor.next().unwrap().unwrap_err().to_string();
    let expected = "abort due to ROLLBACK: SQLITE_ABORT (extended: SQLITE_ABORT_ROLLBACK)";
    assert_eq!(ended, expected);
    assert!(cursor.next().is_none());
    assert_eq!(numbers(&database, "SELECT a FROM t"), [1, 2, 3]);
}

#[test]
fn a_cursor_ends_with_its_database() {
    let database = with_three_rows();
    let (mut first, mut second) = (all(&database), all(&database));
    database.delete_all().unwrap();
    let ended = first.next().unwrap().unwrap_err();
    assert_eq!(ended.to_string(), DELETED);
    assert_eq!(
        error(&database, "SELECT a FROM t"),
        "no such table: t: SQLITE_ERROR"
    );
    drop(database);
    assert_eq!(second.next().unwrap().unwrap_err().to_string(), DELETED);
    assert!(second.next().is_none());
}

#[test]
fn columns_are_those_of_the_table_as_it_is() {
    let database = with_three_rows();
    let names = |database: &Database| {
        let cursor = database.exec("SELECT * FROM t", &[]).unwrap();
        cursor.column_names().join(" ")
    };
    assert_eq!(names(&database), "a b");
    run(&database, "ALTER TABLE t RENAME COLUMN b TO c");
    assert_eq!(names(&database), "a c");
    run(&database, "ALTER TABLE t ADD COLUMN d");
    assert_eq!(names(&database), "a c d");
}

#[test]
fn a_text_of_many_statements_does_the_same_each_time() {
    let database = with_three_rows();
    for expected in [11, 12, 13] {
        let sql = "INSERT INTO t(b) VALUES (1); UPDATE t SET b = b + 10 WHERE a = 1; SELECT ? + b FROM t WHERE a = 1";
        let mut cursor = database.exec(sql, &[Value::Integer(expected)]).unwrap();
        number(&mut cursor);
    }
    assert_eq!(numbers(&database, "SELECT b FROM t WHERE a = 1"), [31]);
    assert_eq!(numbers(&database, "SELECT count(*) FROM t"), [6]);
}

#[test]
fn values_are_forgotten_when_a_statement_has_ended() {
    let database = with_three_rows();
    let sql = "SELECT a FROM t WHERE a >= ?";
    let mut first = database.exec(sql, &[Value::Integer(2)]).unwrap();
    assert_eq!(number(&mut first), 2);
    drop(first); // before its end
    let rows = database.exec(sql, &[Value::Integer(3)]).unwrap();
    assert_eq!(rows.count(), 1);
    assert!(database.exec(sql, &[]).is_err());
    assert_eq!(database.exec(sql, &[Value::Null]).unwrap().count(), 0);
}

#[test]
fn rows_are_counted_as_far_as_sqlite_tells() {
    let database = with_three_rows();
    let counts = |sql: &str| {
        let mut cursor = database.exec(sql, &[]).unwrap();
        assert!(cursor.by_ref().all(|row| row.is_ok()));
        (cursor.rows_read(), cursor.rows_written())
    };
    assert_eq!(counts("SELECT 1"), (0, 0));
    assert_eq!(counts("SELECT * FROM t"), (3, 0));
    assert_eq!(counts("SELECT * FROM t"), (3, 0), "each time");
    assert_eq!(counts("SELECT * FROM t WHERE a = 2"), (1, 0));
    assert_eq!(counts("SELECT * FROM t WHERE a >= 2"), (2, 0));
    assert_eq!(counts("SELECT b FROM t WHERE b >= 2"), (2, 0));
    assert_eq!(counts("SELECT * FROM t WHERE b + 0 = 2"), (3, 0));
    assert_eq!(counts("INSERT INTO t(b) VALUES (1), (2)"), (0, 2));
    assert_eq!(counts("UPDATE t SET b = 7 WHERE a <= 2").1, 2);
    assert_eq!(counts("DELETE FROM t WHERE a = 1").1, 1);
    assert_eq!(counts("CREATE TABLE u(a)").1, 0);
}

#[test]
fn many_different_texts_are_no_burden() {
    let database = with_three_rows();
    let mut open = vec![];
    for n in 0..2_000 {
        let mut cursor = database
            .exec(&format!("SELECT a + {n} FROM t"), &[])
            .unwrap();
        assert_eq!(number(&mut cursor), n + 1);
        if n % 50 == 0 {
            open.push(cursor);
        }
    }
    assert!(open.iter_mut().all(|cursor| cursor.count() == 2));
}
