//! Connections to the server: what they are set to, when they are replaced, and how long is waited for one.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::address::Target;
use crate::measures::Waits;
use crate::outage::Outage;
use crate::{ConnectionMeasures, Result};

/// How long a caller waits for a connection.
pub(super) const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a connection that nobody uses may take to say that it is alive.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// How long a caller waits whose login is refused: while a password is changed, until whoever keeps it for us has the new one. A kubelet
/// takes up to a minute and a half.
const LOGIN: Duration = Duration::from_secs(120);
/// Between two tries to log in.
const LOGIN_AGAIN: Duration = Duration::from_secs(5);
/// How often such a caller looks whether one of the connections that there are is free.
const LOOK: Duration = Duration::from_millis(20);

/// What each connection is set to.
///
/// Every statement is planned once, for any arguments. Its tables may have been empty then, so the plans that are only good
/// for small tables are ruled out; without that, a young database reads whole tables until its first `ANALYZE`. A server
/// that is set to lose acknowledged commits is overruled.
const SESSION: &str = "SET plan_cache_mode = force_generic_plan; SET jit = off; \
    SET enable_seqscan = off; SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";

/// What some connections are for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    /// It, in a word.
    pub name: &'static str,
    /// The most of them.
    pub most: u32,
    /// What they are set to besides.
    pub session: &'static str,
    /// Whether they stay however old they are, and one of them is used all the time: it then outlives the minutes in which nobody can
    /// log in, while the password is changed.
    pub stay: bool,
}

/// When the database's address was last changed, if it ever was.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes(watch::Sender<Option<Instant>>);

impl Changes {
    /// It is changed now.
    pub fn changed(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// Whether a connection of that age was made with the present address.
    fn is_current(&self, age: Duration) -> bool {
        self.0
            .borrow()
            .is_none_or(|changed| age < changed.elapsed())
    }
}

/// A pool of connections, none of which is made before it is needed.
pub(super) fn pool(target: &Target, purpose: Purpose, changes: &Changes) -> PgPool {
    /// A connection that was used this recently is taken to be alive.
    const FRESH: Duration = Duration::from_secs(1);
    let (changes, is_bounced) = (changes.clone(), target.is_bounced);
    let mut options = PgPoolOptions::new()
        .max_connections(purpose.most)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false);
    if purpose.stay {
        options = options.max_lifetime(None);
    }
    options
        .before_acquire(move |connection, meta| {
            let is_current = changes.is_current(meta.age);
            Box::pin(async move {
                if is_current && meta.idle_for > FRESH {
                    let ping = timeout(SIGN_OF_LIFE, connection.ping());
                    ping.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
                }
                Ok(is_current)
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if is_bounced {
                    // What one connection sets, others of the pooler would have.
                    return Ok(());
                }
                sqlx::raw_sql(SESSION).execute(&mut *connection).await?;
                sqlx::raw_sql(purpose.session).execute(connection).await?;
                Ok(())
            })
        })
        .connect_lazy_with(target.options.clone())
}

/// The connections for one purpose. Cloning gives another handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    purpose: Purpose,
    pool: PgPool,
    changes: Changes,
    waits: Arc<Waits>,
}

impl Connections {
    /// None is made before it is needed.
    pub fn new(target: &Target, purpose: Purpose, changes: &Changes) -> Self {
        Self {
            purpose,
            pool: pool(target, purpose, changes),
            changes: changes.clone(),
            waits: Arc::default(),
        }
    }

    /// New ones are made with another address from now on.
    pub fn follow(&self, target: &Target) {
        self.pool.set_connect_options(target.options.clone());
    }

    /// One of them. Where the login is refused, one that is there and becomes free, or one that is made after the address has changed.
    pub async fn acquire(&self, outage: &Outage) -> Result<PoolConnection<sqlx::Postgres>> {
        let _waiting = self.waits.begin();
        let until = Instant::now() + LOGIN;
        loop {
            let mut change = self.changes.0.subscribe();
            let refusal = match self.pool.acquire().await {
                Err(error) if is_refused(&error) => error.into(),
                other => return Ok(other?),
            };
            // Whoever waits says so at once.
            let refusal = outage.saw::<()>(Err(refusal));
            if let (Err(refusal), true) = (refusal, Instant::now() >= until) {
                return Err(refusal);
            }
            tokio::select! {
                connection = free(&self.pool) => return Ok(connection),
                // The sender is ours: it does not go away.
                _ = change.changed() => {}
                () = sleep(LOGIN_AGAIN) => {}
            }
        }
    }

    /// What there is of them, and how long was waited.
    pub fn measures(&self) -> ConnectionMeasures {
        let (asked, waited) = self.waits.so_far();
        ConnectionMeasures {
            purpose: self.purpose.name,
            open: self.pool.size(),
            idle: u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX),
            limit: self.purpose.most,
            asked,
            waited,
        }
    }
}

/// One that is there, as soon as nobody uses it.
async fn free(pool: &PgPool) -> PoolConnection<sqlx::Postgres> {
    loop {
        sleep(LOOK).await;
        if let Some(connection) = pool.try_acquire() {
            return connection;
        }
    }
}

/// Whether the server has not let us in, or we have not believed it to be the right one: what another address may help against.
fn is_refused(error: &sqlx::Error) -> bool {
    const INVALID_PASSWORD: &str = "28P01";
    const INVALID_AUTHORIZATION: &str = "28000";
    /// PgBouncer's for whatever it says itself.
    const PROTOCOL_VIOLATION: &str = "08P01";
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some(INVALID_PASSWORD | INVALID_AUTHORIZATION) => true,
            Some(PROTOCOL_VIOLATION) => error.message().contains("authentication failed"),
            _ => false,
        },
        other => is_distrusted(other),
    }
}

/// Whether a TLS handshake has failed.
pub(super) fn is_distrusted(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        // As rustls' errors come out of the driver.
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_from_before_a_change_are_not_used_any_more() {
        let (changes, ms) = (Changes::default(), Duration::from_millis(1));
        assert!(changes.is_current(ms * 1000));
        changes.changed();
        sleep(ms * 20).await;
        assert!(changes.is_current(ms * 10));
        assert!(!changes.is_current(ms * 10_000));
        changes.changed();
        assert!(!changes.is_current(ms * 10_000));
    }
}
