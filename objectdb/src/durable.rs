//! A database, and what the store has of it.

use portside_core::write::WriteBatch;

use crate::database::Database;
use crate::delta::Damaged;
use crate::error::Error;
use crate::journal::{Journal, Policy};
use crate::limits::Limits;

/// A database whose commits go into a store. After an error of [`Self::commit_into`], or of the store, it is of no use any more:
/// it is ahead of what is durable. It has to be dropped and loaded anew.
pub struct DurableDatabase {
    database: Database,
    journal: Journal,
}

impl DurableDatabase {
    /// From all entries that the store has of it, in the order of their keys; without any it is a new one.
    ///
    /// # Errors
    /// The entries are damaged.
    pub fn load<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        policy: Policy,
        limits: Limits,
    ) -> Result<Self, Error> {
        let damaged = |error: Damaged| Error::Refused(error.to_string());
        let (journal, pages) = Journal::load(policy, entries).map_err(damaged)?;
        let database = Database::open(pages, limits)?;
        Ok(Self { database, journal })
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The number of the last commit; 0 if there was none.
    #[must_use]
    pub fn last_commit(&self) -> u64 {
        self.journal.last()
    }

    /// Ends the transaction, unless a savepoint is open, and adds to a batch what the store must get. Returns whether there is
    /// something. The batch has keys of its own, `c…`, `h` and `l…`, beside which the object can have no others.
    ///
    /// # Errors
    /// Those of [`Database::commit`]. The batch is as it was.
    pub fn commit_into(&mut self, batch: &mut WriteBatch) -> Result<bool, Error> {
        let Some(delta) = self.database.commit()? else {
            return Ok(false);
        };
        let pages = self.database.0.pages.borrow();
        self.journal.commit(&delta, &pages, batch);
        Ok(true)
    }
}
