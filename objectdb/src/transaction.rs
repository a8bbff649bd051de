//! The transaction of a turn, and savepoints in it.

use crate::database::{Database, Inner};
use crate::delta::Delta;
use crate::error::Error;

impl Inner {
    /// Begins the transaction, unless there is one.
    pub fn begin(&self) -> Result<(), Error> {
        self.must_be_there()?;
        if !self.in_transaction.get() {
            self.row("BEGIN")?;
            self.in_transaction.set(true);
        }
        Ok(())
    }

    /// Does something with a savepoint, by a statement that is not kept: each depth has its own.
    fn with_savepoint(&self, verb: &str, number: u32) -> Result<(), Error> {
        self.row_once(&format!("{verb} _cf_savepoint_{number}"))
            .map(drop)
    }
}

impl Database {
    /// Whether there may be something to commit.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        let inner = &self.0;
        let has_ended = inner.savepoints.get() == 0;
        (inner.in_transaction.get() && has_ended) || inner.pages.borrow().is_changed()
    }

    /// Ends the transaction, unless a savepoint is open; returns what of the file has changed since this was last called. Cursors
    /// go on.
    ///
    /// # Errors
    /// [`Error::Reset`]: a constraint does not hold at the end, too much has changed, the transaction is lost, or the temporary
    /// file cannot be written. Nothing is committed.
    pub fn commit(&self) -> Result<Option<Delta>, Error> {
        self.end_transaction()?;
        let delta = self.0.pages.borrow_mut().take_delta();
        delta.map_err(|error| self.0.lose(&Error::from(error).to_string()))
    }

    /// Ends the transaction as [`Self::commit`] does, which is called later: what comes is not undone with what has been.
    ///
    /// # Errors
    /// Those of [`Self::commit`].
    pub fn end_transaction(&self) -> Result<(), Error> {
        let inner = &self.0;
        inner.must_be_there()?;
        if !inner.in_transaction.get() || inner.savepoints.get() > 0 {
            return Ok(());
        }
        let may_write = |pages| inner.pages.borrow_mut().may_write(pages);
        may_write(inner.limits.transaction_pages());
        let committed = inner.row("COMMIT");
        may_write(0);
        if let Err(error) = committed {
            if inner.connection.borrow().changes_too_much() {
                return Err(inner.lose(&error.to_string()));
            }
            return Err(inner.lose_with(format!(
                "Durable Object was reset and rolled back to its last known good state because the application left the \
                 database in a state where constraints were violated: {error}"
            )));
        }
        inner.in_transaction.set(false);
        Ok(())
    }

    /// Undoes the transaction, if there is one, and all savepoints. Cursors that are open end with an error.
    ///
    /// # Errors
    /// [`Error::Reset`].
    pub fn roll_back(&self) -> Result<(), Error> {
        let inner = &self.0;
        inner.must_be_there()?;
        if inner.in_transaction.get() {
            inner.row_once("ROLLBACK")?;
            inner.in_transaction.set(false);
            inner.savepoints.set(0);
            inner.has_keys.set(None);
        }
        Ok(())
    }

    /// Begins a part of the transaction that can be undone by itself. They nest: what is released or undone is the last one.
    ///
    /// # Errors
    /// [`Error::Reset`].
    pub fn savepoint(&self) -> Result<(), Error> {
        let inner = &self.0;
        inner.begin()?;
        let number = inner.savepoints.get();
        inner.with_savepoint("SAVEPOINT", number)?;
        inner.savepoints.set(number + 1);
        Ok(())
    }

    /// Ends the last savepoint; what was done since is part of what it is in.
    ///
    /// # Errors
    /// There is none; or [`Error::Reset`].
    pub fn release(&self) -> Result<(), Error> {
        let number = self.last_savepoint()?;
        self.0.with_savepoint("RELEASE", number)?;
        self.0.savepoints.set(number);
        Ok(())
    }

    /// Undoes what was done since the last savepoint, and ends it. Cursors that are open end with an error.
    ///
    /// # Errors
    /// There is none; or [`Error::Reset`].
    pub fn roll_back_to(&self) -> Result<(), Error> {
        let number = self.last_savepoint()?;
        self.0.with_savepoint("ROLLBACK TO", number)?;
        self.0.has_keys.set(None);
        self.release()
    }

    fn last_savepoint(&self) -> Result<u32, Error> {
        self.0.must_be_there()?;
        let last = self.0.savepoints.get().checked_sub(1);
        last.ok_or_else(|| Error::refused("there is no savepoint to end"))
    }
}
