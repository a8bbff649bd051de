//! SQLite's view of [`Pages`]: a file system in which each connection opens one file, which is its own.
//!
//! There are no names: what a connection opens is what its thread holds out to it. Journals are in SQLite's memory, temporary
//! files in `temporary.rs`; whatever else it would open here it cannot. See <https://sqlite.org/vfs.html>.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::rc::Rc;
use std::sync::LazyLock;

use rusqlite::ffi;

use crate::page_file::PAGE_BYTES;
use crate::pages::Pages;
use crate::temporary::{self, TemporaryFile};

/// A file that connections can open.
pub type File = Rc<RefCell<Pages>>;

thread_local! {
    /// What is opened next.
    static NEXT: RefCell<Option<File>> = const { RefCell::new(None) };
}

const NAME: &CStr = c"portside-object";

/// Whether SQLite has this file system.
static REGISTERED: LazyLock<c_int> = LazyLock::new(register);

/// Calls `connect` with the name of a file system in which the first file that is opened is this one. Returns SQLite's result.
pub fn open(file: &File, connect: impl FnOnce(&'static CStr) -> c_int) -> c_int {
    if *REGISTERED != ffi::SQLITE_OK {
        return *REGISTERED;
    }
    NEXT.set(Some(file.clone()));
    let connected = connect(NAME);
    NEXT.set(None);
    connected
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
fn register() -> c_int {
    // SAFETY: the default file system exists as long as the process; of it only functions are taken that need no state of
    // its files. What is registered is never freed.
    unsafe {
        let Some(system) = ffi::sqlite3_vfs_find(std::ptr::null()).as_ref() else {
            return ffi::SQLITE_ERROR;
        };
        let ours = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: file_bytes().try_into().unwrap_or(c_int::MAX),
            mxPathname: 64,
            pNext: std::ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: std::ptr::null_mut(),
            xOpen: Some(x_open),
            xDelete: Some(x_delete),
            xAccess: Some(x_access),
            xFullPathname: Some(x_full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: system.xRandomness,
            xSleep: system.xSleep,
            xCurrentTime: system.xCurrentTime,
            xGetLastError: None,
            xCurrentTimeInt64: system.xCurrentTimeInt64,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        ffi::sqlite3_vfs_register(ours, 0)
    }
}

/// How much of SQLite's memory any open file needs.
fn file_bytes() -> usize {
    size_of::<OpenFile>().max(size_of::<TemporaryFile>())
}

/// What SQLite keeps of an open file, in memory of its own.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    /// From `Rc::into_raw`, until the file is closed.
    pages: *const RefCell<Pages>,
}

/// What can be done with the open file; some of it with any.
pub const METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync_or_lock),
    xFileSize: Some(x_file_size),
    xLock: Some(x_sync_or_lock),
    xUnlock: Some(x_sync_or_lock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

static OPEN: ffi::sqlite3_io_methods = METHODS;

/// The pages of an open file.
///
/// # Safety
/// `file` was opened by `x_open` and not closed since, and is used by this thread only.
#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe fn pages_of<'a>(file: *mut ffi::sqlite3_file) -> &'a RefCell<Pages> {
    // SAFETY: the caller's.
    unsafe { &*(*file.cast::<OpenFile>()).pages }
}

/// A place in the file: its page, and the offset there. Nothing for what is not within one page.
fn place(offset: i64, amount: usize) -> Option<(u32, usize)> {
    let offset = usize::try_from(offset).ok()?;
    let (page, at) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
    (at + amount <= PAGE_BYTES).then_some((u32::try_from(page).ok()?, at))
}

/// SQLite's result of a change; `failed` if a temporary file has failed.
fn result(changed: io::Result<()>, failed: c_int) -> c_int {
    match changed {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => match error.kind() {
            io::ErrorKind::FileTooLarge
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded => ffi::SQLITE_FULL,
            _ => failed,
        },
    }
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_open(
    _: *mut ffi::sqlite3_vfs,
    _: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for any file of ours, and a place for the flags, or none.
    unsafe {
        (*file).pMethods = std::ptr::null(); // or SQLite would close it
        if flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0 {
            return temporary::open(file);
        }
        if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 {
            return ffi::SQLITE_CANTOPEN;
        }
        let Some(pages) = NEXT.take() else {
            return ffi::SQLITE_CANTOPEN;
        };
        file.cast::<OpenFile>().write(OpenFile {
            base: ffi::sqlite3_file { pMethods: &OPEN },
            pages: Rc::into_raw(pages),
        });
        if let Some(out_flags) = out_flags.as_mut() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: from `x_open`, and closed once.
    drop(unsafe { Rc::from_raw((*file.cast::<OpenFile>()).pages) });
    ffi::SQLITE_OK
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    let Ok(amount) = usize::try_from(amount) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: `into` has room for so many bytes; the file is open.
    let (into, pages) = unsafe {
        let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), amount);
        (into, pages_of(file).borrow())
    };
    let Some((page, at)) = place(offset, amount) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // Zeros past the end, as SQLite asks.
    match pages.read(page, at, into) {
        Ok(()) if page < pages.count() => ffi::SQLITE_OK,
        Ok(()) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    let Ok(amount) = usize::try_from(amount) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    let Some((page, at)) = place(offset, amount) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: `from` has so many bytes; the file is open.
    let (from, mut pages) = unsafe {
        let from = std::slice::from_raw_parts(from.cast::<u8>(), amount);
        (from, pages_of(file).borrow_mut())
    };
    result(
        pages.write_if_allowed(page, at, from),
        ffi::SQLITE_IOERR_WRITE,
    )
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, bytes: i64) -> c_int {
    let count = usize::try_from(bytes).map(|bytes| bytes.div_ceil(PAGE_BYTES));
    let Ok(count) = count.map(|count| u32::try_from(count).unwrap_or(u32::MAX)) else {
        return ffi::SQLITE_IOERR_TRUNCATE;
    };
    // SAFETY: the file is open.
    let resized = unsafe { pages_of(file) }.borrow_mut().resize(count);
    result(resized, ffi::SQLITE_IOERR_TRUNCATE)
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_file_size(file: *mut ffi::sqlite3_file, bytes: *mut i64) -> c_int {
    // SAFETY: the file is open, and there is a place for its size.
    unsafe { *bytes = i64::from(pages_of(file).borrow().count()) * PAGE_BYTES as i64 };
    ffi::SQLITE_OK
}

/// There is nothing to flush, and nobody else has the file.
#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_sync_or_lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_check_reserved_lock(
    _: *mut ffi::sqlite3_file,
    is_locked: *mut c_int,
) -> c_int {
    // SAFETY: there is a place for the answer.
    unsafe { *is_locked = 0 };
    ffi::SQLITE_OK
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    PAGE_BYTES as c_int
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_ATOMIC
        | ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
        | ffi::SQLITE_IOCAP_SAFE_APPEND
        | ffi::SQLITE_IOCAP_SEQUENTIAL
}

/// There is nothing else to delete.
#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_delete(_: *mut ffi::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

/// Nor is there a journal that a crash has left.
#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_access(
    _: *mut ffi::sqlite3_vfs,
    _: *const c_char,
    _: c_int,
    exists: *mut c_int,
) -> c_int {
    // SAFETY: there is a place for the answer.
    unsafe { *exists = 0 };
    ffi::SQLITE_OK
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn x_full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: `name` ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if usize::try_from(room).is_ok_and(|room| name.len() <= room) {
        // SAFETY: there is room for so many bytes at `out`, which is SQLite's own.
        unsafe { out.copy_from_nonoverlapping(name.as_ptr().cast(), name.len()) };
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_CANTOPEN
    }
}
