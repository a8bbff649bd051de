//! Names that SQLite's authorizer is not told: what a table is renamed to.

use crate::database::Inner;
use crate::error::Error;
use crate::sqlite::Statement;

impl Inner {
    /// Executes a statement. If it may rename a table, and has given it one of the storage's names, that is undone and refused.
    pub fn guard_names<T>(
        &self,
        statement: &Statement,
        execute: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if !statement.asked().alters {
            return execute();
        }
        let reserved = "SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_cf\\_%' ESCAPE '\\'";
        let before = self.row_once(reserved)?;
        self.row_once("SAVEPOINT _cf_alter")?;
        let executed = execute();
        statement.reset();
        let is_refused = executed.is_ok() && self.row_once(reserved)? != before;
        if is_refused || executed.is_err() {
            self.row_once("ROLLBACK TO _cf_alter")?;
        }
        self.row_once("RELEASE _cf_alter")?;
        match is_refused {
            true => Err(Error::refused("not authorized: SQLITE_AUTH")),
            false => executed,
        }
    }
}
