//! How a database lies among the keys of its object in the store: a log of deltas, and the file in chunks.
//!
//! | key | value |
//! |---|---|
//! | `c` and the chunk's number | the number of the commit it is of, and 64 KiB of the file as it was then |
//! | `h` | the number of a commit, and how many pages the file had then |
//! | `l` and the commit's number | what the commit changed |
//!
//! Numbers in keys are hexadecimal and of one length, so that the order of keys is theirs. A commit adds an entry to the log, or
//! several if it is large.
//! Where that has become long, the commit also writes the chunks that the oldest entries are about, as they are now, and takes
//! the entries away that are about no others. So a commit writes a bounded amount beside its own delta, and the log is
//! never much longer than a part of the file. All of it is one batch: after any number of commits there is a database.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use portside_core::write::WriteBatch;

use crate::delta::{Damaged, Delta, Part};
use crate::pages::{PAGE_BYTES, Pages};

/// Pages of a chunk.
const CHUNK: u32 = 16;

const CHUNK_KEY: &str = "c";
const HEADER_KEY: &str = "h";
const LOG_KEY: &str = "l";

/// The number of a commit. The first is 1.
type Number = u64;

/// What an entry takes beside its value, in bytes: its key, a row of the store, and the journal's note of it.
const ENTRY_BYTES: u64 = 128;

/// What it is worth that a commit takes an entry away, in bytes that it could write instead.
const REMOVAL_BYTES: u64 = 1 << 10;

/// How entries of the log are made, and when it is shortened.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// A log of so many bytes stays; each entry counts as 128 more than it has.
    pub log_bytes: u64,
    /// So does one that is no larger than the file divided by this.
    pub part_of_file: u64,
    /// About how many bytes of chunks one commit writes, and for how many it takes entries away, 1 KiB for each. A commit that
    /// has more than half of that itself writes and takes away twice as much as it has.
    pub shorten_bytes: u64,
    /// The most bytes of one entry of the log. A commit that has more is several entries. At least 8 KiB.
    pub entry_bytes: usize,
}

impl Default for Policy {
    /// 256 KiB, a quarter of the file, and 1 MiB twice.
    fn default() -> Self {
        Self {
            log_bytes: 256 << 10,
            part_of_file: 4,
            shorten_bytes: 1 << 20,
            entry_bytes: 1 << 20,
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
    /// What the log's entries count, in bytes.
    log: BTreeMap<Number, u64>,
    /// Their sum.
    log_bytes: u64,
    /// Chunks that the log knows better than the store has them: the first entry that does.
    behind: BTreeMap<u32, Number>,
    /// The same, those that are behind for longest first.
    oldest: BTreeSet<(Number, u32)>,
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
        let mut bytes = 0;
        for part in delta.parts(self.policy.entry_bytes) {
            let entry = part.encode();
            let number = self.last + 1;
            bytes += entry.len() as u64;
            self.note(number, entry.len(), part, self.pages, |_| 0);
            batch.write(log_key(number), Some(entry.into()));
        }
        let file = u64::from(self.pages) * PAGE_BYTES as u64;
        let most = self.policy.log_bytes.max(file / self.policy.part_of_file);
        if self.log_bytes() > most {
            // Twice what comes, or commits that change much would be faster than this.
            self.shorten(self.policy.shorten_bytes.max(2 * bytes), pages, batch);
        }
    }

    /// The number of the log's last entry; 0 if there was none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How long the log is, in bytes.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Notes an entry of the log, before which the file had no more than `had` pages. `of` says which commit the store has a
    /// chunk of.
    fn note(
        &mut self,
        number: Number,
        bytes: usize,
        part: Part<'_>,
        had: u32,
        of: impl Fn(u32) -> Number,
    ) {
        let changed = part.changes.iter().map(|change| change.page / CHUNK);
        let chunks: BTreeSet<u32> = changed.chain(cut_off(part.pages, had)).collect();
        for &chunk in chunks.iter().filter(|&&chunk| of(chunk) < number) {
            if let Entry::Vacant(entry) = self.behind.entry(chunk) {
                entry.insert(number);
                self.oldest.insert((number, chunk));
            }
        }
        let bytes = bytes as u64 + ENTRY_BYTES;
        self.log.insert(number, bytes);
        self.log_bytes += bytes;
        self.last = number;
        self.pages = part.pages;
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
        for chunk in cut_off(delta.pages(), had) {
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
        self.note(number, bytes, delta.into(), had, of);
    }

    /// Writes the chunks that are behind for longest, and takes away the oldest entries that nobody needs after that, about so
    /// many bytes of each.
    fn shorten(&mut self, bytes: u64, pages: &Pages, batch: &mut WriteBatch) {
        let mut written = 0;
        while written < bytes
            && let Some((_, chunk)) = self.oldest.pop_first()
        {
            self.behind.remove(&chunk);
            let is_past_the_end = chunk * CHUNK >= self.pages;
            let value = (!is_past_the_end).then(|| chunk_value(self.last, chunk, pages));
            written += value
                .as_ref()
                .map_or(REMOVAL_BYTES, |value| value.len() as u64);
            batch.write(chunk_key(chunk), value.map(Into::into));
        }
        let needed = self.oldest.first().map(|(number, _)| *number);
        let needed = needed.unwrap_or(self.last + 1);
        for _ in 0..bytes.div_ceil(REMOVAL_BYTES) {
            let Some(oldest) = self
                .log
                .first_entry()
                .filter(|oldest| *oldest.key() < needed)
            else {
                break;
            };
            let (number, bytes) = oldest.remove_entry();
            self.log_bytes -= bytes;
            batch.write(log_key(number), None);
        }
        let header = [&self.last.to_le_bytes()[..], &self.pages.to_le_bytes()].concat();
        batch.write(HEADER_KEY.to_owned(), Some(header.into()));
    }
}

/// Chunks of which a file that had so many pages loses some. Zeros are left there, should it become longer again.
fn cut_off(pages: u32, had: u32) -> Range<u32> {
    if pages < had {
        pages / CHUNK..had.div_ceil(CHUNK)
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
mod tests;
