//! The driver's errors and rows as this crate's.

use sqlx::Row;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgRow;

use super::connections::is_distrusted;
use crate::rows::{self, Columns};
use crate::{Error, Result};

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => {
                Self::Database("no connection to the database within 5 s".into())
            }
            // Not as sqlx shows it: with the line of the server's source where the error was raised.
            sqlx::Error::Database(error) => Self::Database(error.message().to_owned()),
            error if is_distrusted(&error) => Self::Database(format!(
                "{}; the server needs a certificate of the URL's host, signed by a public authority or by the one that is given",
                match &error {
                    sqlx::Error::Io(inner) => inner.to_string(),
                    other => other.to_string(),
                }
            )),
            other => Self::Database(other.to_string()),
        }
    }
}

const LOCK_NOT_AVAILABLE: &str = "55P03";

pub(super) fn migration_failed(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(number) | MigrateError::VersionMismatch(number) => {
            rows::unknown_step(number)
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            let is_locked = error
                .as_database_error()
                .is_some_and(|error| error.code().as_deref() == Some(LOCK_NOT_AVAILABLE));
            match is_locked {
                true => Error::Database(
                    "the schema cannot be brought up to date while another session has its tables locked: \
                     end what runs long in the database, as a dump does, and start again"
                        .into(),
                ),
                false => error.into(),
            }
        }
        other => Error::Database(other.to_string()),
    }
}

impl Columns for PgRow {
    fn int(&self, column: &str) -> Result<Option<i64>> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.try_get(column)?)
    }
}

/// The entries of a `get` or `list`.
pub(super) fn entries<T>(rows: &[PgRow]) -> Result<T>
where
    T: FromIterator<(String, portside_core::write::Value)>,
{
    rows.iter()
        .filter_map(|row| row.entry().transpose())
        .collect()
}
