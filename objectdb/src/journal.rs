//! How a database lies among the keys of its object in the store: a log of deltas, and the file in chunks.
//!
//! | key | value |
//! |---|---|
//! | `c` and the chunk's number | the number of the commit it is of, and 64 KiB of the file as it was then |
//! | `h` | the number of a commit, and how many pages the file had then |
//! | `l` and the commit's number | what the commit changed |
//!
//! Numbers in keys are hexadecimal and of one length, so that the order of keys is theirs. A commit adds an entry to the log.
//! Where that has become long, the commit also writes the chunks that the oldest entries are about, as they are now, and takes
//! the entries away that are about no others. So a commit writes a bounded amount beside its own delta, and the log is
//! never much longer than a part of the file. All of it is one batch: after any number of commits there is a database.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use portside_core::write::WriteBatch;

use crate::delta::{Damaged, Delta};
use crate::pages::{PAGE_BYTES, Pages};

/// Pages of a chunk.
const CHUNK: u32 = 16;

const CHUNK_KEY: &str = "c";
const HEADER_KEY: &str = "h";
const LOG_KEY: &str = "l";

/// The number of a commit. The first is 1.
type Number = u64;

/// When the log is shortened.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// A log of so many bytes stays.
    pub log_bytes: u64,
    /// So does one that is no larger than the file divided by this.
    pub part_of_file: u64,
    /// How many chunks one commit writes.
    pub chunks: usize,
}

impl Default for Policy {
    /// 256 KiB, a quarter of the file, and 1 MiB.
    fn default() -> Self {
        Self {
            log_bytes: 256 << 10,
            part_of_file: 4,
            chunks: 16,
        }
    }
}

/// What the store has of a database.
#[derive(Debug, Default)]
pub struct Journal {
    policy: Policy,
    /// The last commit.
    last: Number,
    /// How many pages the file had after it.
    pages: u32,
    /// Bytes of the log's entries.
    log: BTreeMap<Number, u64>,
    /// Their sum.
    log_bytes: u64,
    /// Chunks that the log knows better than the store has them: the first entry that does.
    behind: BTreeMap<u32, Number>,
}

impl Journal {
    /// That of a database which the store has nothing of.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// From all entries that the store has, in the order of their keys; with the database's file.
    ///
    /// # Errors
    /// They are not those of a database.
    pub fn load<'a>(
        policy: Policy,
        entries: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(Self, Pages), Damaged> {
        let mut journal = Self::new(policy);
        let mut file = Pages::default();
        let mut chunks = BTreeMap::new();
        let mut header = 0; // its commit, if there is one
        // In the order of keys, chunks and the header come before the log.
        for (key, value) in entries {
            let (kind, number) = key.split_at_checked(1).ok_or(Damaged)?;
            match kind {
                CHUNK_KEY => {
                    let chunk = u32::try_from(parse(number)?).map_err(|_| Damaged)?;
                    let (of, content) = take_number(value)?;
                    must(key == chunk_key(chunk))?;
                    add_chunk(&mut file, chunk, content)?;
                    chunks.insert(chunk, of);
                }
                HEADER_KEY if number.is_empty() => {
                    let (last, pages) = take_number(value)?;
                    let pages = pages.try_into().map_err(|_| Damaged)?;
                    must(last < Number::MAX)?;
                    header = last;
                    journal.last = last;
                    journal.pages = u32::from_le_bytes(pages);
                }
                LOG_KEY => {
                    let delta = Delta::decode(value)?;
                    let number = parse(number)?;
                    must(key == log_key(number) && journal.can_be_next(number, header))?;
                    let of = |chunk| chunks.get(&chunk).copied().unwrap_or(0);
                    journal.replay(number, value.len(), &delta, &mut file, of);
                }
                _ => return Err(Damaged),
            }
        }
        must(journal.last >= header && chunks.values().all(|of| *of <= header))?;
        // What chunks have past the end is of a longer file.
        must(file.resize(journal.pages))?;
        file.settle();
        Ok((journal, file))
    }

    /// Whether an entry of the log can come after those before it: none is missing.
    fn can_be_next(&self, number: Number, header: Number) -> bool {
        if self.log.is_empty() {
            (1..=header + 1).contains(&number)
        } else {
            number == self.last + 1
        }
    }

    /// Adds to a batch what the store must get for a commit that changed `delta` and made the file `pages`. If the store does
    /// not take the batch, or nobody knows whether it has, this journal is of no use any more: load it anew.
    pub fn commit(&mut self, delta: &Delta, pages: &Pages, batch: &mut WriteBatch) {
        let bytes = delta.encode();
        let number = self.last + 1;
        let touched = self.note(number, bytes.len(), delta, self.pages, |_| 0);
        batch.write(log_key(number), Some(bytes.into()));
        let file = u64::from(self.pages) * PAGE_BYTES as u64;
        let most = self.policy.log_bytes.max(file / self.policy.part_of_file);
        if self.log_bytes() > most {
            // More than come, or commits that change much would be faster than this.
            self.shorten(self.policy.chunks.max(2 * touched), pages, batch);
        }
    }

    /// The number of the last commit; 0 if there was none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How long the log is, in bytes.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Notes a commit, before which the file had no more than `had` pages. `of` says which commit the store has a chunk of.
    /// Returns how many chunks are changed.
    fn note(
        &mut self,
        number: Number,
        bytes: usize,
        delta: &Delta,
        had: u32,
        of: impl Fn(u32) -> Number,
    ) -> usize {
        let changed = delta.changes().iter().map(|change| change.page / CHUNK);
        let chunks: BTreeSet<u32> = changed.chain(cut_off(delta, had)).collect();
        for &chunk in chunks.iter().filter(|&&chunk| of(chunk) < number) {
            self.behind.entry(chunk).or_insert(number);
        }
        self.log.insert(number, bytes as u64);
        self.log_bytes += bytes as u64;
        self.last = number;
        self.pages = delta.pages();
        chunks.len()
    }

    /// Does to the file what an entry of the log says, as far as chunks are not newer.
    fn replay(
        &mut self,
        number: Number,
        bytes: usize,
        delta: &Delta,
        file: &mut Pages,
        of: impl Fn(u32) -> Number + Copy,
    ) {
        // It is not made shorter: there may be chunks that are newer. What is past the end of the commit before is zeros
        // already, but for the first entry: chunks can have more.
        let had = match self.log.is_empty() {
            true => file.count().max(self.pages),
            false => self.pages,
        };
        for chunk in cut_off(delta, had) {
            if of(chunk) < number {
                let first = chunk * CHUNK;
                file.clear(first.max(delta.pages())..first + CHUNK);
            }
        }
        for change in delta.changes() {
            if of(change.page / CHUNK) < number {
                file.write(change.page, change.offset.into(), &change.bytes);
            }
        }
        self.note(number, bytes, delta, had, of);
    }

    /// Writes some of the chunks that are behind for longest, and takes away the entries that nobody needs after that.
    fn shorten(&mut self, chunks: usize, pages: &Pages, batch: &mut WriteBatch) {
        let mut oldest: Vec<_> = self
            .behind
            .iter()
            .map(|(chunk, of)| (*of, *chunk))
            .collect();
        oldest.sort_unstable();
        for (_, chunk) in oldest.into_iter().take(chunks) {
            self.behind.remove(&chunk);
            let is_past_the_end = chunk * CHUNK >= self.pages;
            let value = (!is_past_the_end).then(|| chunk_value(self.last, chunk, pages).into());
            batch.write(chunk_key(chunk), value);
        }
        let needed = self.behind.values().min().copied();
        let needed = needed.unwrap_or(self.last + 1);
        let kept = self.log.split_off(&needed);
        for (number, bytes) in std::mem::replace(&mut self.log, kept) {
            self.log_bytes -= bytes;
            batch.write(log_key(number), None);
        }
        let header = [&self.last.to_le_bytes()[..], &self.pages.to_le_bytes()].concat();
        batch.write(HEADER_KEY.to_owned(), Some(header.into()));
    }
}

/// Chunks of which a file that had so many pages loses some. Zeros are left there, should it become longer again.
fn cut_off(delta: &Delta, had: u32) -> Range<u32> {
    if delta.pages() < had {
        delta.pages() / CHUNK..had.div_ceil(CHUNK)
    } else {
        0..0
    }
}

fn chunk_key(chunk: u32) -> String {
    format!("{CHUNK_KEY}{chunk:08x}")
}

fn log_key(number: Number) -> String {
    format!("{LOG_KEY}{number:016x}")
}

fn parse(hexadecimal: &str) -> Result<Number, Damaged> {
    Number::from_str_radix(hexadecimal, 16).map_err(|_| Damaged)
}

fn must(holds: bool) -> Result<(), Damaged> {
    holds.then_some(()).ok_or(Damaged)
}

fn take_number(value: &[u8]) -> Result<(Number, &[u8]), Damaged> {
    let (number, rest) = value.split_first_chunk().ok_or(Damaged)?;
    Ok((Number::from_le_bytes(*number), rest))
}

/// A chunk as of a commit: its pages up to the end of the file.
fn chunk_value(number: Number, chunk: u32, pages: &Pages) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    let first = chunk * CHUNK;
    for page in first..pages.count().min(first + CHUNK) {
        value.extend_from_slice(pages.page(page));
    }
    value
}

fn add_chunk(file: &mut Pages, chunk: u32, content: &[u8]) -> Result<(), Damaged> {
    let (pages, rest) = content.as_chunks::<PAGE_BYTES>();
    let first = chunk.checked_mul(CHUNK).ok_or(Damaged)?;
    if !rest.is_empty() || pages.len() > CHUNK as usize {
        return Err(Damaged);
    }
    for (page, content) in (first..).zip(pages) {
        if !file.write(page, 0, content) {
            return Err(Damaged);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::MAX_PAGES;

    /// A store: what it has of one object.
    #[derive(Default, Clone)]
    struct Kept(BTreeMap<String, Vec<u8>>);

    impl Kept {
        fn apply(&mut self, batch: WriteBatch) {
            for (key, value) in batch.writes {
                match value {
                    Some(value) => drop(self.0.insert(key, value.to_vec())),
                    None => drop(self.0.remove(&key)),
                }
            }
        }

        fn load(&self, policy: Policy) -> Result<(Journal, Pages), Damaged> {
            let entries = self.0.iter();
            Journal::load(policy, entries.map(|(key, value)| (&key[..], &value[..])))
        }
    }

    /// A log that is shortened with each commit, by one chunk.
    const SHORT: Policy = Policy {
        log_bytes: 0,
        part_of_file: u64::MAX,
        chunks: 1,
    };

    #[derive(Debug, Clone)]
    enum Step {
        Write(u32, usize, u8),
        Resize(u32),
        Commit,
        /// The process is lost, and with it what is not committed.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..70_u32, 0..PAGE_BYTES, any::<u8>()).prop_map(|(page, at, byte)| Step::Write(page, at, byte)),
            2 => (0..70_u32).prop_map(Step::Resize),
            4 => Just(Step::Commit),
            1 => Just(Step::Restart),
        ]
    }

    fn run(policy: Policy, steps: &[Step]) -> Result<(), TestCaseError> {
        let (mut journal, mut file, mut kept) =
            (Journal::new(policy), Pages::default(), Kept::default());
        for step in steps {
            match *step {
                Step::Write(page, at, byte) => drop(file.write(page, at, &[byte])),
                Step::Resize(count) => drop(file.resize(count)),
                Step::Commit => {
                    let Some(delta) = file.take_delta() else {
                        continue;
                    };
                    let mut batch = WriteBatch::default();
                    journal.commit(&delta, &file, &mut batch);
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
            run(Policy { chunks: 3, log_bytes: 60, ..SHORT }, &steps)?;
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
            log_bytes: 2_000,
            part_of_file: 1_000,
            chunks: 2,
        };
        let (mut journal, mut file, mut kept) =
            (Journal::new(policy), Pages::default(), Kept::default());
        for n in 0..3_000_u32 {
            // Places all over a file of 200 pages, and sometimes many of them.
            let many = if n % 500 == 499 { 150 } else { 1 };
            for m in 0..many {
                let page = (n.wrapping_mul(7919) + m) % 200;
                file.write(page, (n % 4000) as usize, &n.to_le_bytes());
            }
            let delta = file.take_delta().unwrap();
            let mut batch = WriteBatch::default();
            journal.commit(&delta, &file, &mut batch);
            kept.apply(batch);
            assert!(journal.log_bytes() < 6_000, "{n}: {}", journal.log_bytes());
        }
        let log = kept.0.keys().filter(|key| key.starts_with(LOG_KEY));
        assert!(log.count() < 600);
        assert!(kept.load(policy).unwrap().1 == file);
    }

    #[test]
    fn a_log_with_a_hole_is_refused_and_so_is_what_cannot_be_before_it() {
        let delta = Delta::decode(&[1]).unwrap().encode();
        let header = |last: u64| [&last.to_le_bytes()[..], &1_u32.to_le_bytes()].concat();
        let loads = |entries: &[(String, Vec<u8>)]| {
            Kept(entries.iter().cloned().collect()).load(SHORT).is_ok()
        };
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
        let mut commit = |file: &mut Pages, kept: &mut Kept| {
            let mut batch = WriteBatch::default();
            journal.commit(&file.take_delta().unwrap(), file, &mut batch);
            kept.apply(batch);
        };
        file.write(MAX_PAGES - 1, 0, b"end");
        commit(&mut file, &mut kept);
        file.resize(1);
        commit(&mut file, &mut kept);
        for n in 0..300_u32 {
            file.write(0, 0, &(n + 1).to_le_bytes());
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
}
