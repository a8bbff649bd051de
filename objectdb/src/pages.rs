//! A database file in memory, which knows what was written since the last commit.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::delta::{Change, Delta, add_changes};

/// Bytes of a page. SQLite's default.
pub const PAGE_BYTES: usize = 4096;

/// The most pages of a file: 10 GiB, Durable Objects' limit.
pub const MAX_PAGES: u32 = 10 << (30 - 12);

const _: () = assert!(MAX_PAGES as u64 * PAGE_BYTES as u64 == 10 << 30);

/// One page.
pub type Page = [u8; PAGE_BYTES];

/// A page that nobody has written.
static ZEROS: Page = [0; PAGE_BYTES];

/// The pages of a file. Those that were never written are zeros and take no memory.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    pages: Vec<Option<Box<Page>>>,
    /// What pages were at the last commit, of those that were written since.
    before: BTreeMap<u32, Option<Box<Page>>>,
    /// How many there were at the last commit.
    count_before: u32,
}

/// Equal are files with the same bytes.
impl PartialEq for Pages {
    fn eq(&self, other: &Self) -> bool {
        self.count() == other.count()
            && (0..self.count()).all(|page| self.page(page) == other.page(page))
    }
}

impl Pages {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        // `resize` lets there be no more than MAX_PAGES.
        u32::try_from(self.pages.len()).unwrap_or(MAX_PAGES)
    }

    /// One page; zeros past the end.
    #[must_use]
    pub fn page(&self, page: u32) -> &Page {
        let known = self.pages.get(page as usize);
        known.and_then(Option::as_deref).unwrap_or(&ZEROS)
    }

    /// Makes the file longer, by zeros, or shorter. Returns whether it may be that long.
    pub(crate) fn resize(&mut self, count: u32) -> bool {
        if count > MAX_PAGES {
            return false;
        }
        let count = count as usize;
        while self.pages.len() > count {
            if let Some(page) = self.pages.pop() {
                self.before.entry(self.count()).or_insert(page);
            }
        }
        self.pages.resize_with(count, || None);
        true
    }

    /// Writes part of a page, which makes the file long enough. Returns whether it may be that long.
    pub(crate) fn write(&mut self, page: u32, at: usize, bytes: &[u8]) -> bool {
        if page >= self.count() && !self.resize(page.saturating_add(1)) {
            return false;
        }
        let here = &mut self.pages[page as usize];
        self.before.entry(page).or_insert_with(|| here.clone());
        let here = here.get_or_insert_with(|| Box::new(ZEROS));
        here[at..at + bytes.len()].copy_from_slice(bytes);
        true
    }

    /// Makes these pages zeros.
    pub(crate) fn clear(&mut self, pages: Range<u32>) {
        for page in pages.start..pages.end.min(self.count()) {
            let was = self.pages[page as usize].take();
            self.before.entry(page).or_insert(was);
        }
    }

    /// Whether something was written since `take_delta` was last called.
    pub(crate) fn is_changed(&self) -> bool {
        !self.before.is_empty() || self.count() != self.count_before
    }

    /// What has changed since this was last called; nothing if it is the same.
    pub(crate) fn take_delta(&mut self) -> Option<Delta> {
        let before = std::mem::take(&mut self.before);
        let mut changes: Vec<Change> = vec![];
        for (page, before) in before.range(..self.count()) {
            let before = before.as_deref().unwrap_or(&ZEROS);
            add_changes(*page, before, self.page(*page), &mut changes);
        }
        let count = self.count();
        let had = std::mem::replace(&mut self.count_before, count);
        (had != count || !changes.is_empty()).then(|| Delta::new(count, changes))
    }

    /// Makes the change that a delta describes.
    pub fn apply(&mut self, delta: &Delta) {
        // A delta has no more pages than a file may have, and no change outside of them.
        self.resize(delta.pages());
        for change in delta.changes() {
            self.write(change.page, change.offset.into(), &change.bytes);
        }
        self.settle();
    }

    /// What has been written until now is no change.
    pub(crate) fn settle(&mut self) {
        self.before.clear();
        self.count_before = self.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_and_undone_is_no_change() {
        let mut pages = Pages::default();
        assert!(pages.write(1, 7, b"text"));
        let delta = pages.take_delta().unwrap();
        assert_eq!(delta.pages(), 2);
        assert_eq!(pages.take_delta(), None);
        assert!(pages.write(1, 8, b"EXT") && pages.write(1, 8, b"ext"));
        assert!(pages.resize(9) && pages.resize(2));
        assert_eq!(pages.take_delta(), None);
    }

    #[test]
    fn pages_that_went_and_came_back_are_compared_with_what_they_were() {
        let mut pages = Pages::default();
        pages.write(2, 0, b"old");
        let mut copy = Pages::default();
        copy.apply(&pages.take_delta().unwrap());
        pages.resize(1);
        pages.write(2, 1, b"new");
        copy.apply(&pages.take_delta().unwrap());
        assert!(copy == pages);
        assert_eq!(&copy.page(2)[..4], b"\0new");
        pages.resize(1);
        copy.apply(&pages.take_delta().unwrap());
        pages.resize(3);
        copy.apply(&pages.take_delta().unwrap());
        assert!(copy == pages);
        assert_eq!(copy.page(2), &ZEROS);
    }

    #[test]
    fn a_file_has_an_end() {
        let mut pages = Pages::default();
        assert!(!pages.write(MAX_PAGES, 0, b"x"));
        assert!(!pages.write(u32::MAX, 0, b"x"));
        assert_eq!(pages.count(), 0);
    }
}
