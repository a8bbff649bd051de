//! A database, and what the store has of it.

use portside_core::write::WriteBatch;

use crate::database::Database;
use crate::error::Error;
use crate::journal::{Journal, Loader, Policy};
use crate::limits::Limits;
use crate::page_file::Spill;
use crate::pages::Pages;

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
        let mut loader = Loader::new(policy, Spill::default());
        for (key, value) in entries {
            loader.add(key, value)?;
        }
        let (journal, pages) = loader.finish()?;
        Self::open(journal, pages, limits)
    }

    /// What a [`Loader`] has read.
    ///
    /// # Errors
    /// It is not a database of SQLite's.
    pub fn open(journal: Journal, pages: Pages, limits: Limits) -> Result<Self, Error> {
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
    /// something. After [`Database::delete_all`] the batch clears everything, other keys of the object included. The batch has keys of its own, `c…`, `h` and `l…`, beside which the object can have no others.
    ///
    /// # Errors
    /// Those of [`Database::commit`], and the batch is as it was; or the database's file cannot be read, and the batch is of no
    /// use.
    pub fn commit_into(&mut self, batch: &mut WriteBatch) -> Result<bool, Error> {
        let Some(delta) = self.database.commit()? else {
            return Ok(false);
        };
        let pages = self.database.0.pages.borrow();
        self.journal.commit(delta, &pages, batch)?;
        Ok(true)
    }
}
