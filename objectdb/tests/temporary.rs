//! What statements sort and remember.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{new, numbers, run, try_run};
use portside_objectdb::{Database, Limits, Pages};

const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30000)";

fn with_little() -> Database {
    let limits = Limits {
        temporary_bytes: 4 << 20,
        ..Limits::default()
    };
    Database::open(Pages::default(), limits).unwrap()
}

#[test]
fn large_sorts_and_large_sets_are_right() {
    let database = new();
    let sorted = format!("{MANY} SELECT i FROM n ORDER BY hex(i * 7919 % 30000), zeroblob(500)");
    let found = numbers(&database, &sorted);
    let mut expected: Vec<i64> = (1..=30_000).collect();
    expected.sort_by_key(|i| (i * 7919 % 30_000).to_string());
    assert_eq!(found, expected);
    let distinct = format!("{MANY} SELECT count(DISTINCT i % 20011 || zeroblob(300)) FROM n");
    assert_eq!(numbers(&database, &distinct), [20_011]);
    let grouped = format!("{MANY} SELECT count(*) FROM n GROUP BY i / 3 || zeroblob(300)");
    assert_eq!(numbers(&database, &grouped).len(), 10_001);
    run(&database, "CREATE TABLE t(a, b)");
    run(
        &database,
        &format!("{MANY} INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n"),
    );
    run(&database, "CREATE INDEX i ON t(b, a DESC)");
    assert_eq!(
        numbers(&database, "SELECT a FROM t ORDER BY b, a DESC LIMIT 2"),
        [30_000, 29_999]
    );
    database.commit().unwrap();
    database.check().unwrap();
}

#[test]
fn a_statement_does_not_take_all_memory() {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    for endless in [
        format!("{endless} SELECT hex(randomblob(20000)) AS h FROM n ORDER BY h"),
        format!("{endless} SELECT count(*) FROM (SELECT DISTINCT hex(randomblob(20000)) FROM n)"),
        "WITH RECURSIVE n(i) AS (SELECT 'x' UNION SELECT hex(randomblob(20000)) FROM n) SELECT max(i) FROM n".to_owned(),
        format!("{endless} SELECT sum(i) OVER (ORDER BY 1), randomblob(20000) FROM n"),
    ] {
        let database = with_little();
        run(&database, "CREATE TABLE t(a)");
        database.commit().unwrap();
        let full = try_run(&database, &endless).unwrap_err();
        assert!(full.to_string().contains("SQLITE_FULL"), "{endless}: {full}");
        // Nothing was being written.
        assert!(!full.is_reset());
        run(&database, "INSERT INTO t VALUES (1)");
        run(&database, &format!("{MANY} SELECT i FROM n ORDER BY zeroblob(50), -i"));
        let writing = try_run(&database, &format!("INSERT INTO t {endless}"));
        assert!(writing.is_err());
    }
}

#[test]
fn what_has_ended_is_counted_no_more() {
    let database = with_little();
    let mut cursors = vec![];
    let sorted = format!("{MANY} SELECT i FROM n ORDER BY zeroblob(50), -i");
    loop {
        match database.exec(&sorted, &[]) {
            Ok(cursor) => cursors.push(cursor),
            Err(full) => break assert!(full.to_string().contains("SQLITE_FULL"), "{full}"),
        }
    }
    assert!(!cursors.is_empty());
    for _ in 0..10 {
        cursors.pop();
        cursors.push(database.exec(&sorted, &[]).unwrap());
    }
}
