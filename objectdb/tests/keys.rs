//! Keys and values.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::{error, new, numbers, reopened, run};
use portside_core::keys::KeyRange;
use portside_objectdb::{Database, Listing};
use proptest::prelude::*;

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn keys(database: &Database, range: &KeyRange) -> Vec<String> {
    let mut listing = Listing::new(range.clone());
    let next = || listing.next(database).unwrap().map(|(key, _)| key);
    std::iter::from_fn(next).collect()
}

#[test]
fn a_key_has_the_value_that_it_was_given_last() {
    let database = new();
    assert_eq!(database.get("a").unwrap(), None);
    assert!(!database.delete("a").unwrap());
    assert!(!database.is_changed(), "there is no table for that");
    database.put("a", b"1").unwrap();
    database.put("a", b"").unwrap();
    database.put("", b"\0\xff").unwrap();
    assert_eq!(database.get("a").unwrap().unwrap(), b"");
    assert_eq!(database.get("").unwrap().unwrap(), b"\0\xff");
    database.commit().unwrap();
    let database = reopened(&database);
    assert!(database.delete("a").unwrap() && !database.delete("a").unwrap());
    assert_eq!(keys(&database, &KeyRange::default()), [""]);
}

#[test]
fn its_sql_sees_that_there_are_keys_but_not_which() {
    let database = new();
    run(&database, "CREATE TABLE t(a)");
    database.put("a", b"1").unwrap();
    let denied = "not authorized: SQLITE_AUTH";
    for (sql, expected) in [
        (
            "SELECT key FROM _cf_KV",
            "access to _cf_KV.key is prohibited: SQLITE_AUTH",
        ),
        ("SELECT count(*) FROM _cf_KV", denied),
        (
            "SELECT * FROM _CF_kv",
            "access to _cf_KV.key is prohibited: SQLITE_AUTH",
        ),
        (
            "SELECT * FROM main._cf_KV",
            "access to _cf_KV.key is prohibited: SQLITE_AUTH",
        ),
        ("INSERT INTO _cf_KV VALUES ('k', 1)", denied),
        ("DELETE FROM _cf_KV", denied),
        ("UPDATE _cf_KV SET value = 1", denied),
        ("DROP TABLE _cf_KV", denied),
        ("ALTER TABLE _cf_KV RENAME TO x", denied),
        ("ALTER TABLE t RENAME TO \"_cf_other\"", denied),
        ("CREATE INDEX i ON _cf_KV(value)", denied),
        (
            "CREATE TRIGGER i AFTER INSERT ON _cf_KV BEGIN SELECT 1; END",
            denied,
        ),
        ("PRAGMA table_info(_cf_KV)", denied),
        ("SELECT * FROM pragma_table_info('_cf_KV')", denied),
    ] {
        assert_eq!(error(&database, sql), expected, "{sql}");
    }
    run(&database, "CREATE VIEW v AS SELECT * FROM _cf_KV");
    run(
        &database,
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM _cf_KV; END",
    );
    run(&database, "CREATE TABLE c(a REFERENCES _cf_KV(key))");
    run(
        &database,
        "CREATE VIRTUAL TABLE f USING fts5(value, content='_cf_KV', content_rowid='key')",
    );
    for sql in [
        "SELECT * FROM v",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO c VALUES ('a')",
        "SELECT * FROM f",
        "INSERT INTO f(f) VALUES ('rebuild')",
    ] {
        let refused = error(&database, sql);
        assert!(refused.contains("SQLITE_"), "{sql}: {refused}");
    }
    assert_eq!(
        numbers(
            &database,
            "SELECT count(*) FROM sqlite_schema WHERE name = '_cf_KV'"
        ),
        [1]
    );
    assert_eq!(database.get("a").unwrap().unwrap(), b"1");
    database.commit().unwrap();
}

#[test]
fn no_trigger_comes_to_the_keys_by_a_foreign_key() {
    let database = new();
    database.put("a", b"secret").unwrap();
    database.put("b", b"secret").unwrap();
    database.commit().unwrap();
    run(&database, "PRAGMA foreign_keys = OFF");
    run(
        &database,
        "CREATE TABLE c(k REFERENCES _cf_KV(key) ON DELETE CASCADE); CREATE TABLE leak(k, v)",
    );
    run(
        &database,
        "CREATE TRIGGER r AFTER DELETE ON c BEGIN INSERT INTO leak SELECT key, value FROM _cf_KV; END",
    );
    run(&database, "INSERT INTO c VALUES ('a')");
    database.commit().unwrap();
    run(&database, "PRAGMA foreign_keys = ON");
    let refused = database.delete("a").unwrap_err();
    assert!(
        refused.to_string().contains("SQLITE_AUTH") && !refused.is_reset(),
        "{refused}"
    );
    assert_eq!(numbers(&database, "SELECT count(*) FROM leak"), [0]);
    run(&database, "DROP TRIGGER r");
    assert!(database.delete("a").unwrap());
    assert_eq!(numbers(&database, "SELECT count(*) FROM c"), [0]);
}

#[test]
fn a_value_has_an_end() {
    let database = new();
    database.put("a", &vec![7; (2 << 20) - 100]).unwrap();
    let refused = database.put("b", &vec![7; (2 << 20) + 1]).unwrap_err();
    assert_eq!(refused.to_string(), "string or blob too big: SQLITE_TOOBIG");
    assert!(!refused.is_reset());
    assert!(database.commit().unwrap().is_some());
    assert_eq!(keys(&database, &KeyRange::default()), ["a"]);
}

#[test]
fn keys_are_in_the_order_of_their_bytes() {
    let database = new();
    for key in ["\u{1F600}", "\u{FFFD}", "é", "z", "aa", "a", "B", ""] {
        database.put(key, key.as_bytes()).unwrap();
    }
    let all = ["", "B", "a", "aa", "z", "é", "\u{FFFD}", "\u{1F600}"];
    assert_eq!(keys(&database, &KeyRange::default()), all);
    let range = KeyRange {
        prefix: some("a"),
        reverse: true,
        ..KeyRange::default()
    };
    assert_eq!(keys(&database, &range), ["aa", "a"]);
    let last = KeyRange {
        prefix: some("\u{1F600}"),
        ..KeyRange::default()
    };
    assert_eq!(keys(&database, &last), ["\u{1F600}"]);
}

#[test]
fn a_page_ends_where_its_limits_say() {
    let database = new();
    for n in 0..10 {
        database.put(&format!("{n}"), &[0; 99]).unwrap();
    }
    let page = |limit, max_bytes| {
        let range = KeyRange {
            limit,
            max_bytes,
            ..KeyRange::default()
        };
        database.list(&range).unwrap().len()
    };
    assert_eq!(page(None, None), 10);
    assert_eq!(page(Some(3), None), 3);
    assert_eq!(page(Some(0), None), 0);
    assert_eq!((page(None, Some(300)), page(None, Some(301))), (3, 4));
}

#[test]
fn a_listing_goes_on_whatever_happens_meanwhile() {
    let database = new();
    for n in 0..1_000 {
        database.put(&format!("{n:04}"), b"x").unwrap();
    }
    let mut listing = Listing::new(KeyRange::default());
    assert_eq!(listing.next(&database).unwrap().unwrap().0, "0000");
    database.commit().unwrap();
    for n in 1..1_000 {
        database.delete(&format!("{n:04}")).unwrap();
    }
    database.put("0999x", b"y").unwrap();
    let rest = std::iter::from_fn(|| listing.next(&database).unwrap());
    assert_eq!(
        rest.count(),
        127 + 1,
        "the rest of its page, and what is after it now"
    );
    let mut listing = Listing::new(KeyRange::default());
    database.delete_all().unwrap();
    assert_eq!(listing.next(&database).unwrap(), None);
}

fn key() -> impl Strategy<Value = String> {
    "[ab\u{ff}\u{1F600}]{0,3}"
}

fn range() -> impl Strategy<Value = KeyRange> {
    let option = || prop::option::of(key());
    let limit = prop::option::of(0..400_usize);
    let parts = (option(), option(), option(), option(), any::<bool>(), limit);
    parts.prop_map(
        |(prefix, start, start_after, end, reverse, limit)| KeyRange {
            prefix,
            start,
            start_after,
            end,
            reverse,
            limit,
            max_bytes: None,
        },
    )
}

proptest! {
    #[test]
    fn a_range_has_the_keys_that_it_wants(
        entries in prop::collection::btree_map(key(), prop::collection::vec(any::<u8>(), 0..3_000), 0..60),
        ranges in prop::collection::vec(range(), 1..8),
    ) {
        let database = new();
        let map: BTreeMap<String, Vec<u8>> = entries;
        for (key, value) in &map {
            database.put(key, value).unwrap();
        }
        for range in ranges {
            let mut wanted: Vec<_> = map.iter().filter(|(key, _)| range.contains(key)).collect();
            if range.reverse {
                wanted.reverse();
            }
            wanted.truncate(range.limit.unwrap_or(usize::MAX));
            let mut listing = Listing::new(range);
            let found: Vec<_> = std::iter::from_fn(|| listing.next(&database).unwrap()).collect();
            let found: Vec<_> = found.iter().map(|(key, value)| (key, value)).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
