//! What an object may ask of its database, as Durable Objects have it.

use rusqlite::ffi;

use crate::error::Error;
use crate::page_file::{MAX_PAGES, PAGE_BYTES};
use crate::sqlite::Connection;

/// What a database may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The file, in bytes; less than a page of it counts as none. At most 10 GiB.
    pub bytes: u64,
    /// What is changed until [`Database::commit`](crate::Database::commit), in bytes of pages. More of it resets the object. There
    /// are up to four copies of it in memory then.
    pub transaction_bytes: usize,
    /// What the rows take that a statement returns which writes, in bytes: all of them are in memory. More of it resets the object.
    pub returned_bytes: usize,
    /// What statements sort or remember until their end, in bytes. One that needs more ends with an error, mostly one that resets
    /// the object.
    pub temporary_bytes: u64,
    /// Prepared statements that are kept to be executed again.
    pub cached_statements: usize,
    /// What they take, in bytes of SQLite's memory.
    pub cached_bytes: usize,
}

impl Default for Limits {
    /// 10 GiB; 64 MiB; 16 MiB; 1 GiB; 100 statements, and 512 KiB for them.
    fn default() -> Self {
        Self {
            bytes: u64::from(MAX_PAGES) * PAGE_BYTES as u64,
            transaction_bytes: 64 << 20,
            returned_bytes: 16 << 20,
            temporary_bytes: 1 << 30,
            cached_statements: 100,
            cached_bytes: 512 << 10,
        }
    }
}

impl Limits {
    /// The most pages that a transaction changes.
    pub(crate) fn transaction_pages(&self) -> usize {
        self.transaction_bytes / PAGE_BYTES
    }

    /// The most pages of the file; SQLite knows no file without one.
    fn pages(&self) -> u32 {
        let pages = u32::try_from(self.bytes / PAGE_BYTES as u64);
        pages.unwrap_or(MAX_PAGES).clamp(1, MAX_PAGES)
    }
}

/// The longest text or blob, and the longest row, in bytes (2 MiB).
pub const MAX_LENGTH: i32 = 2 << 20;

/// The longest statement, in bytes.
pub const MAX_SQL_LENGTH: i32 = 100_000;

/// SQLite's own limits.
const STATEMENTS: [(i32, i32); 11] = [
    (ffi::SQLITE_LIMIT_LENGTH, MAX_LENGTH),
    (ffi::SQLITE_LIMIT_SQL_LENGTH, MAX_SQL_LENGTH),
    (ffi::SQLITE_LIMIT_COLUMN, 100),
    (ffi::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (ffi::SQLITE_LIMIT_COMPOUND_SELECT, 5),
    (ffi::SQLITE_LIMIT_VDBE_OP, 25_000),
    (ffi::SQLITE_LIMIT_FUNCTION_ARG, 127),
    (ffi::SQLITE_LIMIT_ATTACHED, 0),
    (ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
    (ffi::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
    (ffi::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
];

/// Sets the limits of a connection.
pub fn set(connection: &std::rc::Rc<Connection>, limits: &Limits) -> Result<(), Error> {
    for (limit, most) in STATEMENTS {
        connection.limit(limit, most);
    }
    connection.limit(ffi::SQLITE_LIMIT_WORKER_THREADS, 0);
    connection.execute(&format!("PRAGMA max_page_count = {}", limits.pages()))
}
