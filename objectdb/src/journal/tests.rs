//! Journals, and what the store has after any number of commits.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::MAX_PAGES;

/// A store: what it has of one object.
#[derive(Default, Clone)]
struct Kept(BTreeMap<String, Vec<u8>>);

impl Kept {
    fn apply(&mut self, batch: WriteBatch) {
        if batch.clear {
            self.0.clear();
        }
        for (key, value) in batch.writes {
            match value {
                Some(value) => drop(self.0.insert(key, value.to_vec())),
                None => drop(self.0.remove(&key)),
            }
        }
    }

    fn load(&self, policy: Policy) -> Result<(Journal, Pages), Error> {
        let mut loader = Loader::new(policy, spill());
        for (key, value) in &self.0 {
            loader.add(key, value)?;
        }
        loader.finish()
    }
}

/// Four pages in memory.
fn spill() -> Spill {
    Spill {
        after_bytes: 4 * PAGE_BYTES as u64,
        ..Spill::default()
    }
}

fn commit(journal: &mut Journal, file: &mut Pages) -> WriteBatch {
    let mut batch = WriteBatch::default();
    let delta = file.take_delta().unwrap().unwrap();
    journal.commit(delta, file, &mut batch).unwrap();
    batch
}

/// A log that is shortened with each commit, by one chunk.
const SHORT: Policy = Policy {
    log_bytes: 0,
    part_of_file: u64::MAX,
    shorten_bytes: 1,
    entry_bytes: 0,
};

#[derive(Debug, Clone)]
enum Step {
    Write(u32, usize, u8),
    /// All of some pages.
    Fill(u32, u32, u8),
    Resize(u32),
    /// All of it, before something else is written.
    Empty,
    Commit,
    /// The process is lost, and with it what is not committed.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..70_u32, 0..PAGE_BYTES, any::<u8>()).prop_map(|(page, at, byte)| Step::Write(page, at, byte)),
        1 => (0..70_u32, 0..30_u32, any::<u8>()).prop_map(|(page, count, byte)| Step::Fill(page, page + count, byte)),
        2 => (0..70_u32).prop_map(Step::Resize),
        1 => Just(Step::Empty),
        4 => Just(Step::Commit),
        1 => Just(Step::Restart),
    ]
}

fn run(policy: Policy, steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut journal, mut file, mut kept) =
        (Journal::new(policy), Pages::new(spill()), Kept::default());
    for step in steps {
        match *step {
            Step::Write(page, at, byte) => file.write(page, at, &[byte]).unwrap(),
            Step::Fill(first, end, byte) => {
                for page in first..end {
                    file.write(page, 0, &[byte; PAGE_BYTES]).unwrap();
                }
            }
            Step::Resize(count) => file.resize(count).unwrap(),
            Step::Empty => file.resize(0).unwrap(),
            Step::Commit => {
                let Some(delta) = file.take_delta().unwrap() else {
                    continue;
                };
                let mut batch = WriteBatch::default();
                journal.commit(delta, &file, &mut batch).unwrap();
                kept.apply(batch);
                let (loaded, copy) = kept.load(policy).unwrap();
                prop_assert!(copy == file, "after {:?}: {:?}", journal, loaded);
                prop_assert_eq!(loaded.last, journal.last);
                prop_assert_eq!(loaded.log, journal.log.clone());
            }
            Step::Restart => (journal, file) = kept.load(policy).unwrap(),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn after_each_commit_there_is_the_file(steps in prop::collection::vec(step(), 0..120)) {
        run(SHORT, &steps)?;
        run(Policy { shorten_bytes: 150_000, log_bytes: 900, ..SHORT }, &steps)?;
        run(Policy::default(), &steps)?;
    }

    #[test]
    fn whatever_is_there_is_read_or_refused(
        entries in prop::collection::btree_map("[chlx][0-9a-f]{0,3}", prop::collection::vec(any::<u8>(), 0..40), 0..6),
    ) {
        drop(Kept(entries).load(SHORT));
    }
}

#[test]
fn the_log_stays_short_however_long_it_goes_on() {
    let policy = Policy {
        log_bytes: 20_000,
        part_of_file: 1_000,
        shorten_bytes: 100_000,
        entry_bytes: 1_000,
    };
    let (mut journal, mut file, mut kept) =
        (Journal::new(policy), Pages::default(), Kept::default());
    for n in 0..3_000_u32 {
        // Places all over a file of 200 pages, and sometimes many of them.
        let many = if n % 500 == 499 { 150 } else { 1 };
        for m in 0..many {
            let page = (n.wrapping_mul(7919) + m) % 200;
            let at = (n % 4000) as usize;
            file.write(page, at, &n.to_le_bytes()).unwrap();
        }
        kept.apply(commit(&mut journal, &mut file));
        let bytes = journal.log_bytes();
        assert!(bytes < 30_000, "{n}: {bytes}");
    }
    let log = kept.0.keys().filter(|key| key.starts_with(LOG_KEY));
    assert!(log.count() < 200);
    assert!(kept.load(policy).unwrap().1 == file);
}

#[test]
fn a_log_with_a_hole_is_refused_and_so_is_what_cannot_be_before_it() {
    let delta = Delta::decode(&[1]).unwrap().encode();
    let header = |last: u64| [&last.to_le_bytes()[..], &1_u32.to_le_bytes()].concat();
    let loads =
        |entries: &[(String, Vec<u8>)]| Kept(entries.iter().cloned().collect()).load(SHORT).is_ok();
    let log = |number| (log_key(number), delta.clone());
    let head = |last| (HEADER_KEY.to_owned(), header(last));
    let chunk = |of: u64| (chunk_key(0), of.to_le_bytes().to_vec());
    assert!(loads(&[]) && loads(&[log(1), log(2)]) && loads(&[head(8), log(9)]));
    assert!(loads(&[chunk(9), head(9), log(7), log(8), log(9)]));
    assert!(!loads(&[log(1), log(3)]) && !loads(&[log(2)]));
    assert!(!loads(&[head(7), log(9)]) && !loads(&[head(9), log(8)]));
    assert!(!loads(&[chunk(1)]) && !loads(&[chunk(10), head(9)]));
    assert!(!loads(&[head(u64::MAX)]));
    for key in ["l1", "l000000000000000A", "l+00000000000001", "c0", "hello"] {
        assert!(!loads(&[(key.to_owned(), header(1))]), "{key}");
    }
}

#[test]
fn a_file_that_was_long_once_is_read_as_quickly_as_a_short_one() {
    let (mut journal, mut file, mut kept) = (
        Journal::new(Policy::default()),
        Pages::default(),
        Kept::default(),
    );
    let mut commit = |file: &mut Pages, kept: &mut Kept| kept.apply(commit(&mut journal, file));
    file.write(MAX_PAGES - 1, 0, b"end").unwrap();
    commit(&mut file, &mut kept);
    file.resize(1).unwrap();
    commit(&mut file, &mut kept);
    for n in 0..300_u32 {
        file.write(0, 0, &(n + 1).to_le_bytes()).unwrap();
        commit(&mut file, &mut kept);
    }
    // 300 times all pages of the file as it was would be minutes, and gigabytes.
    assert!(kept.load(Policy::default()).unwrap().1 == file);
}

#[test]
fn what_is_not_of_a_database_is_refused() {
    let refused = |key: &str, value: &[u8]| {
        let entries = BTreeMap::from([(key.to_owned(), value.to_vec())]);
        assert!(Kept(entries).load(SHORT).is_err(), "{key} {value:?}");
    };
    refused("c00000000", &[0; 8 + 17 * PAGE_BYTES]);
    refused("c00000000", &[0; 8 + 5]);
    refused("cffffffff", &[0; 8 + PAGE_BYTES]);
    refused("h", &[1, 2, 3]);
    refused("h", &[0xff; 12]);
    refused("l1", &[0xff; 8]);
    refused("lx", &[0]);
    refused("", &[]);
    refused("other", &[]);
}

#[test]
fn a_large_commit_is_several_entries() {
    let policy = Policy {
        entry_bytes: 10_000,
        ..Policy::default()
    };
    let (mut journal, mut file, mut kept) =
        (Journal::new(policy), Pages::default(), Kept::default());
    for page in 0..40 {
        file.write(2 * page, 0, &[7; PAGE_BYTES]).unwrap();
    }
    let batch = commit(&mut journal, &mut file);
    let sizes: Vec<_> = batch.writes.values().flatten().map(|v| v.len()).collect();
    assert_eq!(sizes.len(), 20);
    assert!(sizes.iter().all(|size| *size <= 10_000), "{sizes:?}");
    kept.apply(batch);
    let (loaded, copy) = kept.load(policy).unwrap();
    assert!(copy == file && loaded.last == 20);
}

#[test]
fn what_a_commit_writes_beside_itself_is_bounded() {
    let policy = Policy {
        part_of_file: 64,
        ..Policy::default()
    };
    let (mut journal, mut file, mut kept) =
        (Journal::new(policy), Pages::default(), Kept::default());
    let mut commit = |file: &mut Pages, kept: &mut Kept| {
        let batch = commit(&mut journal, file);
        let removed = batch
            .writes
            .values()
            .filter(|value| value.is_none())
            .count();
        let written = batch.bytes();
        kept.apply(batch);
        (written, removed, journal.log_bytes())
    };
    // 16 MiB, of which each commit changes one byte in each chunk.
    let pages = 4 << 10;
    file.write(pages - 1, 0, b"end").unwrap();
    commit(&mut file, &mut kept);
    for n in 1..=1_000_u32 {
        for chunk in 0..pages / CHUNK {
            file.write(chunk * CHUNK, 0, &n.to_le_bytes()).unwrap();
        }
        let (written, removed, log) = commit(&mut file, &mut kept);
        assert!(written < (1 << 20) + 200_000, "{n}: {written}");
        assert!(removed <= 1025, "{n}: {removed}");
        assert!(log < 512 << 10, "{n}: {log}");
    }
    assert!(kept.load(policy).unwrap().1 == file);
    // All of it goes, and the entries do in time.
    file.resize(1).unwrap();
    let (mut all_written, mut all_removed) = (0, 0);
    for n in 0..2_000_u32 {
        file.write(0, 0, &n.to_le_bytes()).unwrap();
        let (written, removed, _) = commit(&mut file, &mut kept);
        assert!(written < (1 << 20) + 200_000, "{n}: {written}");
        assert!(removed <= 2049, "{n}: {removed}");
        (all_written, all_removed) = (all_written + written, all_removed + removed);
    }
    assert!(kept.load(policy).unwrap().1 == file);
    let left: usize = kept.0.values().map(Vec::len).sum();
    assert!(left < 1 << 20, "{left}");
    assert!(all_written < 10 << 20 && all_removed > 255);
}

#[test]
fn a_chunk_most_of_which_changes_is_written_once() {
    let policy = Policy::default();
    let (mut journal, mut file, mut kept) =
        (Journal::new(policy), Pages::new(spill()), Kept::default());
    file.write(100, 0, b"small").unwrap();
    kept.apply(commit(&mut journal, &mut file));
    for page in 0..160 {
        file.write(page, 0, &[7; PAGE_BYTES]).unwrap();
    }
    let batch = commit(&mut journal, &mut file);
    assert!(batch.bytes() < 161 * PAGE_BYTES, "{}", batch.bytes());
    kept.apply(batch);
    assert!(journal.log_bytes() < 1_000, "{}", journal.log_bytes());
    assert!(journal.behind.is_empty() && journal.oldest.is_empty());
    let (mut loaded, mut copy) = kept.load(policy).unwrap();
    assert!(copy == file && loaded.last == 2);
    copy.write(159, 0, b"small again").unwrap();
    kept.apply(commit(&mut loaded, &mut copy));
    assert!(kept.load(policy).unwrap().1 == copy);
}

#[test]
fn of_a_file_that_was_emptied_nothing_stays() {
    let policy = Policy::default();
    let (mut journal, mut file, mut kept) =
        (Journal::new(policy), Pages::new(spill()), Kept::default());
    for page in 0..300 {
        file.write(page, 0, &[7; PAGE_BYTES]).unwrap();
        kept.apply(commit(&mut journal, &mut file));
    }
    file.resize(0).unwrap();
    file.write(1, 0, b"new").unwrap();
    kept.apply(commit(&mut journal, &mut file));
    let keys: Vec<_> = kept.0.keys().map(String::as_str).collect();
    assert_eq!(keys, ["c00000000", "h"]);
    file.write(1, 0, b"newer").unwrap();
    kept.apply(commit(&mut journal, &mut file));
    assert!(kept.load(policy).unwrap().1 == file);
    file.resize(0).unwrap();
    kept.apply(commit(&mut journal, &mut file));
    assert!(kept.0.is_empty());
    file.write(0, 0, b"again").unwrap();
    kept.apply(commit(&mut journal, &mut file));
    assert!(kept.load(policy).unwrap().1 == file);
}
