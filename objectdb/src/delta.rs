//! What one commit changed of a database's file.

use crate::page_file::{MAX_PAGES, PAGE_BYTES, Page};

/// Changes of a page with fewer bytes between them than this are one: each has some bytes of its own beside them.
const GAP: usize = 8;

/// A page with more changes than this is one change as a whole: each takes some 60 bytes of memory beside its own.
const MOST_OF_PAGE: usize = 32;

/// A change of a file, from one commit to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    pages: u32,
    changes: Vec<Change>,
    /// The file had no pages in between: nothing of it is left. What is encoded does not tell.
    was_emptied: bool,
}

/// New bytes somewhere in a page. What the page had before, or zeros, stays around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub page: u32,
    pub offset: u16,
    pub bytes: Vec<u8>,
}

impl Change {
    /// The most bytes beside its own that it has in a delta.
    const OVERHEAD: usize = 5 + 2 + 2;

    fn of(page: u32, start: usize, bytes: &[u8]) -> Self {
        Self {
            page,
            offset: u16::try_from(start).unwrap_or(u16::MAX), // a page is shorter
            bytes: bytes.to_vec(),
        }
    }
}

/// Some of a delta's changes.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub pages: u32,
    pub changes: &'a [Change],
}

impl<'a> From<&'a Delta> for Part<'a> {
    fn from(delta: &'a Delta) -> Self {
        Self {
            pages: delta.pages,
            changes: &delta.changes,
        }
    }
}

impl Part<'_> {
    /// As bytes: the number of pages; then, for each change, how many pages it is after the one before, how many bytes after
    /// that one's end if that was in the same page, its length, and its bytes. Numbers are LEB128.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = vec![];
        put(self.pages, &mut bytes);
        let mut last = Last::default();
        for change in self.changes {
            let length = u32::try_from(change.bytes.len()).unwrap_or(u32::MAX); // a page is shorter
            let from = last.end_in(change.page);
            put(change.page - last.page, &mut bytes);
            put(u32::from(change.offset) - from, &mut bytes);
            put(length, &mut bytes);
            bytes.extend_from_slice(&change.bytes);
            last = Last {
                page: change.page,
                end: u32::from(change.offset) + length,
            };
        }
        bytes
    }
}

/// These bytes are no delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a change of an object's database is damaged: its copy in the store cannot be read")]
pub struct Damaged;

/// Adds the changes that make `after` of `before`.
pub fn add_changes(page: u32, before: &Page, after: &Page, changes: &mut Vec<Change>) {
    let (mut at, had) = (0, changes.len());
    while let Some(start) = first_difference(before, after, at) {
        if changes.len() - had == MOST_OF_PAGE {
            changes.truncate(had);
            changes.push(Change::of(page, 0, after));
            return;
        }
        let mut end = start + 1;
        at = end;
        while at < PAGE_BYTES && at < end + GAP {
            if before[at] != after[at] {
                end = at + 1;
            }
            at += 1;
        }
        changes.push(Change::of(page, start, &after[start..end]));
    }
}

fn first_difference(before: &Page, after: &Page, from: usize) -> Option<usize> {
    const STEP: usize = 64; // most of a page is the same
    let mut at = from;
    while at < PAGE_BYTES {
        let end = (at + STEP).min(PAGE_BYTES);
        if before[at..end] != after[at..end] {
            return (at..end).find(|&at| before[at] != after[at]);
        }
        at = end;
    }
    None
}

impl Delta {
    pub(crate) fn new(pages: u32, changes: Vec<Change>, was_emptied: bool) -> Self {
        Self {
            pages,
            changes,
            was_emptied,
        }
    }

    pub(crate) fn was_emptied(&self) -> bool {
        self.was_emptied
    }

    /// How many pages the file has afterwards.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages
    }

    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The same without the changes of some pages.
    pub(crate) fn filtered(mut self, keeps: impl Fn(u32) -> bool) -> Self {
        self.changes.retain(|change| keeps(change.page));
        self
    }

    /// All of it as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Part::from(self).encode()
    }

    /// Deltas that make the same change one after the other, each with about so many bytes at most, and with one change at
    /// least. There is always one.
    pub(crate) fn parts(&self, bytes: usize) -> impl Iterator<Item = Part<'_>> {
        let pages = self.pages;
        let mut rest = Some(&self.changes[..]);
        std::iter::from_fn(move || {
            let changes = rest.take()?;
            let mut length = 0;
            let fits = |change: &&Change| {
                length += change.bytes.len() + Change::OVERHEAD;
                length <= bytes
            };
            let count = changes.iter().take_while(fits).count().max(1);
            let (changes, after) = changes.split_at(count.min(changes.len()));
            rest = (!after.is_empty()).then_some(after);
            Some(Part { pages, changes })
        })
    }

    /// From its bytes.
    ///
    /// # Errors
    /// They are not those of a delta.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Damaged> {
        let pages = take(&mut bytes).filter(|&pages| pages <= MAX_PAGES);
        let pages = pages.ok_or(Damaged)?;
        let mut changes = vec![];
        let mut last = Last::default();
        while !bytes.is_empty() {
            let change = take_change(&mut bytes, last).ok_or(Damaged)?;
            let end = usize::from(change.offset) + change.bytes.len();
            if change.page >= pages || end > PAGE_BYTES {
                return Err(Damaged);
            }
            last = Last {
                page: change.page,
                end: u32::try_from(end).unwrap_or(u32::MAX),
            };
            changes.push(change);
        }
        Ok(Self::new(pages, changes, false))
    }
}

/// Where the change before ended.
#[derive(Clone, Copy, Default)]
struct Last {
    page: u32,
    end: u32,
}

impl Last {
    fn end_in(self, page: u32) -> u32 {
        if page == self.page { self.end } else { 0 }
    }
}

fn take_change(bytes: &mut &[u8], last: Last) -> Option<Change> {
    let page = last.page.checked_add(take(bytes)?)?;
    let offset = last.end_in(page).checked_add(take(bytes)?)?;
    let length = usize::try_from(take(bytes)?).ok()?;
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Change {
        page,
        offset: u16::try_from(offset).ok()?,
        bytes: content.to_vec(),
    })
}

fn put(mut number: u32, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u64;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return u32::try_from(number).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Pages;

    fn page(edits: &[(usize, u8)]) -> Box<Page> {
        let mut page = Box::new([0; PAGE_BYTES]);
        for &(at, byte) in edits {
            page[at % PAGE_BYTES] = byte;
        }
        page
    }

    #[test]
    fn near_changes_are_one_and_far_ones_are_not() {
        let mut changes = vec![];
        let after = page(&[(0, 1), (7, 1), (100, 1), (4095, 1)]);
        add_changes(5, &page(&[]), &after, &mut changes);
        let places: Vec<_> = changes
            .iter()
            .map(|change| (change.offset, change.bytes.len()))
            .collect();
        assert_eq!(places, [(0, 8), (100, 1), (4095, 1)]);
    }

    #[test]
    fn many_changes_of_a_page_are_one() {
        for (count, expected) in [(MOST_OF_PAGE, MOST_OF_PAGE), (MOST_OF_PAGE + 1, 1)] {
            let edits: Vec<_> = (0..count).map(|n| (n * 100, 1)).collect();
            let mut changes = vec![];
            add_changes(5, &page(&[]), &page(&edits), &mut changes);
            assert_eq!(changes.len(), expected);
        }
    }

    #[test]
    fn damage_is_noticed() {
        let change = Change {
            page: 2,
            offset: 4000,
            bytes: vec![7; 96],
        };
        let whole = Delta::new(3, vec![change], false);
        let bytes = whole.encode();
        assert_eq!(Delta::decode(&bytes), Ok(whole));
        for end in 0..bytes.len() {
            // A file of three pages without any change is a delta, too.
            assert_eq!(Delta::decode(&bytes[..end]).is_ok(), end == 1, "{end}");
        }
        let past_the_end = [&bytes[..1], &[3], &bytes[2..]].concat();
        assert_eq!(Delta::decode(&past_the_end), Err(Damaged));
        assert_eq!(Delta::decode(&[0xff; 9]), Err(Damaged));
    }

    proptest! {
        #[test]
        fn a_delta_makes_one_page_of_the_other(
            before in prop::collection::vec((any::<usize>(), any::<u8>()), 0..40),
            after in prop::collection::vec((any::<usize>(), any::<u8>()), 0..40),
        ) {
            let (before, after) = (page(&before), page(&after));
            let mut pages = Pages::default();
            pages.write(1, 0, &before[..]).unwrap();
            let mut copy = Pages::default();
            copy.apply(&pages.take_delta().unwrap().unwrap()).unwrap();
            pages.write(1, 0, &after[..]).unwrap();
            if let Some(delta) = pages.take_delta().unwrap() {
                let decoded = Delta::decode(&delta.encode());
                prop_assert_eq!(decoded.as_ref(), Ok(&delta));
                copy.apply(&decoded.unwrap()).unwrap();
            }
            prop_assert!(copy == pages);
        }

        #[test]
        fn any_bytes_are_a_delta_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(delta) = Delta::decode(&bytes) {
                let mut pages = Pages::default();
                pages.apply(&delta).unwrap();
                prop_assert_eq!(pages.count(), delta.pages());
            }
        }
    }
}
