//! Whatever an object does, in any order: what is durable is what a model says, and its keys are its storage's alone.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{apply, numbers, run, try_run};
use portside_core::keys::KeyRange;
use portside_core::write::WriteBatch;
use portside_objectdb::{Cursor, Database, DurableDatabase, Limits, Policy, Value};
use proptest::prelude::*;

/// A log that is shortened with nearly each commit, in entries of some bytes.
const SHORT: Policy = Policy {
    log_bytes: 2_000,
    part_of_file: 100,
    shorten_bytes: 70_000,
    entry_bytes: 200,
};

#[derive(Default)]
struct Store(BTreeMap<String, Vec<u8>>);

impl Store {
    fn load(&self) -> DurableDatabase {
        let entries = self.0.iter().map(|(key, value)| (&key[..], &value[..]));
        let loaded = DurableDatabase::load(entries, SHORT, Limits::default()).unwrap();
        loaded.database().check().unwrap();
        loaded
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(i64),
    InsertOrRollback(i64),
    Put(u8),
    Delete(u8),
    Table(u8),
    Savepoint,
    Release,
    RollBackTo,
    RollBack,
    EndTransaction,
    Commit,
    DeleteAll,
    Open,
    Read,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..30_i64).prop_map(Step::Insert),
        1 => (0..30_i64).prop_map(Step::InsertOrRollback),
        6 => (0..5_u8).prop_map(Step::Put),
        3 => (0..5_u8).prop_map(Step::Delete),
        1 => (0..3_u8).prop_map(Step::Table),
        4 => Just(Step::Savepoint),
        3 => Just(Step::Release),
        2 => Just(Step::RollBackTo),
        1 => Just(Step::RollBack),
        1 => Just(Step::EndTransaction),
        6 => Just(Step::Commit),
        1 => Just(Step::DeleteAll),
        3 => Just(Step::Open),
        4 => Just(Step::Read),
        1 => Just(Step::Restart),
    ]
}

/// What there is of the database.
#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    rows: BTreeSet<i64>,
    keys: BTreeSet<u8>,
    tables: BTreeSet<u8>,
}

impl State {
    fn of(durable: &DurableDatabase) -> Self {
        let database = durable.database();
        let keys = database.list(&KeyRange::default()).unwrap();
        let schema =
            "SELECT CAST(substr(name, 2) AS INTEGER) FROM sqlite_schema WHERE name GLOB 'x*'";
        let has_rows = "SELECT count(*) FROM sqlite_schema WHERE name = 't'";
        let rows = match numbers(database, has_rows)[..] {
            [0] => vec![],
            _ => numbers(database, "SELECT a FROM t"),
        };
        let tables = numbers(database, schema);
        Self {
            rows: rows.into_iter().collect(),
            keys: keys.iter().map(|(key, _)| key.parse().unwrap()).collect(),
            tables: tables.iter().map(|n| u8::try_from(*n).unwrap()).collect(),
        }
    }
}

/// The states that can be come back to: what is durable; what is committed but waits for a savepoint to end; the transaction's;
/// and those of its savepoints.
#[derive(Default)]
struct Model {
    durable: State,
    ended: State,
    now: State,
    savepoints: Vec<State>,
}

impl Model {
    /// Ends the transaction, unless a savepoint is open.
    fn end(&mut self) {
        if self.savepoints.is_empty() {
            self.ended = self.now.clone();
        }
    }
}

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b DEFAULT 'some text of some bytes')";

/// Writes something. Returns whether the transaction is lost.
fn write(step: &Step, database: &Database, now: &mut State) -> bool {
    match step {
        Step::Insert(n) => {
            run(database, TABLE);
            let inserted = try_run(database, &format!("INSERT INTO t(a) VALUES ({n})"));
            assert_eq!(inserted.is_ok(), now.rows.insert(*n));
        }
        Step::InsertOrRollback(n) => {
            run(database, TABLE);
            let insert = format!("INSERT OR ROLLBACK INTO t(a) VALUES ({n})");
            let inserted = try_run(database, &insert);
            assert_eq!(inserted.is_ok(), now.rows.insert(*n));
            return inserted.is_err_and(|error| error.is_reset());
        }
        Step::Put(key) => {
            database.put(&key.to_string(), &vec![*key; 700]).unwrap();
            now.keys.insert(*key);
        }
        Step::Delete(key) => {
            let was_there = database.delete(&key.to_string()).unwrap();
            assert_eq!(was_there, now.keys.remove(key));
        }
        Step::Table(n) => {
            let created = try_run(database, &format!("CREATE TABLE x{n}(a, b UNIQUE)"));
            assert_eq!(created.is_ok(), now.tables.insert(*n));
        }
        other => panic!("{other:?}"),
    }
    false
}

/// Ends or begins transactions and savepoints.
fn transact(step: &Step, database: &Database, model: &mut Model) {
    match step {
        Step::Savepoint => {
            database.savepoint().unwrap();
            model.savepoints.push(model.now.clone());
        }
        Step::Release => {
            assert_eq!(database.release().is_ok(), model.savepoints.pop().is_some());
        }
        Step::RollBackTo => {
            let before = model.savepoints.pop();
            assert_eq!(database.roll_back_to().is_ok(), before.is_some());
            model.now = before.unwrap_or(model.now.clone());
        }
        Step::RollBack => {
            database.roll_back().unwrap();
            model.savepoints.clear();
            model.now = model.ended.clone();
        }
        Step::EndTransaction => {
            database.end_transaction().unwrap();
            model.end();
        }
        Step::DeleteAll => {
            let deleted = database.delete_all();
            assert_eq!(deleted.is_ok(), model.savepoints.is_empty());
            if deleted.is_ok() {
                model.now = State::default();
                model.end();
            }
        }
        other => panic!("{other:?}"),
    }
}

fn commit(durable: &mut DurableDatabase, store: &mut Store, model: &mut Model) {
    let mut batch = WriteBatch::default();
    let may_change = durable.database().is_changed();
    let has_changed = durable.commit_into(&mut batch).unwrap();
    assert!(may_change || !has_changed);
    apply(batch, &mut store.0);
    model.end();
    model.durable = model.ended.clone();
    assert_eq!(State::of(&store.load()), model.durable);
}

fn execute(steps: &[Step]) {
    let mut store = Store::default();
    let mut durable = store.load();
    let mut model = Model::default();
    let mut open: Vec<Cursor> = vec![];
    for step in steps {
        let mut is_lost = false;
        match step {
            Step::Commit => commit(&mut durable, &mut store, &mut model),
            Step::Open => {
                run(durable.database(), TABLE);
                let cursor = durable.database().exec("SELECT a FROM t", &[]);
                open.push(cursor.unwrap());
            }
            Step::Read => open.iter_mut().for_each(|cursor| drop(cursor.next())),
            Step::Restart => is_lost = true,
            Step::Insert(_)
            | Step::InsertOrRollback(_)
            | Step::Put(_)
            | Step::Delete(_)
            | Step::Table(_) => is_lost = write(step, durable.database(), &mut model.now),
            _ => transact(step, durable.database(), &mut model),
        }
        if is_lost {
            durable = store.load();
            model.savepoints.clear();
            model.now = model.durable.clone();
            model.end();
        }
        assert_eq!(State::of(&durable), model.now, "after {step:?}");
    }
}

/// Parts of which statements are made that nobody would write.
const WORDS: &[&str] = &[
    "SELECT",
    "*",
    "FROM",
    "_cf_KV",
    "\"_cf_KV\"",
    "main._cf_KV",
    "t",
    "a",
    "key",
    "value",
    "INSERT INTO",
    "DELETE FROM",
    "UPDATE",
    "SET",
    "VALUES",
    "(1, 2)",
    "(",
    ")",
    ",",
    "=",
    "1",
    "'x'",
    "WHERE",
    "ALTER TABLE",
    "RENAME TO",
    "RENAME COLUMN",
    "TO",
    "ADD COLUMN",
    "DROP COLUMN",
    "DROP TABLE",
    "CREATE TABLE",
    "CREATE VIEW",
    "CREATE TRIGGER",
    "AFTER INSERT ON",
    "BEGIN",
    "END",
    ";",
    "AS",
    "v",
    "CREATE INDEX",
    "ON",
    "REFERENCES",
    "PRAGMA",
    "table_info",
    "writable_schema",
    "journal_mode",
    "ATTACH",
    "VACUUM",
    "ROLLBACK",
    "COMMIT",
    "SAVEPOINT",
    "RELEASE",
    "_cf_x",
    "REPLACE INTO",
    "sqlite_schema",
    "UNION",
    "JOIN",
    "EXPLAIN",
    "REINDEX",
    "ANALYZE",
    "CREATE VIRTUAL TABLE",
    "USING fts5",
    "content=_cf_KV",
    "WITH",
    "RETURNING *",
    "IF NOT EXISTS",
    "TEMP",
    "DETACH",
    "--",
    "/*",
    "\0",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(WORDS), 1..12).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn what_is_durable_is_what_was_committed(steps in prop::collection::vec(step(), 0..60)) {
        execute(&steps);
    }

    #[test]
    fn no_statement_comes_to_the_keys(texts in prop::collection::vec(text(), 1..40)) {
        let mut durable = Store::default().load();
        run(durable.database(), "CREATE TABLE t(a, b)");
        durable.database().put("k", b"secret").unwrap();
        for text in &texts {
            let database = durable.database();
            if let Ok(cursor) = database.exec(text, &[]) {
                for row in cursor.take(100).flatten() {
                    prop_assert!(!row.contains(&Value::Blob(b"secret".to_vec())), "{text}");
                }
            }
            prop_assert_eq!(database.get("k").unwrap().unwrap(), b"secret");
        }
        durable.database().check().unwrap();
        let reserved = "SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_cf\\_%' ESCAPE '\\'";
        prop_assert_eq!(numbers(durable.database(), reserved), [1]);
        prop_assert!(durable.commit_into(&mut WriteBatch::default()).unwrap());
    }
}
