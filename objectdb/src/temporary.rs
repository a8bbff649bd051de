//! SQLite's temporary files: what a statement sorts, or remembers until its end, and is more than a megabyte or so.
//!
//! They are on disk, where the rest of a large database is. All of a connection's together have a bound, so that no statement
//! can take the whole disk.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;

use rusqlite::ffi;

use crate::vfs;

thread_local! {
    /// Of the connection that SQLite is used with.
    static CURRENT: RefCell<Option<Rc<Budget>>> = const { RefCell::new(None) };
}

/// How many bytes a connection's temporary files may still have, and where they are.
#[derive(Debug)]
pub struct Budget {
    left: Cell<u64>,
    directory: PathBuf,
}

impl Budget {
    pub fn new(bytes: u64, directory: PathBuf) -> Rc<Self> {
        let left = Cell::new(bytes);
        Rc::new(Self { left, directory })
    }

    /// Calls SQLite, whose temporary files are meanwhile counted here.
    pub fn during<T>(self: &Rc<Self>, call: impl FnOnce() -> T) -> T {
        let before = CURRENT.replace(Some(self.clone()));
        let result = call();
        CURRENT.set(before);
        result
    }
}

/// What SQLite keeps of an open file, in memory of its own.
#[repr(C)]
pub struct TemporaryFile {
    base: ffi::sqlite3_file,
    /// From `Box::into_raw`, until the file is closed.
    content: *mut Content,
}

struct Content {
    file: File,
    bytes: u64,
    budget: Rc<Budget>,
}

impl Content {
    /// Whether the file may be that long.
    fn may_have(&self, bytes: u64) -> bool {
        bytes <= self.budget.left.get() + self.bytes
    }

    /// Notes that the file has another length, which it may have.
    fn has(&mut self, bytes: u64) {
        let left = self.budget.left.get() + self.bytes;
        self.budget.left.set(left.saturating_sub(bytes));
        self.bytes = bytes;
    }

    /// Reads as many bytes as there are.
    fn read(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let there = self.bytes.saturating_sub(offset);
        let length = usize::try_from(there).map_or(into.len(), |there| there.min(into.len()));
        self.file.read_exact_at(&mut into[..length], offset)?;
        Ok(length)
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xFileSize: Some(x_file_size),
    ..vfs::METHODS
};

/// Opens a file, if there is a connection to count it for. Returns SQLite's result.
///
/// # Safety
/// `file` is room for a `TemporaryFile`.
#[expect(unsafe_code, reason = "SQLite's interface is C")]
pub unsafe fn open(file: *mut ffi::sqlite3_file) -> c_int {
    let Some(budget) = CURRENT.with_borrow(Clone::clone) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let Ok(opened) = tempfile::tempfile_in(&budget.directory) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let content = Content {
        file: opened,
        bytes: 0,
        budget,
    };
    // SAFETY: the caller's.
    unsafe {
        file.cast::<TemporaryFile>().write(TemporaryFile {
            base: ffi::sqlite3_file { pMethods: &METHODS },
            content: Box::into_raw(Box::new(content)),
        });
    }
    ffi::SQLITE_OK
}

/// The content of an open file.
///
/// # Safety
/// `file` was opened by `open` and not closed since, and nobody else has its content now.
#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe fn content_of<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Content {
    // SAFETY: the caller's.
    unsafe { &mut *(*file.cast::<TemporaryFile>()).content }
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: from `open`, and closed once.
    let mut content = unsafe { Box::from_raw((*file.cast::<TemporaryFile>()).content) };
    content.has(0);
    ffi::SQLITE_OK
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    let (Ok(amount), Ok(offset)) = (usize::try_from(amount), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: `into` has room for so many bytes; the file is open.
    let (into, content) = unsafe {
        let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), amount);
        (into, content_of(file))
    };
    let Ok(length) = content.read(into, offset) else {
        return ffi::SQLITE_IOERR_READ;
    };
    into[length..].fill(0); // as SQLite asks
    if length == amount {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_IOERR_SHORT_READ
    }
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    let (Ok(amount), Ok(offset)) = (usize::try_from(amount), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: `from` has so many bytes; the file is open.
    let (from, content) = unsafe {
        let from = std::slice::from_raw_parts(from.cast::<u8>(), amount);
        (from, content_of(file))
    };
    let end = offset.saturating_add(amount as u64);
    if end > content.bytes && !content.may_have(end) {
        return ffi::SQLITE_FULL;
    }
    match content.file.write_all_at(from, offset) {
        Ok(()) => {
            content.has(content.bytes.max(end));
            ffi::SQLITE_OK
        }
        Err(error) if error.kind() == io::ErrorKind::StorageFull => ffi::SQLITE_FULL,
        Err(_) => ffi::SQLITE_IOERR_WRITE,
    }
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, bytes: i64) -> c_int {
    let Ok(bytes) = u64::try_from(bytes) else {
        return ffi::SQLITE_IOERR_TRUNCATE;
    };
    // SAFETY: the file is open.
    let content = unsafe { content_of(file) };
    if !content.may_have(bytes) {
        return ffi::SQLITE_FULL;
    }
    match content.file.set_len(bytes) {
        Ok(()) => {
            content.has(bytes);
            ffi::SQLITE_OK
        }
        Err(_) => ffi::SQLITE_IOERR_TRUNCATE,
    }
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_file_size(file: *mut ffi::sqlite3_file, bytes: *mut i64) -> c_int {
    // SAFETY: the file is open, and there is a place for its size.
    unsafe { *bytes = i64::try_from(content_of(file).bytes).unwrap_or(i64::MAX) };
    ffi::SQLITE_OK
}
