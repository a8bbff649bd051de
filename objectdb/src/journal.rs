//! How a database lies among the keys of its object in the store: a log of deltas, and the file in chunks.
//!
//! | key | value |
//! |---|---|
//! | `c` and the chunk's number | the number of the commit it is of, and 64 KiB of the file as it was then |
//! | `h` | the number of a commit, and how many pages the file had then |
//! | `l` and the commit's number | what the commit changed |
//!
//! Numbers in keys are hexadecimal and of one length, so that the order of keys is theirs. A commit adds an entry to the log, or
//! several if it is large. A chunk most of which it changes it writes as a whole, instead.
//! Where the log has become long, the commit also writes the chunks that the oldest entries are about, as they are now, and takes
//! the entries away that are about no others. So a commit writes a bounded amount beside its own delta, and the log is
//! never much longer than a part of the file. All of it is one batch: after any number of commits there is a database.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use portside_core::write::WriteBatch;

use crate::delta::{Damaged, Delta, Part};
use crate::error::Error;
use crate::page_file::{MAX_PAGES, PAGE_BYTES, PageFile, Spill};
use crate::pages::Pages;

/// Pages of a chunk.
const CHUNK: u32 = 16;

/// A commit that changes more bytes of a chunk than this, half of it, writes all of it.
const MOST_OF_CHUNK: usize = CHUNK as usize * PAGE_BYTES / 2;

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
    /// What the log's entries count, in bytes, from the oldest to that of the last commit. No number is missing.
    log: VecDeque<u32>,
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

    /// Adds to a batch what the store must get for a commit that changed `delta` and made the file `pages`. If that has been
    /// without pages in between, the batch clears all that the store has of the object, and what was in the batch goes. If the store does
    /// not take the batch, or nobody knows whether it has, this journal is of no use any more: load it anew.
    ///
    /// # Errors
    /// The file cannot be read. The batch is of no use then, either.
    pub fn commit(
        &mut self,
        delta: Delta,
        pages: &Pages,
        batch: &mut WriteBatch,
    ) -> Result<(), Error> {
        if delta.was_emptied() {
            return self.begin_anew(pages, batch);
        }
        let (rest, rewritten) = without_rewritten(delta);
        let mut bytes = 0;
        for part in rest.parts(self.policy.entry_bytes) {
            let entry = part.encode();
            let number = self.last + 1;
            bytes += entry.len() as u64;
            self.note(number, entry.len(), part, self.pages, |_| 0);
            batch.write(log_key(number), Some(entry.into()));
        }
        for &chunk in &rewritten {
            if let Some(number) = self.behind.get(&chunk) {
                self.oldest.remove(&(*number, chunk));
            }
            self.write_chunk(chunk, pages, batch)?;
        }
        let file = u64::from(self.pages) * PAGE_BYTES as u64;
        let most = self.policy.log_bytes.max(file / self.policy.part_of_file);
        let is_too_long = self.log_bytes() > most;
        if is_too_long {
            // Twice what comes, or commits that change much would be faster than this.
            self.shorten(self.policy.shorten_bytes.max(2 * bytes), pages, batch)?;
        }
        if is_too_long || !rewritten.is_empty() {
            self.write_header(batch);
        }
        Ok(())
    }

    /// Nothing of what the store has is needed any more: all of it goes, and the file is written as it is now.
    fn begin_anew(&mut self, pages: &Pages, batch: &mut WriteBatch) -> Result<(), Error> {
        let last = self.last + 1;
        *self = Self::new(self.policy);
        batch.clear();
        if pages.count() == 0 {
            return Ok(()); // as if there had never been a database
        }
        (self.last, self.pages) = (last, pages.count());
        for chunk in 0..self.pages.div_ceil(CHUNK) {
            self.write_chunk(chunk, pages, batch)?;
        }
        self.write_header(batch);
        Ok(())
    }

    fn write_header(&self, batch: &mut WriteBatch) {
        let header = [&self.last.to_le_bytes()[..], &self.pages.to_le_bytes()].concat();
        batch.write(HEADER_KEY.to_owned(), Some(header.into()));
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
        let bytes = u32::try_from(bytes as u64 + ENTRY_BYTES).unwrap_or(u32::MAX); // the store takes no such entry
        self.log.push_back(bytes);
        self.log_bytes += u64::from(bytes);
        self.last = number;
        self.pages = part.pages;
    }

    /// Writes the chunks that are behind for longest, and takes away the oldest entries that nobody needs after that, about so
    /// many bytes of each.
    fn shorten(&mut self, bytes: u64, pages: &Pages, batch: &mut WriteBatch) -> Result<(), Error> {
        let mut written = 0;
        while written < bytes
            && let Some((_, chunk)) = self.oldest.pop_first()
        {
            written += self.write_chunk(chunk, pages, batch)?;
        }
        let needed = self.oldest.first().map(|(number, _)| *number);
        let needed = needed.unwrap_or(self.last + 1);
        for _ in 0..bytes.div_ceil(REMOVAL_BYTES) {
            let oldest = self.last + 1 - self.log.len() as u64;
            let Some(bytes) = self.log.pop_front_if(|_| oldest < needed) else {
                break;
            };
            self.log_bytes -= u64::from(bytes);
            batch.write(log_key(oldest), None);
        }
        Ok(())
    }

    /// Writes a chunk as it is now, or takes it away if there is no such any more. Returns what that counts, in bytes.
    fn write_chunk(
        &mut self,
        chunk: u32,
        pages: &Pages,
        batch: &mut WriteBatch,
    ) -> Result<u64, Error> {
        self.behind.remove(&chunk);
        let is_there = chunk * CHUNK < self.pages;
        let value = is_there.then(|| chunk_value(self.last, chunk, pages));
        let value = value.transpose()?;
        let bytes = value
            .as_ref()
            .map_or(REMOVAL_BYTES, |value| value.len() as u64);
        batch.write(chunk_key(chunk), value.map(Into::into));
        Ok(bytes)
    }
}

/// A delta without the changes of chunks that it changes most of; and those chunks.
fn without_rewritten(delta: Delta) -> (Delta, BTreeSet<u32>) {
    let mut changed: BTreeMap<u32, usize> = BTreeMap::new();
    for change in delta.changes() {
        *changed.entry(change.page / CHUNK).or_default() += change.bytes.len();
    }
    changed.retain(|_, bytes| *bytes > MOST_OF_CHUNK);
    let rest = delta.filtered(|page| !changed.contains_key(&(page / CHUNK)));
    (rest, changed.into_keys().collect())
}

/// Reads a database from what the store has of it.
#[derive(Debug)]
pub struct Loader {
    journal: Journal,
    file: PageFile,
    /// Which commit each chunk is of.
    chunks: BTreeMap<u32, Number>,
    /// The header's commit, if there is one.
    header: Number,
}

impl Loader {
    /// As long as it is given nothing, that of a new database.
    #[must_use]
    pub fn new(policy: Policy, spill: Spill) -> Self {
        Self {
            journal: Journal::new(policy),
            file: PageFile::new(spill),
            chunks: BTreeMap::new(),
            header: 0,
        }
    }

    /// Takes the next entry, in the order of keys.
    ///
    /// # Errors
    /// It is not one of a database, or not the next one; or there is no room for the file. All is of no use then.
    pub fn add(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        let (kind, number) = key.split_at_checked(1).ok_or(Damaged)?;
        // In the order of keys, chunks and the header come before the log.
        match kind {
            CHUNK_KEY => {
                let chunk = u32::try_from(parse(number)?).map_err(|_| Damaged)?;
                must(key == chunk_key(chunk))?;
                let (of, content) = take_number(value)?;
                self.add_chunk(chunk, content)?;
                self.chunks.insert(chunk, of);
            }
            HEADER_KEY if number.is_empty() => {
                let (last, pages) = take_number(value)?;
                let pages = pages.try_into().map_err(|_| Damaged)?;
                must(last < Number::MAX)?;
                self.header = last;
                self.journal.last = last;
                self.journal.pages = u32::from_le_bytes(pages);
            }
            LOG_KEY => {
                let delta = Delta::decode(value)?;
                let number = parse(number)?;
                must(key == log_key(number) && self.can_be_next(number))?;
                self.replay(number, value.len(), &delta)?;
            }
            _ => return Err(Damaged.into()),
        }
        Ok(())
    }

    /// What to commit to, and the file.
    ///
    /// # Errors
    /// The entries are not those of a database, or there is no room for it.
    pub fn finish(mut self) -> Result<(Journal, Pages), Error> {
        must(self.journal.last >= self.header)?;
        must(self.chunks.values().all(|of| *of <= self.header))?;
        must(self.journal.pages <= MAX_PAGES)?;
        // What chunks have past the end is of a longer file.
        self.file.resize(self.journal.pages)?;
        Ok((self.journal, self.file.into()))
    }

    /// Whether an entry of the log can come after those before it: none is missing.
    fn can_be_next(&self, number: Number) -> bool {
        if self.journal.log.is_empty() {
            (1..=self.header + 1).contains(&number)
        } else {
            number == self.journal.last + 1
        }
    }

    fn add_chunk(&mut self, chunk: u32, content: &[u8]) -> Result<(), Error> {
        let (pages, rest) = content.as_chunks::<PAGE_BYTES>();
        must(rest.is_empty() && pages.len() <= CHUNK as usize && chunk < MAX_PAGES / CHUNK)?;
        for (page, content) in (chunk * CHUNK..).zip(pages) {
            self.file.write(page, 0, content)?;
        }
        Ok(())
    }

    /// Does to the file what an entry of the log says, as far as chunks are not newer.
    fn replay(&mut self, number: Number, bytes: usize, delta: &Delta) -> Result<(), Error> {
        // It is not made shorter: there may be chunks that are newer. What is past the end of the commit before is zeros
        // already, but for the first entry: chunks can have more.
        let had = match self.journal.log.is_empty() {
            true => self.file.count().max(self.journal.pages),
            false => self.journal.pages,
        };
        let of = |chunk| self.chunks.get(&chunk).copied().unwrap_or(0);
        let mut older = cut_off(delta.pages(), had).filter(|&chunk| of(chunk) < number);
        while let Some(first) = older.next() {
            // Those beside each other at once: it can have been a long file.
            let (mut end, mut next) = (first + 1, older.clone());
            while next.next() == Some(end) {
                end += 1;
                older = next.clone();
            }
            let pages = (first * CHUNK).max(delta.pages())..end * CHUNK;
            self.file.clear(pages)?;
        }
        for change in delta.changes() {
            if of(change.page / CHUNK) < number {
                let at = change.offset.into();
                self.file.write(change.page, at, &change.bytes)?;
            }
        }
        self.journal.note(number, bytes, delta.into(), had, of);
        Ok(())
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
fn chunk_value(number: Number, chunk: u32, pages: &Pages) -> Result<Vec<u8>, Error> {
    let mut value = number.to_le_bytes().to_vec();
    let first = chunk * CHUNK;
    for page in first..pages.count().min(first + CHUNK) {
        value.extend_from_slice(&pages.page(page)?);
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
