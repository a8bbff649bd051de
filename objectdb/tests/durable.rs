//! Databases whose commits go into a store.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::{apply, numbers, run, try_run};
use portside_core::keys::check_value;
use portside_core::write::WriteBatch;
use portside_objectdb::{DurableDatabase, Limits, Policy};

/// What a store has of an object.
#[derive(Default)]
struct Store(BTreeMap<String, Vec<u8>>);

impl Store {
    fn load(&self) -> DurableDatabase {
        let entries = self.0.iter().map(|(key, value)| (&key[..], &value[..]));
        let loaded = DurableDatabase::load(entries, Policy::default(), Limits::default());
        let loaded = loaded.unwrap();
        loaded.database().check().unwrap();
        loaded
    }

    fn commit(&mut self, durable: &mut DurableDatabase) -> bool {
        let mut batch = WriteBatch::default();
        let is_changed = durable.commit_into(&mut batch).unwrap();
        assert_eq!(is_changed, !batch.is_empty());
        for value in batch.writes.values().flatten() {
            check_value(value.len()).unwrap();
        }
        apply(batch, &mut self.0);
        is_changed
    }
}

#[test]
fn what_is_committed_is_there_when_it_is_loaded() {
    let mut store = Store::default();
    let mut durable = store.load();
    assert!(!store.commit(&mut durable));
    run(durable.database(), "CREATE TABLE t(a)");
    durable.database().put("k", b"v").unwrap();
    assert!(store.commit(&mut durable) && !store.commit(&mut durable));
    run(durable.database(), "INSERT INTO t VALUES (1)");
    drop(durable); // not committed
    let mut durable = store.load();
    assert_eq!(numbers(durable.database(), "SELECT count(*) FROM t"), [0]);
    assert_eq!(durable.database().get("k").unwrap().unwrap(), b"v");
    for n in 0..3_000 {
        run(durable.database(), &format!("INSERT INTO t VALUES ({n})"));
        assert!(store.commit(&mut durable));
    }
    assert_eq!(
        numbers(store.load().database(), "SELECT count(*) FROM t"),
        [3_000]
    );
    assert!(store.0.len() < 2_200, "{} entries", store.0.len());
    durable.database().delete_all().unwrap();
    assert!(store.commit(&mut durable));
    assert!(store.load().database().get("k").unwrap().is_none());
}

#[test]
fn a_commit_may_be_larger_than_a_value_of_the_store() {
    let mut store = Store::default();
    let mut durable = store.load();
    run(durable.database(), "CREATE TABLE t(a)");
    for _ in 0..9 {
        run(
            durable.database(),
            "INSERT INTO t VALUES (randomblob(1000000))",
        );
    }
    assert!(store.commit(&mut durable));
    assert_eq!(
        numbers(store.load().database(), "SELECT sum(length(a)) FROM t"),
        [9_000_000]
    );
}

#[test]
fn a_commit_that_fails_adds_nothing() {
    let mut store = Store::default();
    let mut durable = store.load();
    let tables = "CREATE TABLE p(a PRIMARY KEY);
        CREATE TABLE c(p REFERENCES p(a) DEFERRABLE INITIALLY DEFERRED)";
    run(durable.database(), tables);
    assert!(store.commit(&mut durable));
    run(durable.database(), "INSERT INTO c VALUES (1)");
    let mut batch = WriteBatch::default();
    assert!(durable.commit_into(&mut batch).unwrap_err().is_reset());
    assert!(durable.commit_into(&mut batch).unwrap_err().is_reset());
    assert!(batch.is_empty());
    assert!(try_run(durable.database(), "SELECT 1").is_err());
    assert_eq!(
        numbers(store.load().database(), "SELECT count(*) FROM c"),
        [0]
    );
}

#[test]
fn damage_is_told() {
    let entries = [("l0000000000000001", &b"\xff\xff"[..])];
    let damaged = DurableDatabase::load(entries, Policy::default(), Limits::default());
    let damaged = damaged.err().unwrap().to_string();
    assert!(damaged.contains("damaged"), "{damaged}");
}
