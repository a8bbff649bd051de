//! The store on PostgreSQL 15 or newer.
//!
//! The invariant: at most one pod's writes are accepted for a shard's epoch, and epochs only grow. Every commit takes the
//! lock of its shards' fence rows in the statement that writes (`commit.sql`), so a takeover waits for it and whatever
//! comes after the takeover is refused. No clock is compared.

mod address;
mod arrays;
mod bouncer;
mod connections;
mod convert;
mod members;
#[cfg(test)]
mod plans;
mod schema;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId, WorkerId};
use portside_core::keys::KeyRange;
use portside_core::ownership::Member;
use portside_core::ownership::members::{MapChanges, MapVersion, Membership, Peer};
use portside_core::write::Value;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Connection, PgConnection, Row};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use uuid::Uuid;

pub use address::Address;
use address::Target;
use connections::{ACQUIRE, Changes, Connections, Purpose, SIGN_OF_LIFE};

use crate::outage::Outage;
use crate::range::ByteRange;
use crate::{
    Commit, DueAlarm, Error, Loaded, Measures, Outcome, Result, Size, Store, StoredWorker,
    WorkerPage, rows,
};
use portside_core::fold::{Rounds, Written, fold};

const COMMIT: &str = include_str!("commit.sql");
const CLAIM: &str = include_str!("claim.sql");
const MOVE: &str = include_str!("move.sql");
const RELEASE: &str = include_str!("release.sql");
const MEMBERS: &str = include_str!("members.sql");
const SHARD_MAP: &str = include_str!("shard_map.sql");
/// A page of keys in order; the sum needs no values, which may be large.
macro_rules! list_in_order {
    ($order:literal) => {
        concat!(
            "SELECT k.key, k.value FROM (SELECT page.key, page.value, \
             sum(octet_length(page.key) + octet_length(page.value)) OVER entries \
             - octet_length(page.key) - octet_length(page.value) AS bytes_before \
             FROM (SELECT key, value FROM portside.kv WHERE pool = $1 AND shard = $2 \
             AND worker = $3 AND key >= $4 AND key < $5 ORDER BY key ",
            $order,
            " LIMIT $6) AS page WINDOW entries AS (ORDER BY page.key ",
            $order,
            " ROWS UNBOUNDED PRECEDING)) AS k WHERE k.bytes_before < $7 ORDER BY k.key ",
            $order
        )
    };
}

/// Workers with what they have stored: $1 pool, $2 keys to look at, and what the condition needs. The label is an object's name
/// ([`portside_core::objects::NAME_KEY`]).
macro_rules! workers_where {
    ($condition:literal) => {
        concat!(
            "SELECT w.script, w.name, w.scheduled, w.retries, w.due, size.keys, size.bytes, \
             (SELECT value FROM portside.kv WHERE pool = $1 AND shard = w.shard AND worker = w.worker \
             AND key = 'name') AS label FROM (SELECT shard, worker, script, name, scheduled, retries, due FROM portside.worker \
             WHERE pool = $1 AND ",
            $condition,
            ") AS w CROSS JOIN LATERAL (SELECT count(*) AS keys, \
             coalesce(sum(octet_length(e.key) + octet_length(e.value)), 0)::bigint AS bytes \
             FROM (SELECT key, value FROM portside.kv \
             WHERE pool = $1 AND shard = w.shard AND worker = w.worker ORDER BY key LIMIT $2) AS e) AS size \
             ORDER BY w.shard, w.worker"
        )
    };
}

const LOAD: &str = include_str!("load.sql");
const ALARMS: &str = include_str!("alarms.sql");
const REGISTER: &str = "INSERT INTO portside.pod (pool, pod, name) VALUES ($1, $2, $3) \
    ON CONFLICT (pod) DO NOTHING";
/// Flushed as every commit is, before others see it: a renewal that a crash forgets would be a lease that its holder
/// believes in and nobody else.
const RENEW: &str = "UPDATE portside.pod SET renewals = greatest(renewals, $2), \
    wants = CASE WHEN renewals < $2 THEN $3 ELSE wants END WHERE pod = $1 RETURNING renewals";
const OBSERVE: &str = "SELECT pod, renewals, wants FROM portside.pod WHERE pool = $1";
const DECLARE_DEAD: &str = "DELETE FROM portside.pod WHERE pod = $1 AND renewals = $2";
const IS_ALIVE: &str = "SELECT FROM portside.pod WHERE pod = $1";
const ANNOUNCE: &str = "UPDATE portside.pod SET address = $2, revision = $3, protocol = $4, key = $5 \
    WHERE pod = $1 RETURNING pod";
const OWNED: &str =
    "SELECT shard::bigint AS shard, epoch FROM portside.shard WHERE pool = $1 AND owner = $2";
const ADVANCE: &str = "UPDATE portside.shard SET epoch = epoch + 1 \
    WHERE pool = $1 AND shard = $2 AND owner = $3 AND epoch = $4 RETURNING epoch";
const GET: &str = "SELECT key, value FROM portside.kv \
    WHERE pool = $1 AND shard = $2 AND worker = $3 AND key = ANY ($4::bytea[])";
const LIST: &str = list_in_order!("");
const LIST_REVERSE: &str = list_in_order!("DESC");
/// The first limit is [`WorkerPage::MOST`]: of a limit that it does not know the planner believes that it is a tenth of the table, and
/// then sorts all of it for each page.
const WORKERS: &str = concat!(
    workers_where!(
        "shard >= $3 AND (shard, worker) > ($3, $4) AND ($5::bytea IS NULL OR script = $5) \
         ORDER BY shard, worker LIMIT 1000"
    ),
    " LIMIT $6"
);
const _: () = assert!(WorkerPage::MOST == 1000);
const WORKER: &str = workers_where!("shard = $3 AND worker = $4");
const COUNT_WORKERS: &str = "SELECT count(*) AS workers FROM portside.worker WHERE pool = $1";
/// Whether the application is there, and the role may use its tables, and open it anew.
const MAY_BE_USED: &str = "SELECT bool_and(has_table_privilege(name, 'SELECT') \
    AND has_table_privilege(name, 'INSERT') AND has_table_privilege(name, 'UPDATE') \
    AND has_table_privilege(name, 'DELETE')) AS may, \
    has_database_privilege(current_database(), 'CREATE') AND has_schema_privilege('portside', 'CREATE') AS may_create, \
    EXISTS (SELECT FROM portside.pool WHERE pool = $1) AS there FROM unnest(ARRAY['portside.pool', \
    'portside.pod', 'portside.shard', 'portside.worker', 'portside.kv']) AS name";
/// Takes the lock of every fence, so that no commit is under way.
const HOLD_ALL: &str = "UPDATE portside.shard SET seq = seq + 1 WHERE pool = $1 AND owner = $2";
const DELETE_ALL: [&str; 5] = [
    "DELETE FROM portside.kv WHERE pool = $1",
    "DELETE FROM portside.worker WHERE pool = $1",
    "DELETE FROM portside.shard WHERE pool = $1",
    "DELETE FROM portside.pod WHERE pool = $1",
    "DELETE FROM portside.pool WHERE pool = $1",
];

/// Statements in flight for commits. Measured: two lanes and more keep the log's flush busy, more than four gain little.
///
/// The session rules out what is only good for small tables, as that of all connections does: `commit.sql` joins its rows to the tables
/// by their keys, one by one.
const LANES: Purpose = Purpose {
    name: "commits",
    most: 4,
    session: "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off",
    stay: false,
};
/// For renewals alone: whatever else is asked may wait for locks that commits hold. Nobody waits longer than [`RENEWAL`], so the server
/// need not either.
const RENEWALS: Purpose = Purpose {
    name: "renewals",
    most: 1,
    session: "SET statement_timeout = '1s'",
    stay: true,
};
/// For the rest of ownership, beside the lanes; likewise with [`OWNERSHIP`].
const CONTROL: Purpose = Purpose {
    name: "ownership",
    most: 2,
    session: "SET statement_timeout = '5s'",
    stay: true,
};
const READERS: Purpose = Purpose {
    name: "reads",
    most: 8,
    session: "",
    stay: false,
};
/// The most connections of one [`Postgres`], once it is open; one more while it is being opened, or follows another address.
pub const CONNECTIONS: usize = (LANES.most + RENEWALS.most + CONTROL.most + READERS.most) as usize;
/// What connections are for, as [`crate::ConnectionMeasures::purpose`] has it.
pub const PURPOSES: [&str; 4] = [LANES.name, READERS.name, CONTROL.name, RENEWALS.name];
/// How long it may take to be let in as an application, which may take steps of the schema, or wait for another process to take them. A
/// database that says nothing any more is given up after it, so that whoever opens it tries again.
const PREPARATION: Duration = Duration::from_secs(300);
/// How long a statement may take before its connection is given up as dead, unless [`GRACE`] ends earlier.
const STATEMENT: Duration = Duration::from_secs(30);
/// The same for a renewal, with the making of a connection. One whose other end is gone may be silent for ever; then a
/// renewal on another one still comes within the lease.
const RENEWAL: Duration = Duration::from_secs(1);
/// The same for what else concerns ownership. A claim of all shards is the longest.
const OWNERSHIP: Duration = Duration::from_secs(5);
/// When a connection was silent and the next renewal is answered, on another one, whatever is under way for longer has this
/// long until its connection is given up, too. A database that merely stood still answers all of them at once.
const GRACE: Duration = Duration::from_secs(1);

/// One application's data in a Postgres database. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: i32,
    /// Where the database was when it was opened, and is.
    target: Target,
    /// Of the address.
    changes: Changes,
    writers: Connections,
    renewals: Connections,
    /// Whether a connection was found silent, and no renewal answered since.
    is_silent: watch::Sender<bool>,
    control: Connections,
    readers: Connections,
    outage: Arc<Outage>,
}

type Query = sqlx::query::Query<'static, sqlx::Postgres, PgArguments>;

impl Postgres {
    /// Connects, brings the schema up to date and makes the application known.
    ///
    /// # Errors
    /// As [`crate::open`].
    pub async fn open(address: &Address, app: &str) -> Result<Self> {
        let target = address.target()?;
        let mut connection = connect(&target).await?;
        let prepared = timeout(PREPARATION, prepare(&mut connection, app));
        let pool = prepared.await.map_err(|_| silent())??;
        end(connection).await;
        let changes = Changes::default();
        let connections = |purpose| Connections::new(&target, purpose, &changes);
        Ok(Self {
            pool,
            writers: connections(LANES),
            is_silent: watch::Sender::new(false),
            renewals: connections(RENEWALS),
            control: connections(CONTROL),
            readers: connections(READERS),
            outage: Arc::default(),
            target,
            changes,
        })
    }

    /// Goes on with another address of the same database: another password, another role, another authority. Connections are made with
    /// it from now on, and those that there are end when they are next needed.
    ///
    /// # Errors
    /// Nothing has changed, and what there is goes on: [`Error::Incompatible`] if it is another database, where the state of this one
    /// would be missed, or if its role may not do what is needed; else [`Error::Database`], if no connection can be made with it.
    pub async fn follow(&self, address: &Address) -> Result<()> {
        let target = address.target()?;
        if let Some(what) = self.target.differs(&target) {
            return Err(Error::Incompatible(format!(
                "the new URL names {what}: what is stored would stay behind"
            )));
        }
        let mut connection = connect(&target).await?;
        self.may_be_used(&mut connection).await?;
        end(connection).await;
        for connections in self.connections() {
            connections.follow(&target);
        }
        self.changes.changed();
        // Connections that were being made just now were made with the old one. By then they are there.
        let changes = self.changes.clone();
        tokio::spawn(async move {
            sleep(ACQUIRE).await;
            changes.changed();
        });
        Ok(())
    }

    /// Whether the application is there, and a connection's role may read and write it.
    async fn may_be_used(&self, connection: &mut PgConnection) -> Result<()> {
        let query = sqlx::query(MAY_BE_USED).bind(self.pool);
        let row = timeout(ACQUIRE, query.fetch_one(connection)).await;
        let row = row.map_err(|_| silent())??;
        let (may, there): (bool, bool) = (row.try_get("may")?, row.try_get("there")?);
        let wrong = if !may {
            "the new URL's role may not read and write all tables of the schema portside"
        } else if !there {
            "the new URL leads to a database without what is stored here"
        } else if !row.try_get::<bool, _>("may_create")? {
            "the new URL's role may not create in the database and in the schema portside, which the next pod to start needs"
        } else {
            return Ok(());
        };
        Err(Error::Incompatible(wrong.to_owned()))
    }

    async fn rows(&self, pool: &Connections, query: Query) -> Result<Vec<PgRow>> {
        let connection = self.outage.saw(pool.acquire(&self.outage).await)?;
        let given_up = async {
            tokio::select! {
                () = sleep(STATEMENT) => {}
                () = self.is_answered_again() => sleep(GRACE).await,
            }
        };
        self.outage
            .saw(self.fetch(connection, given_up, query).await)
    }

    fn connections(&self) -> [&Connections; 4] {
        [&self.writers, &self.readers, &self.control, &self.renewals]
    }

    async fn renewal(&self, query: Query) -> Result<Vec<PgRow>> {
        let renewed = self.within(RENEWAL, &self.renewals, query).await;
        self.is_silent.send_replace(renewed.is_err());
        self.outage.saw(renewed)
    }

    async fn ownership(&self, query: Query) -> Result<Vec<PgRow>> {
        self.outage
            .saw(self.within(OWNERSHIP, &self.control, query).await)
    }

    /// Returns when a renewal is answered after the database was silent.
    async fn is_answered_again(&self) {
        let mut is_silent = self.is_silent.subscribe();
        for wanted in [true, false] {
            // The sender is ours: it does not go away.
            let _ = is_silent.wait_for(|it| *it == wanted).await;
        }
    }

    /// With a connection that is there or must be made, all in this time.
    async fn within(
        &self,
        limit: Duration,
        pool: &Connections,
        query: Query,
    ) -> Result<Vec<PgRow>> {
        let until = Instant::now() + limit;
        match timeout_at(until, pool.acquire(&self.outage)).await {
            Ok(connection) => self.fetch(connection?, sleep_until(until), query).await,
            Err(_) => Err(silent()),
        }
    }

    async fn fetch(
        &self,
        mut connection: PoolConnection<sqlx::Postgres>,
        given_up: impl Future<Output = ()>,
        query: Query,
    ) -> Result<Vec<PgRow>> {
        let rows = tokio::select! {
            rows = query.fetch_all(&mut *connection) => Some(rows),
            () = given_up => None,
        };
        let Some(rows) = rows else {
            // Not back into the pool: nobody knows what its next answer would belong to.
            drop(connection.detach());
            return Err(silent());
        };
        let is_silent = self.is_silent.clone();
        // Dropping it would do the same without a limit: a pool asks each connection that comes back for a sign of life,
        // and would miss for ever one that went silent at that moment.
        tokio::spawn(async move {
            let returned = timeout(SIGN_OF_LIFE, connection.return_to_pool()).await;
            if returned.is_err() {
                is_silent.send_replace(true);
            }
        });
        Ok(rows?)
    }
}

/// One connection, of no pool: that would retry a wrong address until its time is up, and hide why.
async fn connect(target: &Target) -> Result<PgConnection> {
    let connected = timeout(ACQUIRE, async {
        let mut connection = PgConnection::connect_with(&target.options).await?;
        if target.is_bounced {
            bouncer::check(&mut connection).await?;
        }
        Ok(connection)
    });
    connected
        .await
        .map_err(|_| Error::Database("the database did not answer within 5 s".into()))?
}

/// Says goodbye, and waits for no answer to it.
async fn end(connection: PgConnection) {
    let _ = timeout(SIGN_OF_LIFE, connection.close()).await;
}

fn silent() -> Error {
    Error::Database("the database did not answer in time".into())
}

/// Checks the server's version, migrates, and finds or makes the application's pool.
async fn prepare(connection: &mut PgConnection, app: &str) -> Result<i32> {
    const OLDEST: u32 = 150_000;
    if connection
        .server_version_num()
        .is_some_and(|it| it < OLDEST)
    {
        return Err(Error::Incompatible(
            "PostgreSQL 15 or newer is needed".into(),
        ));
    }
    schema::bring_up_to_date(connection).await?;

    let mut transaction = connection.begin().await?;
    // The update makes the row ours, and returned, even if it was there.
    let pool = sqlx::query(
        "INSERT INTO portside.pool (name, shards) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING pool, shards",
    )
    .bind(app)
    .bind(SHARDS.cast_signed())
    .fetch_one(&mut *transaction)
    .await?;
    rows::check_shards(i64::from(pool.try_get::<i32, _>("shards")?))?;
    let pool: i32 = pool.try_get("pool")?;
    sqlx::query(
        "INSERT INTO portside.shard (pool, shard) SELECT $1, generate_series(0, $2 - 1) \
         ON CONFLICT DO NOTHING",
    )
    .bind(pool)
    .bind(SHARDS.cast_signed())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(pool)
}

fn uuid(pod: PodId) -> Uuid {
    Uuid::from_u128(pod.0)
}

#[async_trait]
impl Store for Postgres {
    fn lanes(&self) -> usize {
        LANES.most as usize
    }

    fn measures(&self) -> Measures {
        Measures {
            connections: self.connections().map(Connections::measures).into(),
            ..self.outage.measures()
        }
    }

    async fn register(&self, pod: PodId, name: &str) -> Result<()> {
        let query = sqlx::query(REGISTER).bind(self.pool).bind(uuid(pod));
        self.ownership(query.bind(name.to_owned())).await?;
        Ok(())
    }

    async fn renew(&self, pod: PodId, number: u64, wants: bool) -> Result<bool> {
        let query = sqlx::query(RENEW).bind(uuid(pod));
        let query = query.bind(number.cast_signed()).bind(wants);
        Ok(!self.renewal(query).await?.is_empty())
    }

    async fn observe(&self) -> Result<Vec<Member>> {
        let query = sqlx::query(OBSERVE).bind(self.pool);
        let rows = self.ownership(query).await?;
        rows.iter()
            .map(|row| {
                let pod: Uuid = row.try_get("pod")?;
                let renewals: i64 = row.try_get("renewals")?;
                Ok(Member {
                    pod: PodId(pod.as_u128()),
                    renewed: renewals.cast_unsigned(),
                    wants: row.try_get("wants")?,
                })
            })
            .collect()
    }

    async fn announce(&self, pod: PodId, peer: &Peer) -> Result<bool> {
        let query = sqlx::query(ANNOUNCE).bind(uuid(pod));
        let query = query.bind(peer.address.clone());
        let query = query.bind(peer.revision.0.cast_signed());
        let query = query.bind(peer.protocol.cast_signed());
        let query = query.bind(peer.key.0.to_vec());
        Ok(!self.ownership(query).await?.is_empty())
    }

    async fn members(&self) -> Result<Membership> {
        let query = sqlx::query(MEMBERS).bind(self.pool);
        members::membership(&self.ownership(query).await?)
    }

    async fn shard_map(&self, since: Option<MapVersion>) -> Result<MapChanges> {
        let query = sqlx::query(SHARD_MAP).bind(self.pool);
        let query = query.bind(rows::since(since));
        members::changes(&self.ownership(query).await?)
    }

    async fn declare_dead(&self, pod: PodId, seen: u64) -> Result<bool> {
        let query = sqlx::query(DECLARE_DEAD).bind(uuid(pod));
        self.ownership(query.bind(seen.cast_signed())).await?;
        let alive = sqlx::query(IS_ALIVE).bind(uuid(pod));
        Ok(self.ownership(alive).await?.is_empty())
    }

    async fn claim(&self, pod: PodId, limit: u32) -> Result<Vec<(ShardId, Epoch)>> {
        let query = sqlx::query(CLAIM).bind(self.pool).bind(uuid(pod));
        let query = query.bind(i64::from(limit));
        let claimed = self.ownership(query).await?;
        claimed.iter().map(rows::claimed).collect()
    }

    async fn owned(&self, pod: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        let query = sqlx::query(OWNED).bind(self.pool).bind(uuid(pod));
        let owned = self.ownership(query).await?;
        owned.iter().map(rows::claimed).collect()
    }

    async fn release(&self, pod: PodId) -> Result<()> {
        let query = sqlx::query(RELEASE).bind(self.pool).bind(uuid(pod));
        self.ownership(query).await?;
        Ok(())
    }

    async fn release_shards(&self, fences: &[Fence]) -> Result<()> {
        let query = arrays::moving(self.pool, fences, None);
        self.ownership(query).await?;
        Ok(())
    }

    async fn hand_over(&self, fences: &[Fence], to: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        let query = arrays::moving(self.pool, fences, Some(to));
        let moved = self.ownership(query).await?;
        moved.iter().map(rows::claimed).collect()
    }

    async fn advance(&self, fence: Fence) -> Result<Option<Epoch>> {
        let query = sqlx::query(ADVANCE).bind(self.pool);
        let query = query.bind(fence.shard.0.cast_signed());
        let query = query.bind(uuid(fence.pod)).bind(rows::epoch(fence.epoch));
        let advanced = self.ownership(query).await?;
        advanced.first().map(rows::Columns::epoch).transpose()
    }

    async fn load(
        &self,
        fence: Fence,
        worker: WorkerId,
        max_keys: usize,
        max_bytes: usize,
    ) -> Result<Option<Loaded>> {
        let query = sqlx::query(LOAD)
            .bind(self.pool)
            .bind(fence.shard.0.cast_signed())
            .bind(uuid(fence.pod))
            .bind(rows::epoch(fence.epoch))
            .bind(Uuid::from_bytes(worker.0))
            .bind(rows::limit(max_keys.max(1)))
            .bind(rows::limit(max_bytes.max(1)));
        let mut loading = rows::Loading::default();
        for row in &self.rows(&self.readers, query).await? {
            loading.add(row)?;
        }
        Ok(loading.end())
    }

    async fn get(
        &self,
        shard: ShardId,
        worker: WorkerId,
        keys: &[String],
    ) -> Result<BTreeMap<String, Value>> {
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        let query = sqlx::query(GET)
            .bind(self.pool)
            .bind(shard.0.cast_signed())
            .bind(Uuid::from_bytes(worker.0))
            .bind(keys);
        convert::entries(&self.rows(&self.readers, query).await?)
    }

    async fn list(
        &self,
        shard: ShardId,
        worker: WorkerId,
        range: &KeyRange,
    ) -> Result<Vec<(String, Value)>> {
        let ByteRange { from, to } = range.into();
        let query = sqlx::query(if range.reverse { LIST_REVERSE } else { LIST })
            .bind(self.pool)
            .bind(shard.0.cast_signed())
            .bind(Uuid::from_bytes(worker.0))
            .bind(from)
            .bind(to)
            .bind(rows::limit(range.limit.unwrap_or(usize::MAX)))
            .bind(rows::limit(range.max_bytes.unwrap_or(usize::MAX)));
        convert::entries(&self.rows(&self.readers, query).await?)
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>> {
        let mut rounds = Rounds::new(commits.len());
        loop {
            let batch = rounds.left(commits);
            if batch.is_empty() {
                return Ok(rounds.outcomes());
            }
            let folded = fold(&batch);
            let held = self
                .rows(&self.writers, arrays::commit(self.pool, &folded))
                .await?;
            let mut written = vec![Written::Fenced; folded.fences.len()];
            for row in &held {
                let place: i64 = row.try_get("place")?;
                let place = usize::try_from(place - 1).unwrap_or(usize::MAX);
                if let Some(written) = written.get_mut(place) {
                    *written = match row.try_get("fresh")? {
                        true => Written::Committed,
                        false => Written::Again,
                    };
                }
            }
            rounds.written(folded.fence_of.iter().map(|&fence| written[fence]));
        }
    }

    async fn alarms(
        &self,
        shards: &[ShardId],
        after: Option<(i64, WorkerId)>,
        until: i64,
        limit: usize,
    ) -> Result<Vec<DueAlarm>> {
        let (after_due, after_worker) = after.unwrap_or((i64::MIN, WorkerId([0; 16])));
        let shards: Vec<i32> = shards.iter().map(|shard| shard.0.cast_signed()).collect();
        let query = sqlx::query(ALARMS)
            .bind(self.pool)
            .bind(shards)
            .bind(until)
            .bind(rows::limit(limit))
            .bind(after_due)
            .bind(Uuid::from_bytes(after_worker.0));
        let alarms = self.rows(&self.readers, query).await?;
        let alarms = alarms.iter().map(rows::Columns::due_alarm);
        alarms.filter_map(Result::transpose).collect()
    }

    async fn workers(&self, page: &WorkerPage) -> Result<Vec<StoredWorker>> {
        let (shard, worker) = match page.after {
            Some(after) => (after.shard(SHARDS).0.cast_signed(), after),
            // Before all of them.
            None => (-1, WorkerId([0; 16])),
        };
        let query = sqlx::query(WORKERS)
            .bind(self.pool)
            .bind(Size::MOST_KEYS.cast_signed())
            .bind(shard)
            .bind(Uuid::from_bytes(worker.0))
            .bind(
                page.script
                    .as_ref()
                    .map(|script| script.as_bytes().to_vec()),
            )
            .bind(rows::limit(page.size()));
        let rows = self.rows(&self.readers, query).await?;
        rows.iter().map(rows::Columns::stored_worker).collect()
    }

    async fn worker(&self, worker: WorkerId) -> Result<Option<StoredWorker>> {
        let query = sqlx::query(WORKER)
            .bind(self.pool)
            .bind(Size::MOST_KEYS.cast_signed())
            .bind(worker.shard(SHARDS).0.cast_signed())
            .bind(Uuid::from_bytes(worker.0));
        let rows = self.rows(&self.readers, query).await?;
        let found = rows.first().map(rows::Columns::stored_worker);
        found.transpose()
    }

    async fn count_workers(&self) -> Result<u64> {
        let query = sqlx::query(COUNT_WORKERS).bind(self.pool);
        let rows = self.rows(&self.readers, query).await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get("workers"))?;
        Ok(count.cast_unsigned())
    }

    async fn delete_all(&self, pod: PodId) -> Result<bool> {
        let mut connection = self.writers.acquire(&self.outage).await?;
        let mut transaction = connection.begin().await?;
        let held = sqlx::query(HOLD_ALL).bind(self.pool).bind(uuid(pod));
        let held = held.execute(&mut *transaction).await?.rows_affected();
        if held != u64::from(SHARDS) {
            return Ok(false); // and dropping the transaction undoes it
        }
        for sql in DELETE_ALL {
            sqlx::query(sql)
                .bind(self.pool)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}
