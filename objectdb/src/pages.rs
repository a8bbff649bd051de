//! A database's file: as it was at the last commit, and what was written since.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::delta::{Change, Delta, add_changes};
use crate::page_file::{Page, PageFile, Spill, ZEROS};

/// The pages of a file. Those that were never written are zeros and take no room.
#[derive(Debug)]
pub struct Pages {
    /// As of the last commit.
    committed: PageFile,
    /// Pages that were written since.
    written: BTreeMap<u32, Box<Page>>,
    /// Pages of that from here on were cut off since; what is there now is zeros, unless it was written.
    cut_off: u32,
    count: u32,
    /// How many pages may be written until the next commit; none while SQLite only makes room in its cache.
    may_write: usize,
    /// Somebody wanted to write more.
    was_refused: bool,
}

impl Default for Pages {
    fn default() -> Self {
        Self::new(Spill::default())
    }
}

impl Pages {
    /// A file without pages.
    #[must_use]
    pub fn new(spill: Spill) -> Self {
        PageFile::new(spill).into()
    }

    /// Where temporary files are.
    pub(crate) fn directory(&self) -> &Path {
        self.committed.directory()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Reads part of a page; zeros past the end.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub(crate) fn read(&self, page: u32, at: usize, into: &mut [u8]) -> io::Result<()> {
        if let Some(written) = self.written.get(&page) {
            into.copy_from_slice(&written[at..at + into.len()]);
            return Ok(());
        }
        if page < self.cut_off {
            return self.committed.read(page, at, into);
        }
        into.fill(0);
        Ok(())
    }

    /// Reads a page.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn page(&self, page: u32) -> io::Result<Page> {
        let mut read = ZEROS;
        self.read(page, 0, &mut read)?;
        Ok(read)
    }

    /// Makes the file longer, by zeros, or shorter.
    ///
    /// # Errors
    /// A file cannot be that long, which is [`io::ErrorKind::FileTooLarge`].
    pub(crate) fn resize(&mut self, count: u32) -> io::Result<()> {
        if count > crate::MAX_PAGES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if count < self.count {
            self.written.split_off(&count);
            self.cut_off = self.cut_off.min(count);
        }
        self.count = count;
        Ok(())
    }

    /// Writes part of a page, which makes the file long enough.
    ///
    /// # Errors
    /// Those of [`Self::resize`]; or the temporary file cannot be read.
    pub(crate) fn write(&mut self, page: u32, at: usize, bytes: &[u8]) -> io::Result<()> {
        if page >= self.count {
            self.resize(page.saturating_add(1))?;
        }
        if let Some(written) = self.written.get_mut(&page) {
            written[at..at + bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        let mut written = Box::new(ZEROS);
        if bytes.len() < written.len() {
            self.read(page, 0, &mut *written)?;
        }
        written[at..at + bytes.len()].copy_from_slice(bytes);
        self.written.insert(page, written);
        Ok(())
    }

    /// How many pages may have been written when `take_delta` is called the next time.
    pub(crate) fn may_write(&mut self, pages: usize) {
        self.may_write = pages;
    }

    /// Writes part of a page as [`Self::write`] does, if that many may be written.
    ///
    /// # Errors
    /// Those of [`Self::write`]; or [`io::ErrorKind::QuotaExceeded`], which is remembered.
    pub(crate) fn write_if_allowed(
        &mut self,
        page: u32,
        at: usize,
        bytes: &[u8],
    ) -> io::Result<()> {
        if self.written.len() >= self.may_write && !self.written.contains_key(&page) {
            self.was_refused = true;
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.write(page, at, bytes)
    }

    /// Whether somebody wanted to write more than was allowed.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused
    }

    /// Whether something was written since `take_delta` was last called.
    pub(crate) fn is_changed(&self) -> bool {
        let committed = self.committed.count();
        !self.written.is_empty() || self.count != committed || self.cut_off < committed
    }

    /// What has changed since this was last called; nothing if it is the same.
    ///
    /// # Errors
    /// The temporary file cannot be read or written. Nobody knows then what the file is.
    pub(crate) fn take_delta(&mut self) -> io::Result<Option<Delta>> {
        if !self.is_changed() {
            return Ok(None);
        }
        let changes = self.changes()?;
        let had = self.committed.count();
        let was_emptied = self.cut_off == 0 && had > 0;
        self.committed.resize(self.cut_off)?;
        self.committed.resize(self.count)?;
        for (page, written) in std::mem::take(&mut self.written) {
            self.committed.write(page, 0, &*written)?;
        }
        self.cut_off = self.count;
        let has_changed = had != self.count || !changes.is_empty();
        Ok(has_changed.then(|| Delta::new(self.count, changes, was_emptied)))
    }

    fn changes(&self) -> io::Result<Vec<Change>> {
        let had = self.committed.count();
        let mut before = ZEROS;
        let mut changes = vec![];
        let mut compare = |page: u32, after: &Page| {
            self.committed.read(page, 0, &mut before)?;
            add_changes(page, &before, after, &mut changes);
            io::Result::Ok(())
        };
        for (page, after) in self.written.range(..self.cut_off) {
            compare(*page, after)?;
        }
        for page in self.cut_off..had.min(self.count) {
            let after = self.written.get(&page);
            compare(page, after.map_or(&ZEROS, |after| after))?;
        }
        for (page, after) in self.written.range(had..) {
            compare(*page, after)?;
        }
        Ok(changes)
    }

    /// Makes the change that a delta describes, as part of the last commit.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub fn apply(&mut self, delta: &Delta) -> io::Result<()> {
        // A delta has no more pages than a file may have, and no change outside of them.
        self.committed.resize(delta.pages())?;
        for change in delta.changes() {
            let at = change.offset.into();
            self.committed.write(change.page, at, &change.bytes)?;
        }
        self.count = delta.pages();
        self.cut_off = self.count;
        Ok(())
    }

    /// A copy, as if all that was written were committed.
    ///
    /// # Errors
    /// A temporary file cannot be read, or written.
    pub fn copy(&self) -> io::Result<Self> {
        let mut copy = PageFile::new(Spill::default());
        copy.resize(self.count)?;
        for page in 0..self.count {
            let content = self.page(page)?;
            if content != ZEROS {
                copy.write(page, 0, &content)?;
            }
        }
        Ok(copy.into())
    }
}

/// As of a commit.
impl From<PageFile> for Pages {
    fn from(committed: PageFile) -> Self {
        let count = committed.count();
        Self {
            committed,
            written: BTreeMap::new(),
            cut_off: count,
            count,
            may_write: 0,
            was_refused: false,
        }
    }
}

/// Equal are files with the same bytes; one that cannot be read equals no other.
impl PartialEq for Pages {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |page| match (self.page(page), other.page(page)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
        self.count() == other.count() && (0..self.count()).all(is_same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_and_undone_is_no_change() {
        let mut pages = Pages::default();
        pages.write(1, 7, b"text").unwrap();
        let delta = pages.take_delta().unwrap().unwrap();
        assert_eq!(delta.pages(), 2);
        assert_eq!(pages.take_delta().unwrap(), None);
        pages.write(1, 8, b"EXT").unwrap();
        pages.write(1, 8, b"ext").unwrap();
        pages.resize(9).unwrap();
        pages.resize(2).unwrap();
        assert_eq!(pages.take_delta().unwrap(), None);
    }

    #[test]
    fn pages_that_went_and_came_back_are_compared_with_what_they_were() {
        let mut pages = Pages::default();
        pages.write(2, 0, b"old").unwrap();
        let mut copy = Pages::default();
        let mut follow = |pages: &mut Pages| {
            copy.apply(&pages.take_delta().unwrap().unwrap()).unwrap();
            assert!(copy == *pages);
            copy.page(2).unwrap()
        };
        follow(&mut pages);
        pages.resize(1).unwrap();
        pages.write(2, 1, b"new").unwrap();
        assert_eq!(&follow(&mut pages)[..4], b"\0new");
        pages.resize(1).unwrap();
        follow(&mut pages);
        pages.resize(3).unwrap();
        assert_eq!(follow(&mut pages), ZEROS);
        pages.write(2, 0, b"text").unwrap();
        follow(&mut pages);
        pages.resize(1).unwrap();
        pages.resize(4).unwrap();
        assert_eq!(pages.page(2).unwrap(), ZEROS);
        assert_eq!(follow(&mut pages), ZEROS);
    }

    #[test]
    fn a_file_has_an_end() {
        let mut pages = Pages::default();
        for page in [crate::MAX_PAGES, u32::MAX] {
            let error = pages.write(page, 0, b"x").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
        assert_eq!(pages.count(), 0);
    }
}
