//! Bringing a file's schema up to date.
//!
//! The steps taken are recorded as sqlx does it, which earlier versions used: their files open here, and those of this
//! version open there.

use rusqlite::{Connection, TransactionBehavior, params};
use sqlx::migrate::{Migration, Migrator};

use crate::Result;
use crate::rows::unknown_step;

static STEPS: Migrator = sqlx::migrate!("migrations/sqlite");

const TABLE: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
)";
/// How long a step took is not recorded.
const RECORD: &str = "INSERT INTO _sqlx_migrations \
    (version, description, success, checksum, execution_time) VALUES (?1, ?2, true, ?3, -1)";

/// Takes the steps that are missing, all or none.
///
/// # Errors
/// [`crate::Error::Incompatible`] if a step was taken that this version does not know, or knows otherwise.
pub(super) fn bring_up_to_date(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLE)?;
    let taken = {
        let sql = "SELECT version, CAST (checksum AS BLOB) FROM _sqlx_migrations ORDER BY version";
        let mut taken = transaction.prepare(sql)?;
        let rows = taken.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?
    };
    for (number, checksum) in &taken {
        let known = STEPS
            .iter()
            .any(|step| step.version == *number && *step.checksum == **checksum);
        if !known {
            return Err(unknown_step(*number));
        }
    }
    let missing = |step: &&Migration| taken.iter().all(|(number, _)| *number != step.version);
    for step in STEPS.iter().filter(missing) {
        transaction.execute_batch(step.sql.as_str())?;
        let record = params![step.version, step.description, step.checksum];
        transaction.execute(RECORD, record)?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests;
