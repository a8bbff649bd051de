//! PgBouncer between us and the server, in its transaction mode: each statement may run on another of the server's connections.
//!
//! Statements stay prepared there since version 1.21, with `max_prepared_statements`. What a session sets does not stay
//! where it was set, so the role has to have it; nothing here listens, or locks for a session.

use sqlx::{PgConnection, Row};

use super::address::keeping;
use crate::{Error, Result};

/// The parameter of a URL that says so, as other clients have it.
const PARAMETER: &str = "pgbouncer=true";

/// What the role must have, for what is acknowledged to be durable, and should have, for plans that are good however large the
/// tables are (see `SESSION` of `connections`). Those of writers alone would have claims planned badly, so nobody has them here.
const SETTINGS: [(&str, &str); 3] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
];

/// The URL without that parameter, and whether it was there.
pub(super) fn of(url: &str) -> (String, bool) {
    let mut is_bounced = false;
    let url = keeping(url, |parameter| {
        let is_ours = parameter == PARAMETER;
        is_bounced |= is_ours;
        !is_ours
    });
    (url, is_bounced)
}

/// Looks whether the role has its settings, for they are not set by us. Those that only plans suffer without are missed in
/// the log.
///
/// # Errors
/// [`Error::Incompatible`] if acknowledged commits could be lost.
pub(super) async fn check(connection: &mut PgConnection) -> Result<()> {
    let durable: String = setting(connection, "synchronous_commit").await?;
    if durable == "off" {
        return Err(Error::Incompatible(
            "behind PgBouncer the database's role must not have synchronous_commit = off: ALTER ROLE … SET \
             synchronous_commit = on"
                .into(),
        ));
    }
    let mut missing = vec![];
    for (name, wanted) in SETTINGS {
        if setting(connection, name).await? != wanted {
            missing.push(format!("{name} = {wanted}"));
        }
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        tracing::warn!(
            missing,
            "behind PgBouncer the role must have settings, or statements are planned badly: ALTER ROLE … SET"
        );
    }
    Ok(())
}

async fn setting(connection: &mut PgConnection, name: &str) -> Result<String> {
    let asked = sqlx::query("SELECT current_setting($1)").bind(name);
    let row = asked.fetch_one(connection).await?;
    Ok(row.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_url_says_that_there_is_a_bouncer() {
        let plain = |url: &str| (url.to_owned(), false);
        assert_eq!(of("postgres://a@b/c"), plain("postgres://a@b/c"));
        assert_eq!(
            of("postgres://a/c?host=/tmp"),
            plain("postgres://a/c?host=/tmp")
        );
        let bounced = of("postgres://a/c?host=/tmp&pgbouncer=true&sslmode=require");
        assert_eq!(
            bounced,
            ("postgres://a/c?host=/tmp&sslmode=require".to_owned(), true)
        );
        assert_eq!(
            of("postgres://a/c?pgbouncer=true"),
            ("postgres://a/c?".to_owned(), true)
        );
    }
}
