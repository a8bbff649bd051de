//! Pages by their numbers: the first ones in memory, those after them in a temporary file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a page. SQLite's default.
pub const PAGE_BYTES: usize = 4096;

/// The most pages of a file: 10 GiB, Durable Objects' limit.
pub const MAX_PAGES: u32 = 10 << (30 - 12);

const _: () = assert!(MAX_PAGES as u64 * PAGE_BYTES as u64 == 10 << 30);

/// The system takes a while to free a file of more pages: 64 MiB.
const LONG_PAGES: u32 = 64 << (20 - 12);

/// One page.
pub type Page = [u8; PAGE_BYTES];

/// A page that nobody has written.
pub const ZEROS: Page = [0; PAGE_BYTES];

/// How much of a database is in memory, and where the rest of it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spill {
    /// Bytes from the file's beginning that are in memory; less than a page counts as none.
    pub after_bytes: u64,
    /// Where a temporary file has the others. It has no name there, and is gone with the database, or the process.
    pub directory: PathBuf,
}

impl Default for Spill {
    /// 4 MiB, and the system's directory for temporary files.
    fn default() -> Self {
        Self {
            after_bytes: 4 << 20,
            directory: std::env::temp_dir(),
        }
    }
}

/// The pages. Those that were never written are zeros, and take no room.
#[derive(Debug)]
pub struct PageFile {
    count: u32,
    in_memory: Vec<Option<Box<Page>>>,
    most_in_memory: u32,
    /// The pages after those, if there are any.
    rest: Option<File>,
    directory: PathBuf,
}

impl PageFile {
    pub fn new(spill: Spill) -> Self {
        let most = u32::try_from(spill.after_bytes / PAGE_BYTES as u64);
        Self {
            count: 0,
            in_memory: vec![],
            most_in_memory: most.unwrap_or(MAX_PAGES),
            rest: None,
            directory: spill.directory,
        }
    }

    /// Where temporary files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many pages there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Reads part of a page; zeros past the end.
    pub fn read(&self, page: u32, at: usize, into: &mut [u8]) -> io::Result<()> {
        if page < self.most_in_memory || page >= self.count {
            let known = self.in_memory.get(page as usize);
            let known = known.and_then(Option::as_deref).unwrap_or(&ZEROS);
            into.copy_from_slice(&known[at..at + into.len()]);
            return Ok(());
        }
        match &self.rest {
            Some(rest) => rest.read_exact_at(into, self.offset(page, at)),
            None => Err(io::ErrorKind::NotFound.into()), // `resize` made one
        }
    }

    /// Writes part of a page, which makes the file long enough.
    ///
    /// # Errors
    /// Those of [`Self::resize`], and of the temporary file.
    pub fn write(&mut self, page: u32, at: usize, bytes: &[u8]) -> io::Result<()> {
        if page >= self.count {
            self.resize(page.saturating_add(1))?;
        }
        let offset = self.offset(page, at);
        if let Some(known) = self.in_memory.get_mut(page as usize) {
            let known = known.get_or_insert_with(|| Box::new(ZEROS));
            known[at..at + bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        match &self.rest {
            Some(rest) => rest.write_all_at(bytes, offset),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Makes these pages zeros, as far as there are such; at once if they are the last ones.
    pub fn clear(&mut self, pages: Range<u32>) -> io::Result<()> {
        let count = self.count;
        if pages.start < count && pages.end >= count {
            self.resize(pages.start)?;
            return self.resize(count);
        }
        for page in pages.start..pages.end.min(count) {
            match self.in_memory.get_mut(page as usize) {
                Some(known) => *known = None,
                None => self.write(page, 0, &ZEROS)?,
            }
        }
        Ok(())
    }

    /// Makes the file longer, by zeros, or shorter.
    ///
    /// # Errors
    /// A file cannot be that long, which is [`io::ErrorKind::FileTooLarge`]; or the temporary file cannot be made.
    pub fn resize(&mut self, count: u32) -> io::Result<()> {
        if count > MAX_PAGES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let in_memory = count.min(self.most_in_memory);
        match count - in_memory {
            0 => self.let_go(),
            rest => self.rest()?.set_len(u64::from(rest) * PAGE_BYTES as u64)?,
        }
        self.in_memory.resize_with(in_memory as usize, || None);
        self.count = count;
        Ok(())
    }

    /// Closes the temporary file; not here if the system has much to free with it.
    fn let_go(&mut self) {
        let Some(rest) = self.rest.take() else {
            return;
        };
        if self.count.saturating_sub(self.most_in_memory) > LONG_PAGES {
            // Without a thread it is closed here after all.
            let _ = std::thread::Builder::new().spawn(move || drop(rest));
        }
    }

    fn rest(&mut self) -> io::Result<&File> {
        if self.rest.is_none() {
            self.rest = Some(tempfile::tempfile_in(&self.directory)?);
        }
        self.rest
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Where a place in a page is in the temporary file.
    fn offset(&self, page: u32, at: usize) -> u64 {
        u64::from(page.saturating_sub(self.most_in_memory)) * PAGE_BYTES as u64 + at as u64
    }
}

impl Drop for PageFile {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(pages_in_memory: u64) -> PageFile {
        PageFile::new(Spill {
            after_bytes: pages_in_memory * PAGE_BYTES as u64,
            ..Spill::default()
        })
    }

    fn content(file: &PageFile) -> Vec<u8> {
        let mut all = vec![];
        for page in 0..file.count() {
            let mut one = ZEROS;
            file.read(page, 0, &mut one).unwrap();
            all.extend(one);
        }
        all
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(u32, usize, u8),
        Clear(u32, u32),
        Resize(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..9_u32, 0..PAGE_BYTES, any::<u8>()).prop_map(|(page, at, byte)| Step::Write(page, at, byte)),
            1 => (0..9_u32, 0..4_u32).prop_map(|(page, count)| Step::Clear(page, page + count)),
            1 => (0..9_u32).prop_map(Step::Resize),
        ]
    }

    proptest! {
        #[test]
        fn it_is_the_same_wherever_pages_are(steps in prop::collection::vec(step(), 0..60)) {
            let mut files = [file(99), file(4), file(0)];
            for step in steps {
                for file in &mut files {
                    match step {
                        Step::Write(page, at, byte) => file.write(page, at, &[byte]),
                        Step::Clear(first, end) => file.clear(first..end),
                        Step::Resize(count) => file.resize(count),
                    }.unwrap();
                }
                let [one, two, three] = files.each_ref().map(content);
                prop_assert!(one == two && one == three);
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error_and_changes_nothing() {
        let mut file = PageFile::new(Spill {
            after_bytes: 8_192,
            directory: "/nowhere/at/all".into(),
        });
        file.write(1, 0, b"in memory").unwrap();
        let error = file.write(2, 0, b"not").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(file.count(), 2);
    }

    #[test]
    fn a_file_has_an_end() {
        let mut file = file(1);
        for page in [MAX_PAGES, u32::MAX] {
            let error = file.write(page, 0, b"x").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
        file.write(MAX_PAGES - 1, 0, b"x").unwrap();
        assert_eq!(file.count(), MAX_PAGES);
    }
}
