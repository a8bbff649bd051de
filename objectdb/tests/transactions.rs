//! The transaction of a turn: what is committed, what is undone, and what resets the object.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{error, new, numbers, reopened, run, try_run};
use portside_objectdb::{Database, Error, Limits, Pages};

const COUNT: &str = "SELECT count(*) FROM t";

fn with_table() -> Database {
    let database = new();
    run(&database, "CREATE TABLE t(a PRIMARY KEY)");
    assert!(database.commit().unwrap().is_some());
    database
}

/// Nothing more can be done, and nothing comes to the file.
fn assert_is_lost(database: &Database, rows: i64) {
    let lost = |result: Result<(), Error>| assert!(result.unwrap_err().is_reset());
    lost(try_run(database, "SELECT 1"));
    lost(database.commit().map(drop));
    lost(database.put("k", b"v"));
    lost(database.get("k").map(drop));
    lost(database.savepoint());
    lost(database.delete_all());
    assert_eq!(numbers(&reopened(database), COUNT), [rows]);
}

#[test]
fn reading_changes_nothing_and_writing_does_until_it_is_committed() {
    let database = with_table();
    run(&database, "SELECT * FROM t");
    assert!(database.get("k").unwrap().is_none());
    assert!(!database.is_changed());
    run(&database, "INSERT INTO t VALUES (1)");
    assert!(database.is_changed());
    assert_eq!(numbers(&reopened(&database), COUNT), [0]);
    assert!(database.commit().unwrap().is_some());
    assert!(!database.is_changed() && database.commit().unwrap().is_none());
    assert_eq!(numbers(&reopened(&database), COUNT), [1]);
    run(&database, "UPDATE t SET a = 7 WHERE a = 8");
    assert!(database.commit().unwrap().is_none(), "no row was changed");
}

#[test]
fn savepoints_nest() {
    let database = with_table();
    run(&database, "INSERT INTO t VALUES (1)");
    database.savepoint().unwrap();
    run(&database, "INSERT INTO t VALUES (2)");
    database.savepoint().unwrap();
    run(&database, "INSERT INTO t VALUES (3)");
    database.put("k", b"v").unwrap();
    database.roll_back_to().unwrap();
    assert_eq!(database.get("k").unwrap(), None);
    database.put("k", b"w").unwrap();
    database.savepoint().unwrap();
    run(&database, "INSERT INTO t VALUES (4)");
    database.release().unwrap();
    database.release().unwrap();
    assert!(database.release().is_err() && database.roll_back_to().is_err());
    database.commit().unwrap();
    let again = reopened(&database);
    assert_eq!(numbers(&again, "SELECT a FROM t ORDER BY a"), [1, 2, 4]);
    assert_eq!(again.get("k").unwrap().unwrap(), b"w");
}

#[test]
fn nothing_is_committed_while_a_savepoint_is_open() {
    let database = with_table();
    run(&database, "INSERT INTO t VALUES (1)");
    database.end_transaction().unwrap(); // so that it does not wait for what comes
    database.savepoint().unwrap();
    run(&database, "INSERT INTO t VALUES (2)");
    assert!(database.is_changed(), "the first row");
    assert!(database.commit().unwrap().is_some());
    assert_eq!(numbers(&reopened(&database), COUNT), [1]);
    assert!(!database.is_changed() && database.commit().unwrap().is_none());
    assert!(
        database
            .delete_all()
            .unwrap_err()
            .to_string()
            .contains("within a transaction")
    );
    database.roll_back_to().unwrap();
    database.commit().unwrap();
    assert_eq!(numbers(&reopened(&database), COUNT), [1]);
}

#[test]
fn all_of_it_can_be_undone() {
    let database = with_table();
    run(&database, "INSERT INTO t VALUES (1)");
    database.put("k", b"v").unwrap();
    database.savepoint().unwrap();
    run(&database, "CREATE TABLE u(a)");
    database.roll_back().unwrap();
    assert!(!database.is_changed() && database.commit().unwrap().is_none());
    assert_eq!(database.get("k").unwrap(), None);
    assert_eq!(numbers(&database, COUNT), [0]);
    database.put("k", b"v").unwrap();
    assert!(database.commit().unwrap().is_some());
}

#[test]
fn a_constraint_that_does_not_hold_at_the_end_resets_the_object() {
    let database = with_table();
    run(
        &database,
        "CREATE TABLE c(t REFERENCES t(a) DEFERRABLE INITIALLY DEFERRED)",
    );
    database.commit().unwrap();
    run(&database, "INSERT INTO c VALUES (1)");
    run(&database, "INSERT INTO t VALUES (1)");
    database.commit().unwrap();
    run(&database, "INSERT INTO t VALUES (9)");
    database.savepoint().unwrap();
    run(&database, "INSERT INTO c VALUES (2)");
    database.release().unwrap();
    let expected = "Durable Object was reset and rolled back to its last known good state because the application left the \
        database in a state where constraints were violated: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: \
        SQLITE_CONSTRAINT_FOREIGNKEY)";
    assert_eq!(database.commit(), Err(Error::Reset(expected.to_owned())));
    assert_is_lost(&database, 1);
}

#[test]
fn a_transaction_that_sqlite_has_ended_resets_the_object() {
    let database = with_table();
    run(&database, "INSERT INTO t VALUES (1)");
    database.commit().unwrap();
    run(&database, "INSERT INTO t VALUES (2)");
    let ended = try_run(&database, "INSERT OR ROLLBACK INTO t VALUES (1)").unwrap_err();
    assert!(
        ended.is_reset() && ended.to_string().contains("UNIQUE"),
        "{ended}"
    );
    assert_is_lost(&database, 1);

    let database = with_table();
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON t WHEN new.a < 0 BEGIN SELECT RAISE(ROLLBACK, 'no'); END";
    run(&database, trigger);
    database.commit().unwrap();
    database.savepoint().unwrap();
    run(&database, "INSERT INTO t VALUES (1)");
    let many = "INSERT INTO t VALUES (5); INSERT INTO t VALUES (-1); INSERT INTO t VALUES (6)";
    assert!(try_run(&database, many).unwrap_err().is_reset());
    assert_is_lost(&database, 0);
}

#[test]
fn a_statement_that_fails_otherwise_is_undone_alone() {
    let database = with_table();
    run(&database, "INSERT INTO t VALUES (1)");
    let failed = error(&database, "INSERT INTO t VALUES (2), (1)");
    assert!(failed.contains("UNIQUE"), "{failed}");
    let many = "INSERT INTO t VALUES (3); INSERT INTO t VALUES (1); INSERT INTO t VALUES (4)";
    assert!(error(&database, many).contains("UNIQUE"));
    assert!(error(&database, "ALTER TABLE t RENAME TO _cf_KV").contains("not authorized"));
    let column = "ALTER TABLE t ADD COLUMN c DEFAULT 0 CHECK (c > 0)";
    assert!(error(&database, column).contains("CHECK"));
    database.commit().unwrap();
    assert_eq!(numbers(&reopened(&database), "SELECT a FROM t"), [1, 3]);
}

#[test]
fn a_file_that_is_full_takes_no_more_and_loses_nothing() {
    let limits = Limits {
        bytes: 64 << 10,
        ..Limits::default()
    };
    let database = Database::open(Pages::default(), limits).unwrap();
    run(&database, "CREATE TABLE t(a)");
    run(&database, "INSERT INTO t VALUES (zeroblob(20000))");
    database.commit().unwrap();
    let full = try_run(&database, "INSERT INTO t VALUES (zeroblob(60000))").unwrap_err();
    assert!(
        full.to_string()
            .contains("database or disk is full: SQLITE_FULL"),
        "{full}"
    );
    assert!(full.is_reset(), "SQLite has ended the transaction");
    assert_is_lost(&database, 1);
    // It holds for what is loaded, too, and after everything is deleted.
    let database = Database::open(database.copy().unwrap(), limits).unwrap();
    assert!(try_run(&database, "INSERT INTO t VALUES (zeroblob(60000))").is_err());
    let database = Database::open(Pages::default(), limits).unwrap();
    database.delete_all().unwrap();
    run(&database, "CREATE TABLE t(a)");
    assert!(try_run(&database, "INSERT INTO t VALUES (zeroblob(90000))").is_err());
}

#[test]
fn a_statement_that_does_not_end_is_interrupted() {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n) ";
    let database = with_table();
    let interrupt = database.interrupt_handle();
    let interrupting = interrupt.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        interrupting.interrupt();
    });
    let reading = try_run(&database, &format!("{endless} SELECT max(i) FROM n")).unwrap_err();
    assert_eq!(
        reading,
        Error::Refused("interrupted: SQLITE_INTERRUPT".to_owned())
    );
    thread.join().unwrap();
    interrupt.clear();
    run(&database, "INSERT INTO t VALUES (1)");
    assert!(database.commit().unwrap().is_some());
    interrupt.interrupt();
    let writing = try_run(
        &database,
        &format!("{endless} INSERT INTO t SELECT i FROM n"),
    );
    let writing = writing.unwrap_err();
    assert!(writing.is_reset(), "{writing}");
    assert_is_lost(&database, 1);
}

#[test]
fn deletion_of_everything_leaves_a_new_database() {
    let database = with_table();
    run(
        &database,
        "CREATE VIEW v AS SELECT 1; CREATE VIRTUAL TABLE f USING fts5(x)",
    );
    run(&database, "PRAGMA case_sensitive_like = ON");
    database.put("k", b"v").unwrap();
    database.commit().unwrap();
    run(&database, "INSERT INTO t VALUES (1)");
    database.delete_all().unwrap();
    assert!(database.is_changed());
    assert_eq!(database.get("k").unwrap(), None);
    assert_eq!(
        numbers(&database, "SELECT count(*) FROM sqlite_schema"),
        [0]
    );
    assert_eq!(numbers(&database, "SELECT 'a' LIKE 'A'"), [1]);
    assert_eq!(database.database_size().unwrap(), 4096);
    assert!(database.commit().unwrap().is_some());
    assert_eq!(database.bytes(), 0);
    run(&database, "CREATE TABLE t(b)");
    database.put("k", b"w").unwrap();
    database.commit().unwrap();
    let again = reopened(&database);
    assert_eq!(again.get("k").unwrap().unwrap(), b"w");
    again.delete_all().unwrap();
    again.delete_all().unwrap();
    assert!(again.commit().unwrap().is_some());
}

#[test]
fn the_size_counts_what_is_not_committed_and_not_what_is_free() {
    let database = new();
    assert_eq!(database.database_size().unwrap(), 4096);
    run(&database, "CREATE TABLE t(a)");
    assert_eq!(database.database_size().unwrap(), 8192);
    run(&database, "INSERT INTO t VALUES (randomblob(20000))");
    assert_eq!(database.database_size().unwrap(), 24_576);
    run(&database, "DELETE FROM t");
    assert_eq!(database.database_size().unwrap(), 8192);
    assert_eq!(database.bytes(), 0);
}
