//! A database: SQLite's connection, and the file that it writes.

use std::cell::RefCell;
use std::rc::Rc;

use rusqlite::{Connection, Error, OpenFlags, ffi};

use crate::delta::Delta;
use crate::pages::{PAGE_BYTES, Pages};
use crate::vfs;

/// How SQLite uses the file. What is not committed stays in SQLite's cache, and what undoes it in memory: of a transaction that
/// is undone the file has never had anything. Nobody else uses the file.
const SETTINGS: &str = "\
    PRAGMA page_size = 4096;
    PRAGMA journal_mode = MEMORY;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA synchronous = OFF;
    PRAGMA cache_spill = OFF;
    PRAGMA cache_size = -64;
    PRAGMA temp_store = MEMORY;
    PRAGMA foreign_keys = ON;";

/// Slots of the connection for small allocations, and the bytes of each. SQLite's default would be 48 kB of each object.
const LOOKASIDE: (i32, i32) = (16, 256);

/// An object's database. It stays on the thread that opened it.
pub struct Database {
    connection: Connection,
    pages: Rc<RefCell<Pages>>,
}

impl Database {
    /// Opens a file; one without pages is a new database. Takes about 50 kB beside the pages.
    ///
    /// # Errors
    /// It is not a database of SQLite's.
    pub fn open(pages: Pages) -> Result<Self, Error> {
        let pages = Rc::new(RefCell::new(pages));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = vfs::open(&pages, |name| {
            Connection::open_with_flags_and_vfs("object", flags, name)
        })?;
        limit_lookaside(&connection)?;
        connection.execute_batch(SETTINGS)?;
        // Has it read the file.
        connection.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
        Ok(Self { connection, pages })
    }

    /// SQLite's connection. What it commits by itself is part of the next [`Self::commit`].
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Begins a transaction, if there is none.
    ///
    /// # Errors
    /// SQLite's.
    pub fn begin(&self) -> Result<(), Error> {
        if self.connection.is_autocommit() {
            self.connection.execute_batch("BEGIN")?;
        }
        Ok(())
    }

    /// Ends the transaction, if there is one; returns what has changed since this was last called.
    ///
    /// # Errors
    /// SQLite's: a constraint does not hold at the end. The transaction goes on.
    pub fn commit(&self) -> Result<Option<Delta>, Error> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("COMMIT")?;
        }
        Ok(self.pages.borrow_mut().take_delta())
    }

    /// Undoes the transaction, if there is one.
    ///
    /// # Errors
    /// SQLite's.
    pub fn roll_back(&self) -> Result<(), Error> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }

    /// The file's length, in bytes, without what is not committed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages.borrow().count()) * PAGE_BYTES as u64
    }

    /// A copy of the file, without what is not committed. What is done with it begins from here.
    #[must_use]
    pub fn copy(&self) -> Pages {
        let mut copy = self.pages.borrow().clone();
        copy.settle();
        copy
    }
}

#[expect(unsafe_code, reason = "rusqlite has no function for this setting")]
fn limit_lookaside(connection: &Connection) -> Result<(), Error> {
    let (slots, bytes) = LOOKASIDE;
    let memory = std::ptr::null_mut::<std::ffi::c_void>(); // SQLite allocates it
    // SAFETY: the handle is the open connection's, and these are the arguments of this option.
    let result = unsafe {
        let option = ffi::SQLITE_DBCONFIG_LOOKASIDE;
        ffi::sqlite3_db_config(connection.handle(), option, memory, bytes, slots)
    };
    if result == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(Error::SqliteFailure(ffi::Error::new(result), None))
    }
}
