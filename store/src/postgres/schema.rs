//! Bringing a database's schema up to date.
//!
//! There are two kinds of steps, so that processes of different versions can work on one database. *Additions* change nothing for a
//! version that does not know them, and are no reason to refuse the database. All other steps are: whoever does not
//! know one of those does not open it.

use sqlx::{Connection, PgConnection};

use super::convert::migration_failed;
use crate::Result;

/// Held by the one that takes steps. Of the transaction, not of the session: a pooler has others' sessions.
const LOCK: i64 = 0x706f_7274_7369_6465;

/// The addition `wants` was step 2 before the first release that shares shards: version 0.1.0 does not know it, and need not. The number
/// is not given again.
const NO_STEP_ANY_MORE: &str = "DO $$ BEGIN \
    IF to_regclass('portside.migration') IS NOT NULL THEN \
    DELETE FROM portside.migration WHERE version = 2 AND description = 'wants'; \
    END IF; END $$";

/// Takes the steps that are missing: all, or none. Many may ask at the same time.
///
/// # Errors
/// [`crate::Error::Incompatible`] if a step that is no addition was taken that this version does not know, or knows
/// otherwise; [`crate::Error::Database`] also if the tables are locked for longer than a second.
pub(super) async fn bring_up_to_date(connection: &mut PgConnection) -> Result<()> {
    let mut transaction = connection.begin().await?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
    lock.execute(&mut *transaction).await?;
    sqlx::raw_sql(NO_STEP_ANY_MORE)
        .execute(&mut *transaction)
        .await?;
    let mut steps = sqlx::migrate!("migrations/postgres");
    steps.set_locking(false);
    steps.create_schema("portside");
    steps.dangerous_set_table_name("portside.migration");
    let taken = steps.run_direct(None, &mut *transaction, false).await;
    taken.map_err(migration_failed)?;

    let mut additions = sqlx::migrate!("migrations/postgres/additions");
    additions.dangerous_set_table_name("portside.addition");
    additions.set_locking(false);
    additions.set_ignore_missing(true);
    let taken = additions.run_direct(None, &mut *transaction, false).await;
    taken.map_err(migration_failed)?;
    Ok(transaction.commit().await?)
}
