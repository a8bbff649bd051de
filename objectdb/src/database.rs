//! A database: SQLite's connection, and the file that it writes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ffi;

use crate::error::Error;
use crate::limits::{self, Limits};
use crate::page_file::PAGE_BYTES;
use crate::pages::Pages;
use crate::sqlite::{Connection, Statement};
use crate::statements::{Cache, Program};
use crate::value::{Row, Value};

/// How SQLite uses the file. What is not committed stays in SQLite's cache, and what undoes it in memory: of a transaction that
/// is undone the file has never had anything. If the cache has all that a transaction may change, SQLite wants to write some of it to the
/// file, which is refused. Nobody else uses the file.
const SETTINGS: [&str; 7] = [
    "PRAGMA page_size = 4096",
    "PRAGMA journal_mode = MEMORY",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA synchronous = OFF",
    "PRAGMA cache_size = -64",
    "PRAGMA temp_store = FILE",
    "PRAGMA foreign_keys = ON",
];

/// An object's database. It stays on the thread that opened it.
///
/// What is written is part of a transaction, which begins with the first write and ends with [`Self::commit`]. After an error
/// that [is a reset](Error::is_reset) every call gives that error: the object has to be reset.
pub struct Database(pub(crate) Rc<Inner>);

/// What cursors share with it, as long as it is there.
pub(crate) struct Inner {
    // Statements are dropped before their connection.
    pub running: RefCell<BTreeMap<u64, Program>>,
    pub next_cursor: Cell<u64>,
    pub cache: Cache,
    own: RefCell<HashMap<&'static str, Statement>>,
    pub connection: RefCell<Rc<Connection>>,
    pub pages: Rc<RefCell<Pages>>,
    pub limits: Limits,
    interrupted: Arc<AtomicBool>,
    /// Whether a transaction is open, as far as nobody but us ends it.
    pub in_transaction: Cell<bool>,
    /// How many savepoints are open.
    pub savepoints: Cell<u32>,
    /// Whether the table of keys is there: nothing if that is not known.
    pub has_keys: Cell<Option<bool>>,
    /// Why the object has to be reset.
    pub lost: RefCell<Option<String>>,
}

/// Ends statements of a database, from any thread.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Has the statement that is being executed end with an error, soon, and those that come. One that writes takes the whole
    /// transaction with it: the object has to be reset.
    pub fn interrupt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Lets statements be executed again.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Database {
    /// Opens a file; one without pages is a new database. Takes about 50 kB beside the pages.
    ///
    /// # Errors
    /// It is not a database of SQLite's.
    pub fn open(pages: Pages, limits: Limits) -> Result<Self, Error> {
        let pages = Rc::new(RefCell::new(pages));
        let interrupted = Arc::new(AtomicBool::new(false));
        let connection = connect(&pages, &limits, &interrupted)?;
        Ok(Self(Rc::new(Inner {
            running: RefCell::default(),
            next_cursor: Cell::new(0),
            cache: Cache::default(),
            own: RefCell::default(),
            connection: RefCell::new(connection),
            pages,
            limits,
            interrupted,
            in_transaction: Cell::new(false),
            savepoints: Cell::new(0),
            has_keys: Cell::new(None),
            lost: RefCell::default(),
        })))
    }

    /// Ends statements that go on for too long.
    #[must_use]
    pub fn interrupt_handle(&self) -> Interrupt {
        Interrupt(self.0.interrupted.clone())
    }

    /// How large the database is, in bytes, with what is not committed and without what is free in the file. A new one counts as
    /// one page.
    ///
    /// # Errors
    /// SQLite's.
    pub fn database_size(&self) -> Result<u64, Error> {
        let pages = self.0.number("PRAGMA page_count")?;
        let free = self.0.number("PRAGMA freelist_count")?;
        let used = u64::try_from(pages - free).unwrap_or(0).max(1);
        Ok(used * PAGE_BYTES as u64)
    }

    /// The file's length, in bytes, without what is not committed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.0.pages.borrow().count()) * PAGE_BYTES as u64
    }

    /// A copy of the file, without what is not committed. What is done with it begins from here.
    ///
    /// # Errors
    /// A temporary file cannot be read, or written.
    pub fn copy(&self) -> Result<Pages, Error> {
        Ok(self.0.pages.borrow().copy()?)
    }

    /// Has SQLite look at the whole database for damage; that takes as long as reading all of it.
    ///
    /// # Errors
    /// What it has found.
    pub fn check(&self) -> Result<(), Error> {
        let found = self.0.row_once("PRAGMA integrity_check(1)")?;
        match found.as_deref() {
            Some([Value::Text(found)]) if found == "ok" => Ok(()),
            found => Err(Error::Refused(format!(
                "the database is damaged: {found:?}"
            ))),
        }
    }

    /// Deletes everything, SQL and keys, and what the transaction has done: the database is as a new one. Cursors that are open
    /// are at their end, with an error.
    ///
    /// # Errors
    /// A savepoint is open, and nothing has changed; or [`Error::Reset`].
    pub fn delete_all(&self) -> Result<(), Error> {
        let inner = &self.0;
        inner.must_be_there()?;
        if inner.savepoints.get() > 0 {
            return Err(Error::refused(
                "Cannot call deleteAll() within a transaction",
            ));
        }
        inner.running.borrow_mut().clear();
        inner.cache.clear();
        self.roll_back()?;
        inner.own.borrow_mut().clear();
        inner.has_keys.set(Some(false));
        inner.pages.borrow_mut().resize(0)?;
        let connection = connect(&inner.pages, &inner.limits, &inner.interrupted);
        let connection = connection.map_err(|error| inner.lose(&error.to_string()))?;
        drop(inner.connection.replace(connection));
        Ok(())
    }
}

fn connect(
    pages: &Rc<RefCell<Pages>>,
    limits: &Limits,
    interrupted: &Arc<AtomicBool>,
) -> Result<Rc<Connection>, Error> {
    let connection = Connection::open(pages, interrupted.clone(), limits)?;
    for setting in SETTINGS {
        connection.execute(setting)?;
    }
    // SQLite takes a multiple of 256 for OFF.
    let spill = limits.transaction_pages() | 1;
    connection.execute(&format!("PRAGMA cache_spill = {spill}"))?;
    connection.execute("PRAGMA schema_version")?; // has it read the file
    connection.switch_on(ffi::SQLITE_DBCONFIG_DEFENSIVE)?;
    limits::set(&connection, limits)?;
    Ok(connection)
}

fn first_row(statement: &Statement) -> Result<Option<Row>, Error> {
    let row = statement.step()?.then(|| statement.row());
    while row.is_some() && statement.step()? {}
    Ok(row)
}

impl Inner {
    /// Executes a statement of our own, which is kept for the next time; returns its first row.
    pub fn row(&self, sql: &'static str) -> Result<Option<Row>, Error> {
        self.with_own(sql, first_row)
    }

    /// Executes a statement of our own that is executed seldom; returns its first row.
    pub fn row_once(&self, sql: &str) -> Result<Option<Row>, Error> {
        self.must_be_there()?;
        let executed = self.prepare_own(sql).and_then(|own| first_row(&own));
        executed.map_err(|error| self.after(error))
    }

    fn prepare_own(&self, sql: &str) -> Result<Statement, Error> {
        let prepared = self.connection.borrow().prepare(sql, true)?;
        let statement = prepared.statement;
        statement.ok_or_else(|| Error::refused("there is no statement"))
    }

    fn number(&self, sql: &'static str) -> Result<i64, Error> {
        match self.row(sql)?.as_deref() {
            Some([Value::Integer(number)]) => Ok(*number),
            _ => Ok(0),
        }
    }

    /// Uses a statement of our own, which is kept for the next time, and ends it.
    pub fn with_own<T>(
        &self,
        sql: &'static str,
        call: impl FnOnce(&Statement) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.must_be_there()?;
        let known = self.own.borrow_mut().remove(sql);
        let statement = match known {
            Some(statement) => statement,
            None => self.prepare_own(sql)?,
        };
        let result = call(&statement);
        statement.reset();
        self.own.borrow_mut().insert(sql, statement);
        result.map_err(|error| self.after(error))
    }

    /// An error, once it is known whether it has ended the transaction.
    pub fn after(&self, error: Error) -> Error {
        let connection = self.connection.borrow();
        let has_ended = connection.is_autocommit() || connection.changes_too_much();
        if self.in_transaction.get() && has_ended {
            return self.lose(&error.to_string());
        }
        error
    }

    /// Notes that the object has to be reset.
    pub fn lose(&self, reason: &str) -> Error {
        let message = format!(
            "Durable Object was reset and rolled back to its last known good state because its transaction was ended by an \
             error: {reason}"
        );
        self.lose_with(message)
    }

    pub fn lose_with(&self, message: String) -> Error {
        let mut lost = self.lost.borrow_mut();
        Error::Reset(lost.get_or_insert(message).clone())
    }

    /// That the object has not to be reset.
    pub fn must_be_there(&self) -> Result<(), Error> {
        match &*self.lost.borrow() {
            Some(message) => Err(Error::Reset(message.clone())),
            None => Ok(()),
        }
    }
}
