//! What SQLite does in a database, and what comes out of it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use portside_core::write::WriteBatch;
use portside_objectdb::{
    Database, Delta, Journal, Limits, Loader, PAGE_BYTES, Pages, Policy, Spill, Value,
};

fn new() -> Database {
    Database::open(Pages::default(), Limits::default()).unwrap()
}

fn number(database: &Database, sql: &str) -> i64 {
    let row = database.exec(sql, &[]).unwrap().next().transpose();
    match row.unwrap().as_deref() {
        Some([Value::Integer(number)]) => *number,
        other => panic!("{sql}: {other:?}"),
    }
}

fn run(database: &Database, sql: &str) {
    database.exec(sql, &[]).unwrap();
}

/// The database as somebody has it who got all deltas.
struct Follower(Pages);

impl Follower {
    fn of(database: &Database) -> Self {
        let mut this = Self(Pages::default());
        this.follow(database);
        this
    }

    /// Takes the next delta, if there is one; returns its size.
    fn follow(&mut self, database: &Database) -> usize {
        let Some(delta) = database.commit().unwrap() else {
            return 0;
        };
        let bytes = delta.encode();
        self.0.apply(&Delta::decode(&bytes).unwrap()).unwrap();
        assert!(self.0 == database.copy().unwrap(), "the copy differs");
        bytes.len()
    }

    /// What there is when it is opened after the end of the database.
    fn open(&self) -> Database {
        let opened = Database::open(self.0.copy().unwrap(), Limits::default()).unwrap();
        opened.check().unwrap();
        opened
    }
}

#[test]
fn whoever_has_the_deltas_has_the_database() {
    let database = new();
    run(
        &database,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)",
    );
    let mut follower = Follower::of(&database);
    let insert = "INSERT INTO t(name) VALUES (?1)";
    for name in ["a", "b", "c"] {
        let name = Value::Text(name.to_owned());
        database.exec(insert, &[name]).unwrap();
        let bytes = follower.follow(&database);
        assert!(bytes < 64, "{bytes} bytes for a row");
    }
    assert_eq!(follower.follow(&database), 0, "nothing has changed");
    drop(database);
    let again = follower.open();
    assert_eq!(number(&again, "SELECT count(*) FROM t"), 3);
    run(&again, "DELETE FROM t WHERE name = 'b'");
    follower.follow(&again);
    assert_eq!(number(&follower.open(), "SELECT sum(id) FROM t"), 4);
}

#[test]
fn what_is_undone_leaves_nothing_however_large_it_was() {
    let database = new();
    run(&database, "CREATE TABLE t(data BLOB)");
    let mut follower = Follower::of(&database);
    let before = database.bytes();
    for _ in 0..500 {
        run(&database, "INSERT INTO t VALUES (randomblob(20000))");
    }
    assert_eq!(database.bytes(), before, "it is in SQLite's cache alone");
    database.roll_back().unwrap();
    assert_eq!(follower.follow(&database), 0);
    database.savepoint().unwrap();
    run(&database, "INSERT INTO t VALUES (1)");
    database.roll_back_to().unwrap();
    assert_eq!(number(&database, "SELECT count(*) FROM t"), 0);
    follower.follow(&database);
    assert_eq!(number(&follower.open(), "SELECT count(*) FROM t"), 0);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let database = new();
    run(&database, "CREATE TABLE t(a)");
    let bytes = database.commit().unwrap().unwrap().encode();
    let at = bytes.windows(6).position(|part| part == b"SQLite").unwrap();
    let mut damaged = bytes;
    damaged[at] = b'?';
    let mut pages = Pages::default();
    pages.apply(&Delta::decode(&damaged).unwrap()).unwrap();
    let refused = Database::open(pages, Limits::default()).err().unwrap();
    assert!(refused.to_string().contains("not a database"), "{refused}");
}

#[test]
fn databases_on_many_threads_do_not_mix() {
    let threads = (0..4).map(|thread| {
        std::thread::spawn(move || {
            let all: Vec<Database> = (0..50).map(|_| new()).collect();
            for (n, database) in all.iter().enumerate() {
                run(database, "CREATE TABLE t(thread INT, n INT)");
                let row = [thread, i64::try_from(n).unwrap()].map(Value::Integer);
                database.exec("INSERT INTO t VALUES (?, ?)", &row).unwrap();
            }
            for (n, database) in all.iter().enumerate() {
                let follower = Follower::of(database);
                let there = number(&follower.open(), "SELECT thread * 1000 + n FROM t");
                assert_eq!(there, thread * 1000 + i64::try_from(n).unwrap());
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

/// Numbers that are the same in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 % limit).unwrap()
    }
}

/// One statement of a random program.
fn statement(numbers: &mut Numbers) -> String {
    let (a, b) = (numbers.below(1 << 40), numbers.below(9_000));
    match numbers.below(9) {
        0..=2 => format!("INSERT INTO t(k, v) VALUES ('{a}', zeroblob({b}))"),
        3 => format!("DELETE FROM t WHERE id % 7 = {}", b % 7),
        4 => format!("UPDATE t SET v = randomblob({b}) WHERE id % 5 = {}", a % 5),
        5 => format!("INSERT INTO f VALUES ('word{} other{}')", a % 50, b % 9),
        6 => "UPDATE t SET k = id || k WHERE id % 2".to_owned(),
        7 => format!(
            "CREATE TABLE IF NOT EXISTS x{0} AS SELECT randomblob({b}) AS v",
            a % 5
        ),
        _ => format!("DROP TABLE IF EXISTS x{}", a % 5),
    }
}

#[test]
fn random_programs_are_followed_byte_for_byte() {
    let mut numbers = Numbers(0x0123_4567_89ab_cdef);
    for _ in 0..12 {
        let mut database = new();
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v BLOB);
            CREATE INDEX i ON t(k); CREATE VIRTUAL TABLE f USING fts5(x);";
        run(&database, schema);
        let mut follower = Follower::of(&database);
        for _ in 0..numbers.below(40) {
            for _ in 0..numbers.below(8) {
                run(&database, &statement(&mut numbers));
            }
            match numbers.below(12) {
                0 => database.roll_back().unwrap(),
                // The process ends before anybody has heard of the commit: it has not been.
                1 => database = follower.open(),
                _ => {}
            }
            follower.follow(&database);
        }
        let there = "SELECT count(*) + coalesce(sum(length(v)), 0) FROM t";
        assert_eq!(number(&follower.open(), there), number(&database, there));
    }
}

/// An object's entries in a store, of which each commit changes some at once.
#[derive(Default)]
struct Entries(BTreeMap<String, Vec<u8>>);

impl Entries {
    fn commit(&mut self, journal: &mut Journal, database: &Database) {
        if let Some(delta) = database.commit().unwrap() {
            let mut batch = WriteBatch::default();
            let pages = database.copy().unwrap();
            journal.commit(delta, &pages, &mut batch).unwrap();
            common::apply(batch, &mut self.0);
        }
    }

    fn load(&self, policy: Policy) -> (Journal, Database) {
        let spill = Spill {
            after_bytes: 50_000,
            ..Spill::default()
        };
        let mut loader = Loader::new(policy, spill);
        for (key, value) in &self.0 {
            loader.add(key, value).unwrap();
        }
        let (journal, pages) = loader.finish().unwrap();
        let database = Database::open(pages, Limits::default()).unwrap();
        database.check().unwrap();
        (journal, database)
    }
}

#[test]
fn databases_that_grow_and_shrink_are_there_after_each_commit() {
    let policy = Policy {
        log_bytes: 3_000,
        part_of_file: 50,
        shorten_bytes: 100_000,
        entry_bytes: 10_000,
    };
    let mut numbers = Numbers(0xfedc_ba98_7654_3210);
    for _ in 0..6 {
        let (mut journal, mut database) = (Journal::new(policy), new());
        let mut entries = Entries::default();
        let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v BLOB);
            CREATE INDEX i ON t(k); CREATE VIRTUAL TABLE f USING fts5(x);";
        run(&database, schema);
        entries.commit(&mut journal, &database);
        for _ in 0..60 {
            for _ in 0..numbers.below(5) {
                run(&database, &statement(&mut numbers));
            }
            if numbers.below(9) == 0 {
                database.delete_all().unwrap();
                run(&database, schema);
            }
            entries.commit(&mut journal, &database);
            let (loaded, copy) = entries.load(policy);
            assert!(copy.copy().unwrap() == database.copy().unwrap());
            assert_eq!(loaded.last(), journal.last());
            if numbers.below(8) == 0 {
                (journal, database) = (loaded, copy);
            }
        }
        assert!(entries.0.keys().any(|key| key.starts_with('c')));
    }
}

#[test]
fn a_page_is_what_sqlite_says() {
    let database = new();
    run(&database, "CREATE TABLE t(a)");
    let bytes = number(&database, "PRAGMA page_size");
    assert_eq!(usize::try_from(bytes), Ok(PAGE_BYTES));
}
