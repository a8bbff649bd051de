//! `sql.exec`: SQL of the object's own, and the rows that come of it.

use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use rusqlite::ffi;

use crate::database::{Database, Inner};
use crate::error::Error;
use crate::sqlite::Statement;
use crate::statements::Program;
use crate::value::{Row, Value};

const DELETED: &str = "SQLite query was canceled because the database was deleted.";

/// The rows of a statement.
///
/// One that only reads is at its next row, and goes on when that is taken: it sees what is written meanwhile, by later turns,
/// too, and keeps no commit from happening. One that writes was executed to its end when it was begun; its rows are kept here.
/// It ends with an error when a transaction or savepoint is undone that has written something, and when the database is deleted.
pub struct Cursor {
    database: Weak<Inner>,
    /// Its program's key among those that run.
    id: u64,
    state: State,
    names: Rc<[String]>,
    rows_read: u64,
    rows_written: u64,
}

enum State {
    /// The statement is at a row.
    AtRow,
    /// The statement has ended; these rows are left.
    Ended(VecDeque<Row>),
}

impl Database {
    /// Executes a text of one or more statements. All but the last are executed for what they do; the values are for the last,
    /// whose rows the cursor has. What was executed of a text before an error stays done.
    ///
    /// # Errors
    /// SQLite's; a statement that an object may not execute; a text without a statement, or with a wrong number of values.
    /// [`Error::Reset`] if the transaction is lost.
    pub fn exec(&self, sql: &str, values: &[Value]) -> Result<Cursor, Error> {
        let inner = &self.0;
        inner.must_be_there()?;
        let mut program = match inner.cache.take(sql) {
            Some(program) => {
                let run = |statement| inner.run_once(statement);
                program.before.iter().try_for_each(run)?;
                program
            }
            None => inner.prepare_running(sql)?,
        };
        let begun = inner.begin_last(&program.last, values);
        let (state, rows_written) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                inner.keep(program);
                return Err(error);
            }
        };
        let id = inner.next_cursor.get();
        inner.next_cursor.set(id + 1);
        let cursor = Cursor {
            database: Rc::downgrade(inner),
            id,
            state,
            names: program.names(),
            rows_read: rows_read(&program.last),
            rows_written,
        };
        match cursor.state {
            State::Ended(_) => inner.keep(program),
            State::AtRow => drop(inner.running.borrow_mut().insert(id, program)),
        }
        Ok(cursor)
    }
}

impl Inner {
    /// Prepares a text, and executes all of its statements but the last.
    fn prepare_running(&self, sql: &str) -> Result<Program, Error> {
        let connection = self.connection.borrow().clone();
        let (mut before, mut rest) = (vec![], sql);
        loop {
            let prepared = connection.prepare(rest, false)?;
            let Some(statement) = prepared.statement else {
                return Err(Error::refused("SQL code did not contain a statement."));
            };
            let is_space = |c: char| c.is_ascii_whitespace() || c == '\u{b}';
            rest = rest.get(prepared.length..).unwrap_or_default();
            rest = rest.trim_start_matches(is_space);
            if rest.is_empty() {
                return Ok(Program::new(sql, before, statement));
            }
            if statement.parameters() > 0 {
                return Err(Error::refused(
                    "When executing multiple SQL statements in a single call, only the last statement can have parameters.",
                ));
            }
            self.run_once(&statement)?;
            before.push(statement);
        }
    }

    /// Executes a statement for what it does.
    fn run_once(&self, statement: &Statement) -> Result<(), Error> {
        self.prepare_to_write(statement)?;
        let done = self.guard_names(statement, || statement.step());
        statement.reset();
        done.map(drop).map_err(|error| self.after(error))
    }

    /// Begins the transaction for a statement that writes.
    fn prepare_to_write(&self, statement: &Statement) -> Result<(), Error> {
        match statement.is_readonly() {
            true => Ok(()),
            false => self.begin(),
        }
    }

    /// Executes a program's last statement up to its first row, or to its end if it writes. Returns how many rows it has
    /// written, too.
    fn begin_last(&self, last: &Statement, values: &[Value]) -> Result<(State, u64), Error> {
        if values.len() != last.parameters() {
            let message = "Wrong number of parameter bindings for SQL query.";
            return Err(Error::refused(message));
        }
        self.prepare_to_write(last)?;
        last.bind(values)?;
        let changes = || self.connection.borrow().total_changes();
        let before = changes();
        let state = self.guard_names(last, || {
            let (mut rows, mut bytes) = (VecDeque::new(), 0);
            while last.step()? {
                if last.is_readonly() {
                    return Ok(State::AtRow);
                }
                let row = last.row();
                bytes += row.iter().map(Value::bytes).sum::<usize>();
                if bytes > self.limits.returned_bytes {
                    return Err(self.returns_too_much());
                }
                rows.push_back(row);
            }
            Ok(State::Ended(rows))
        });
        let state = state.map_err(|error| self.after(error))?;
        Ok((state, changes() - before))
    }

    /// What it has written cannot be undone by itself.
    fn returns_too_much(&self) -> Error {
        let most = self.limits.returned_bytes >> 20;
        self.lose(&format!(
            "a statement that writes returned more than {most} MiB of rows"
        ))
    }

    /// Gives a program that has ended back to the cache.
    fn keep(&self, program: Program) {
        program.last.reset();
        for counter in STEPS {
            program.last.take_counter(counter);
        }
        self.cache.put(program, &self.limits);
    }
}

impl Cursor {
    /// The names of the columns, in their order; there may be the same name more than once.
    #[must_use]
    pub fn column_names(&self) -> &[String] {
        &self.names
    }

    /// How many rows of tables and indexes the statement has read until now: an estimate from SQLite's counters, which know the
    /// steps that it has made in tables and indexes, but not how often it began to. A row that is found by its key is one; with
    /// joins those of the outer table count, and `count(*)` without a condition is one.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// How many rows of tables the statement has inserted, changed and deleted, those of triggers and foreign keys included.
    /// Entries of indexes are not counted, and what a change of the schema writes is not, either.
    #[must_use]
    pub fn rows_written(&self) -> u64 {
        self.rows_written
    }
}

/// The rows that are left. After an error there are none.
impl Iterator for Cursor {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let State::Ended(rows) = &mut self.state {
            return rows.pop_front().map(Ok);
        }
        let row = self.take_row();
        if row.is_err() {
            self.state = State::Ended(VecDeque::new());
        }
        Some(row)
    }
}

impl Cursor {
    /// The row that the statement is at.
    fn take_row(&mut self) -> Result<Row, Error> {
        let deleted = || Error::refused(DELETED);
        let inner = self.database.upgrade().ok_or_else(deleted)?;
        inner.must_be_there()?;
        let program = inner.running.borrow_mut().remove(&self.id);
        let program = program.ok_or_else(deleted)?;
        let row = program.last.row();
        // Goes on at once: who asks for the first row only has the statement be used again.
        let stepped = program.last.step();
        self.rows_read = rows_read(&program.last);
        if let Ok(true) = stepped {
            inner.running.borrow_mut().insert(self.id, program);
            return Ok(row);
        }
        self.state = State::Ended(VecDeque::new());
        inner.keep(program);
        stepped.map(|_| row).map_err(|error| inner.after(error))
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(inner) = self.database.upgrade() {
            let program = inner.running.borrow_mut().remove(&self.id);
            if let Some(program) = program {
                inner.keep(program);
            }
        }
    }
}

/// The counters of a statement's steps in tables and indexes. Those that SQLite counts under nothing else are under zero, which
/// has no name.
const STEPS: [i32; 3] = [
    0,
    ffi::SQLITE_STMTSTATUS_FULLSCAN_STEP,
    ffi::SQLITE_STMTSTATUS_AUTOINDEX,
];

fn rows_read(statement: &Statement) -> u64 {
    let steps = STEPS.map(|counter| statement.counter(counter));
    steps.iter().sum::<u64>() + u64::from(statement.asked().reads) // the first row is found without one
}
