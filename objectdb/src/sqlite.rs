//! SQLite's connections and statements, as far as a database needs them.
//!
//! `rusqlite`'s statements borrow their connection; these share it, so that cursors can be held by whoever reads them.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ffi;

use crate::authorizer::{self, Asked};
use crate::error::{Error, message};
use crate::limits::Limits;
use crate::temporary::Budget;
use crate::value::Value;
use crate::vfs;

/// Slots of the connection for small allocations, and the bytes of each. SQLite's default would be 48 kB of each object.
const LOOKASIDE: (c_int, c_int) = (16, 256);

/// How many steps of a statement's program there are between looks at whether it is interrupted.
const STEPS_UNINTERRUPTED: c_int = 4096;

/// A connection. It is closed when it and all statements of it are dropped.
pub struct Connection {
    raw: NonNull<ffi::sqlite3>,
    file: vfs::File,
    transaction_bytes: usize,
    hooks: Rc<Hooks>,
    temporary: Rc<Budget>,
}

/// What SQLite's callbacks use; at one place as long as the connection is open.
struct Hooks {
    /// Whether what is prepared now is the database's own.
    is_trusted: Cell<bool>,
    /// What the authorizer was asked about the statement that is being prepared.
    asked: Cell<Asked>,
    interrupted: Arc<AtomicBool>,
}

/// A statement that was prepared, and what it was found to do.
pub struct Statement {
    raw: NonNull<ffi::sqlite3_stmt>,
    connection: Rc<Connection>,
    is_trusted: bool,
    asked: Asked,
}

/// The first statement of a text.
pub struct Prepared {
    /// Nothing if there is only white space or a comment.
    pub statement: Option<Statement>,
    /// How many bytes of the text it takes.
    pub length: usize,
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
impl Connection {
    /// Opens a file. Statements end with an error while `interrupted` is set, when their temporary files are larger than the
    /// limits allow, and when the transaction has changed more.
    pub fn open(
        file: &vfs::File,
        interrupted: Arc<AtomicBool>,
        limits: &Limits,
    ) -> Result<Rc<Self>, Error> {
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_NOMUTEX;
        let mut raw = null_mut();
        let result = vfs::open(file, |vfs| {
            // SAFETY: both names end with a zero, and there is a place for the connection.
            unsafe { ffi::sqlite3_open_v2(c"object".as_ptr(), &mut raw, flags, vfs.as_ptr()) }
        });
        let raw = NonNull::new(raw).ok_or_else(|| Error::refused("no memory for a database"))?;
        let hooks = Rc::new(Hooks {
            is_trusted: Cell::new(false),
            asked: Cell::default(),
            interrupted,
        });
        let directory = file.borrow().directory().to_owned();
        let temporary = Budget::new(limits.temporary_bytes, directory);
        let this = Self {
            raw,
            file: file.clone(),
            transaction_bytes: limits.transaction_bytes,
            hooks,
            temporary,
        };
        this.check(result)?;
        this.limit_lookaside()?;
        // SAFETY: the connection is open, and the hooks are there as long as it.
        unsafe {
            let (raw, hooks) = (this.raw(), Rc::as_ptr(&this.hooks));
            let hooks = hooks.cast_mut().cast::<c_void>();
            this.check(ffi::sqlite3_set_authorizer(raw, Some(authorize), hooks))?;
            let steps = STEPS_UNINTERRUPTED;
            ffi::sqlite3_progress_handler(raw, steps, Some(is_interrupted), hooks);
        }
        Ok(Rc::new(this))
    }

    fn raw(&self) -> *mut ffi::sqlite3 {
        self.raw.as_ptr()
    }

    fn limit_lookaside(&self) -> Result<(), Error> {
        let (slots, bytes) = LOOKASIDE;
        let option = ffi::SQLITE_DBCONFIG_LOOKASIDE;
        // SAFETY: the connection is open, and these are the arguments of this option: SQLite allocates the memory.
        let result = unsafe {
            ffi::sqlite3_db_config(self.raw(), option, null_mut::<c_void>(), bytes, slots)
        };
        self.check(result)
    }

    /// Switches an option of the connection on, one of those that can be switched.
    pub fn switch_on(&self, option: c_int) -> Result<(), Error> {
        // SAFETY: the connection is open, and these are the arguments of such an option.
        let result =
            unsafe { ffi::sqlite3_db_config(self.raw(), option, 1 as c_int, null_mut::<c_int>()) };
        self.check(result)
    }

    /// Sets one of SQLite's limits.
    pub fn limit(&self, limit: c_int, most: c_int) {
        // SAFETY: the connection is open.
        unsafe { ffi::sqlite3_limit(self.raw(), limit, most) };
    }

    /// Whether no transaction is open.
    pub fn is_autocommit(&self) -> bool {
        // SAFETY: the connection is open.
        unsafe { ffi::sqlite3_get_autocommit(self.raw()) != 0 }
    }

    /// Whether a transaction has changed so much that it cannot go on.
    pub fn changes_too_much(&self) -> bool {
        self.file.borrow().was_refused()
    }

    /// How many rows were inserted, changed or deleted since it was opened, by triggers and foreign keys, too.
    pub fn total_changes(&self) -> u64 {
        // SAFETY: the connection is open.
        let changes = unsafe { ffi::sqlite3_total_changes64(self.raw()) };
        changes.try_into().unwrap_or(0)
    }

    /// Prepares the first statement of a text. Of statements that are not trusted the authorizer decides.
    pub fn prepare(self: &Rc<Self>, sql: &str, is_trusted: bool) -> Result<Prepared, Error> {
        let length = c_int::try_from(sql.len()).unwrap_or(c_int::MAX);
        let (mut raw, mut tail) = (null_mut(), null());
        self.hooks.asked.take();
        let result = self.as_trusted(is_trusted, || {
            let flags = ffi::SQLITE_PREPARE_PERSISTENT;
            // SAFETY: the connection is open, the text has this length, and there are places for statement and rest.
            unsafe {
                let sql = sql.as_ptr().cast::<c_char>();
                ffi::sqlite3_prepare_v3(self.raw(), sql, length, flags, &mut raw, &mut tail)
            }
        });
        let asked = self.hooks.asked.take();
        if let (ffi::SQLITE_AUTH, Some(reason)) = (result, asked.refusal) {
            return Err(Error::refused(reason));
        }
        self.check(result)?;
        let statement = NonNull::new(raw).map(|raw| Statement {
            raw,
            connection: self.clone(),
            is_trusted,
            asked,
        });
        let length = (tail as usize).saturating_sub(sql.as_ptr() as usize);
        Ok(Prepared { statement, length })
    }

    /// Executes a statement of our own, of which no row is wanted.
    pub fn execute(self: &Rc<Self>, sql: &str) -> Result<(), Error> {
        if let Some(statement) = self.prepare(sql, true)?.statement {
            while statement.step()? {}
        }
        Ok(())
    }

    fn as_trusted<T>(&self, is_trusted: bool, call: impl FnOnce() -> T) -> T {
        let before = self.hooks.is_trusted.replace(is_trusted);
        let result = self.temporary.during(call);
        self.hooks.is_trusted.set(before);
        result
    }

    fn check(&self, result: c_int) -> Result<(), Error> {
        match result {
            ffi::SQLITE_OK => Ok(()),
            code => Err(self.error(code)),
        }
    }

    /// What the last call's error was.
    fn error(&self, code: c_int) -> Error {
        if self.changes_too_much() {
            let most = self.transaction_bytes >> 20;
            return Error::Refused(format!(
                "it changes more than {most} MiB of the database: write less in one turn or transaction"
            ));
        }
        // SAFETY: the connection is open; the text ends with a zero and stays until the next call.
        let (text, offset, extended) = unsafe {
            let text = CStr::from_ptr(ffi::sqlite3_errmsg(self.raw())).to_string_lossy();
            let offset = ffi::sqlite3_error_offset(self.raw());
            (text, offset, ffi::sqlite3_extended_errcode(self.raw()))
        };
        let offset = u32::try_from(offset).ok();
        Error::Refused(message(&text, offset, code & 0xff, extended))
    }
}

impl Drop for Connection {
    #[expect(unsafe_code, reason = "SQLite's interface is C")]
    fn drop(&mut self) {
        // SAFETY: the connection is open, and nobody has it or a statement of it any more.
        unsafe { ffi::sqlite3_close(self.raw()) };
    }
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
impl Statement {
    fn raw(&self) -> *mut ffi::sqlite3_stmt {
        self.raw.as_ptr()
    }

    /// What it was found to do.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Whether it writes nothing.
    pub fn is_readonly(&self) -> bool {
        // SAFETY: the statement exists.
        unsafe { ffi::sqlite3_stmt_readonly(self.raw()) != 0 }
    }

    /// How many values have to be bound.
    pub fn parameters(&self) -> usize {
        // SAFETY: the statement exists.
        let count = unsafe { ffi::sqlite3_bind_parameter_count(self.raw()) };
        count.try_into().unwrap_or(0)
    }

    /// Binds values to the parameters from the first. It is not running.
    pub fn bind(&self, values: &[Value]) -> Result<(), Error> {
        for (index, value) in (1..).zip(values) {
            match value {
                Value::Text(text) => self.bind_text(index, text.as_bytes())?,
                Value::Blob(bytes) => self.bind_blob(index, bytes)?,
                // SAFETY: the statement exists; SQLite checks the index.
                _ => self.connection.check(unsafe {
                    match value {
                        Value::Integer(number) => {
                            ffi::sqlite3_bind_int64(self.raw(), index, *number)
                        }
                        Value::Real(number) => ffi::sqlite3_bind_double(self.raw(), index, *number),
                        _ => ffi::sqlite3_bind_null(self.raw(), index),
                    }
                })?,
            }
        }
        Ok(())
    }

    /// Binds a text, which need not be valid UTF-8.
    pub fn bind_text(&self, index: c_int, text: &[u8]) -> Result<(), Error> {
        let (utf8, copy) = (ffi::SQLITE_UTF8 as u8, ffi::SQLITE_TRANSIENT());
        // SAFETY: the statement exists, and the text has this length; SQLite copies it and checks the index.
        self.connection.check(unsafe {
            let (raw, from) = (self.raw(), text.as_ptr().cast::<c_char>());
            ffi::sqlite3_bind_text64(raw, index, from, text.len() as u64, copy, utf8)
        })
    }

    /// Binds a blob.
    pub fn bind_blob(&self, index: c_int, bytes: &[u8]) -> Result<(), Error> {
        let copy = ffi::SQLITE_TRANSIENT();
        // SAFETY: the statement exists, and the blob has this length; SQLite copies it and checks the index.
        self.connection.check(unsafe {
            let (raw, from) = (self.raw(), bytes.as_ptr().cast::<c_void>());
            ffi::sqlite3_bind_blob64(raw, index, from, bytes.len() as u64, copy)
        })
    }

    /// Goes on to the next row. Returns whether there is one.
    pub fn step(&self) -> Result<bool, Error> {
        // It may be prepared anew, for another schema.
        let result = self.connection.as_trusted(self.is_trusted, || {
            // SAFETY: the statement exists.
            unsafe { ffi::sqlite3_step(self.raw()) }
        });
        match result {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(self.connection.error(code)),
        }
    }

    /// Ends it, so that it can be executed again, with other values.
    pub fn reset(&self) {
        // SAFETY: the statement exists. The result is that of the last step.
        unsafe {
            ffi::sqlite3_reset(self.raw());
            ffi::sqlite3_clear_bindings(self.raw());
        }
    }

    /// How many columns its rows have.
    pub fn columns(&self) -> usize {
        // SAFETY: the statement exists.
        let columns = unsafe { ffi::sqlite3_column_count(self.raw()) };
        columns.try_into().unwrap_or(0)
    }

    /// The names of its columns.
    pub fn column_names(&self) -> Vec<String> {
        let name = |column| {
            // SAFETY: the statement exists and has this column; a name ends with a zero, if there was memory for it.
            unsafe {
                let name = ffi::sqlite3_column_name(self.raw(), column);
                match name.is_null() {
                    true => String::new(),
                    false => CStr::from_ptr(name).to_string_lossy().into_owned(),
                }
            }
        };
        (0..).take(self.columns()).map(name).collect()
    }

    /// The row that it is at. What is not UTF-8 in a text is replaced.
    pub fn row(&self) -> Vec<Value> {
        (0..).take(self.columns()).map(|n| self.value(n)).collect()
    }

    /// One value of the row that it is at.
    pub fn value(&self, column: c_int) -> Value {
        let raw = self.raw();
        // SAFETY: the statement exists. SQLite answers with NULL if there is no such column or row.
        unsafe {
            match ffi::sqlite3_column_type(raw, column) {
                ffi::SQLITE_INTEGER => Value::Integer(ffi::sqlite3_column_int64(raw, column)),
                ffi::SQLITE_FLOAT => Value::Real(ffi::sqlite3_column_double(raw, column)),
                ffi::SQLITE_TEXT => Value::Text(lossy(self.blob(column))),
                ffi::SQLITE_BLOB => Value::Blob(self.blob(column)),
                _ => Value::Null,
            }
        }
    }

    /// The bytes of a text or blob; none of anything else.
    pub fn blob(&self, column: c_int) -> Vec<u8> {
        // SAFETY: the statement exists; what SQLite points to has this length, and stays until the next call.
        unsafe {
            let from = ffi::sqlite3_column_blob(self.raw(), column).cast::<u8>();
            let length = ffi::sqlite3_column_bytes(self.raw(), column);
            match usize::try_from(length) {
                Ok(length) if !from.is_null() => std::slice::from_raw_parts(from, length).to_vec(),
                _ => vec![],
            }
        }
    }

    /// One of SQLite's counters of the statement.
    pub fn counter(&self, counter: c_int) -> u64 {
        self.read_counter(counter, false)
    }

    /// The same, which begins at zero again.
    pub fn take_counter(&self, counter: c_int) -> u64 {
        self.read_counter(counter, true)
    }

    fn read_counter(&self, counter: c_int, take: bool) -> u64 {
        // SAFETY: the statement exists.
        let count = unsafe { ffi::sqlite3_stmt_status(self.raw(), counter, take.into()) };
        count.try_into().unwrap_or(0)
    }
}

impl Drop for Statement {
    #[expect(unsafe_code, reason = "SQLite's interface is C")]
    fn drop(&mut self) {
        // SAFETY: the statement exists. The result is that of the last step.
        unsafe { ffi::sqlite3_finalize(self.raw()) };
    }
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned())
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn authorize(
    hooks: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    trigger: *const c_char,
) -> c_int {
    // SAFETY: the connection is open, so that its hooks are there; the texts end with zeros, or are not there.
    let (hooks, [first, second, database]) = unsafe {
        let text = |from: *const c_char| (!from.is_null()).then(|| CStr::from_ptr(from).to_bytes());
        (
            &*hooks.cast::<Hooks>(),
            [text(first), text(second), text(database)],
        )
    };
    if hooks.is_trusted.get() {
        // No statement of ours needs a trigger: it would be one of the object's.
        return if trigger.is_null() {
            ffi::SQLITE_OK
        } else {
            ffi::SQLITE_DENY
        };
    }
    let mut asked = hooks.asked.get();
    let is_allowed = authorizer::allows(action, first, second, database, &mut asked);
    hooks.asked.set(asked);
    if is_allowed {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_DENY
    }
}

#[expect(unsafe_code, reason = "SQLite's interface is C")]
unsafe extern "C" fn is_interrupted(hooks: *mut c_void) -> c_int {
    // SAFETY: the connection is open, so that its hooks are there.
    let hooks = unsafe { &*hooks.cast::<Hooks>() };
    hooks.interrupted.load(Ordering::Relaxed).into()
}
