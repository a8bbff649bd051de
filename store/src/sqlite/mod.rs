//! The store in one SQLite file, for a single process.
//!
//! A commit is one transaction of the only writing connection, flushed before it is acknowledged (WAL mode with
//! `synchronous=FULL`). A second process that opens the file is refused: a lock beside it (`PATH.lock`) belongs to the
//! process and ends with it. So every pod that is in the file at opening is dead, and its shards are free at once.

mod write;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId, WorkerId};
use portside_core::keys::KeyRange;
use portside_core::write::Value;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{QueryBuilder, Row, Sqlite as Driver};

use crate::fold::fold;
use crate::range::ByteRange;
use crate::{Commit, DueAlarm, Error, Loaded, Outcome, Result, Store, rows};

const CLAIM: &str = "UPDATE shard SET owner = $2, epoch = epoch + 1 WHERE pool = $1 \
    AND EXISTS (SELECT 1 FROM pod WHERE pod = $2) AND shard IN ( \
        SELECT s.shard FROM shard s LEFT JOIN pod p ON p.pod = s.owner \
        WHERE s.pool = $1 AND p.pod IS NULL ORDER BY s.shard LIMIT $3) \
    RETURNING shard, epoch";
const LOAD: &str = include_str!("load.sql");
const ALARMS: &str = "SELECT w.script, w.name, w.scheduled, w.retries, w.due \
    FROM json_each($2) s CROSS JOIN worker w ON w.pool = $1 AND w.shard = s.value AND w.due <= $3 \
    AND w.due >= $5 AND (w.due, w.worker) > ($5, $6) \
    ORDER BY w.due, w.worker LIMIT $4";
const LIST: &str = "SELECT key, value FROM kv WHERE pool = $1 AND shard = $2 AND worker = $3 \
    AND key >= $4 AND key < $5 ORDER BY key LIMIT $6";
const LIST_REVERSE: &str = "SELECT key, value FROM kv WHERE pool = $1 AND shard = $2 \
    AND worker = $3 AND key >= $4 AND key < $5 ORDER BY key DESC LIMIT $6";

const READERS: u32 = 4;
/// How long to wait for a connection, or for whoever else has the file locked (a person with a shell).
const PATIENCE: Duration = Duration::from_secs(5);

/// One application's data in a SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    pool: i64,
    writer: SqlitePool,
    readers: SqlitePool,
    /// Keeps other processes out for as long as this store exists.
    _lock: File,
}

impl Sqlite {
    /// Opens the file, made if missing, and brings its schema up to date.
    ///
    /// # Errors
    /// As [`crate::open`], and [`Error::Database`] if another store has the file open.
    pub async fn open(path: &Path, app: &str) -> Result<Self> {
        if path.as_os_str().is_empty() || path.to_string_lossy().contains(":memory:") {
            return Err(Error::Database(
                "sqlite: needs the path of a file, for the data is to last".into(),
            ));
        }
        let lock = lock(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(PATIENCE);
        let writer = connections(1).connect_with(options.clone()).await?;
        let migrated = sqlx::migrate!("migrations/sqlite").run(&writer).await;
        migrated.map_err(rows::migration_failed)?;
        let pool = prepare(&writer, app).await?;
        Ok(Self {
            pool,
            writer,
            readers: connections(READERS).connect_lazy_with(options.read_only(true)),
            _lock: lock,
        })
    }
}

fn connections(most: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(most)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Takes the file for this process. Not by a lock on the file itself: closing any handle to it would drop SQLite's own.
fn lock(path: &Path) -> Result<File> {
    let mut beside = OsString::from(path);
    beside.push(".lock");
    let shown = path.display();
    let failed = |error| Error::Database(format!("cannot lock {shown}: {error}"));
    let file = File::create(&beside).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(failed(error)),
        Err(TryLockError::WouldBlock) => Err(Error::Database(format!(
            "{shown} is in use by another process: stop that one, or choose another file"
        ))),
    }
}

/// Finds or makes the application's pool. Pods of earlier processes are dead, for the lock is ours.
async fn prepare(writer: &SqlitePool, app: &str) -> Result<i64> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM pod")
        .execute(&mut *transaction)
        .await?;
    let pool = sqlx::query(
        "INSERT INTO pool (name, shards) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING pool, shards",
    )
    .bind(app)
    .bind(SHARDS)
    .fetch_one(&mut *transaction)
    .await?;
    rows::check_shards(pool.try_get("shards")?)?;
    let pool: i64 = pool.try_get("pool")?;
    sqlx::query(
        "WITH RECURSIVE n (shard) AS (SELECT 0 UNION ALL SELECT shard + 1 FROM n WHERE shard + 1 < $2) \
         INSERT INTO shard (pool, shard) SELECT $1, shard FROM n WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(pool)
    .bind(SHARDS)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(pool)
}

fn blob(pod: PodId) -> Vec<u8> {
    pod.0.to_be_bytes().into()
}

#[async_trait]
impl Store for Sqlite {
    /// There is one writer.
    fn lanes(&self) -> usize {
        1
    }

    async fn register(&self, pod: PodId, name: &str) -> Result<()> {
        sqlx::query("INSERT INTO pod (pod, pool, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(blob(pod))
            .bind(self.pool)
            .bind(name)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn renew(&self, pod: PodId) -> Result<bool> {
        let renewed = sqlx::query("UPDATE pod SET renewals = renewals + 1 WHERE pod = $1")
            .bind(blob(pod))
            .execute(&self.writer)
            .await?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn observe(&self) -> Result<Vec<(PodId, u64)>> {
        let rows = sqlx::query("SELECT pod, renewals FROM pod WHERE pool = $1")
            .bind(self.pool)
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                let pod: Vec<u8> = row.try_get("pod")?;
                let pod = pod.try_into().map_err(|_| {
                    Error::Incompatible("a pod's id in the database is not 16 bytes".into())
                })?;
                let renewals: i64 = row.try_get("renewals")?;
                Ok((PodId(u128::from_be_bytes(pod)), renewals.cast_unsigned()))
            })
            .collect()
    }

    async fn declare_dead(&self, pod: PodId, seen: u64) -> Result<bool> {
        sqlx::query("DELETE FROM pod WHERE pod = $1 AND renewals = $2")
            .bind(blob(pod))
            .bind(seen.cast_signed())
            .execute(&self.writer)
            .await?;
        let alive = sqlx::query("SELECT 1 FROM pod WHERE pod = $1").bind(blob(pod));
        Ok(alive.fetch_optional(&self.writer).await?.is_none())
    }

    async fn claim(&self, pod: PodId, limit: u32) -> Result<Vec<(ShardId, Epoch)>> {
        let claimed = sqlx::query(CLAIM)
            .bind(self.pool)
            .bind(blob(pod))
            .bind(limit)
            .fetch_all(&self.writer)
            .await?;
        claimed.iter().map(rows::claimed).collect()
    }

    async fn owned(&self, pod: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        let owned = sqlx::query("SELECT shard, epoch FROM shard WHERE pool = $1 AND owner = $2")
            .bind(self.pool)
            .bind(blob(pod))
            .fetch_all(&self.readers)
            .await?;
        owned.iter().map(rows::claimed).collect()
    }

    async fn release(&self, pod: PodId) -> Result<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM pod WHERE pod = $1")
            .bind(blob(pod))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "UPDATE shard SET owner = NULL, epoch = epoch + 1 WHERE pool = $1 AND owner = $2",
        )
        .bind(self.pool)
        .bind(blob(pod))
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    async fn release_shards(&self, fences: &[Fence]) -> Result<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for fence in fences {
            sqlx::query(
                "UPDATE shard SET owner = NULL, epoch = epoch + 1 \
                 WHERE pool = $1 AND shard = $2 AND owner = $3 AND epoch = $4",
            )
            .bind(self.pool)
            .bind(fence.shard.0)
            .bind(blob(fence.pod))
            .bind(rows::epoch(fence.epoch))
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn advance(&self, fence: Fence) -> Result<Option<Epoch>> {
        let advanced = sqlx::query(
            "UPDATE shard SET epoch = epoch + 1 \
             WHERE pool = $1 AND shard = $2 AND owner = $3 AND epoch = $4 RETURNING epoch",
        )
        .bind(self.pool)
        .bind(fence.shard.0)
        .bind(blob(fence.pod))
        .bind(rows::epoch(fence.epoch))
        .fetch_all(&self.writer)
        .await?;
        advanced.first().map(rows::Columns::epoch).transpose()
    }

    async fn load(
        &self,
        fence: Fence,
        worker: WorkerId,
        max_keys: usize,
        max_bytes: usize,
    ) -> Result<Option<Loaded>> {
        let rows = sqlx::query(LOAD)
            .bind(self.pool)
            .bind(fence.shard.0)
            .bind(blob(fence.pod))
            .bind(rows::epoch(fence.epoch))
            .bind(worker.0.to_vec())
            .bind(rows::limit(max_keys.max(1)))
            .bind(rows::limit(max_bytes.max(1)))
            .fetch_all(&self.readers)
            .await?;
        rows::loaded(&rows)
    }

    async fn get(
        &self,
        shard: ShardId,
        worker: WorkerId,
        keys: &[String],
    ) -> Result<BTreeMap<String, Value>> {
        /// Of one statement.
        const MOST: usize = 30_000;
        let mut transaction = self.readers.begin().await?;
        let mut found = BTreeMap::new();
        for keys in keys.chunks(MOST) {
            let mut query = QueryBuilder::<Driver>::new("SELECT key, value FROM kv WHERE pool = ");
            query.push_bind(self.pool);
            query.push(" AND shard = ").push_bind(shard.0);
            query.push(" AND worker = ").push_bind(worker.0.to_vec());
            query.push(" AND key IN (");
            let mut list = query.separated(", ");
            for key in keys {
                list.push_bind(key.as_bytes().to_vec());
            }
            query.push(")");
            let rows = query.build().fetch_all(&mut *transaction).await?;
            found.extend(rows::entries::<BTreeMap<_, _>>(&rows)?);
        }
        Ok(found)
    }

    async fn list(
        &self,
        shard: ShardId,
        worker: WorkerId,
        range: &KeyRange,
    ) -> Result<Vec<(String, Value)>> {
        let ByteRange { from, to } = range.into();
        let rows = sqlx::query(if range.reverse { LIST_REVERSE } else { LIST })
            .bind(self.pool)
            .bind(shard.0)
            .bind(worker.0.to_vec())
            .bind(from)
            .bind(to)
            .bind(rows::limit(range.limit.unwrap_or(usize::MAX)))
            .fetch_all(&self.readers)
            .await?;
        rows::entries(&rows)
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>> {
        let commits: Vec<&Commit> = commits.iter().collect();
        let folded = fold(&commits);
        let held = write::write(&self.writer, self.pool, &folded).await?;
        let outcome = |&fence: &usize| match held[fence] {
            true => Outcome::Committed,
            false => Outcome::Fenced,
        };
        Ok(folded.fence_of.iter().map(outcome).collect())
    }

    async fn alarms(
        &self,
        shards: &[ShardId],
        after: Option<(i64, WorkerId)>,
        until: i64,
        limit: usize,
    ) -> Result<Vec<DueAlarm>> {
        let (after_due, after_worker) = after.unwrap_or((i64::MIN, WorkerId([0; 16])));
        let shards: Vec<String> = shards.iter().map(|shard| shard.0.to_string()).collect();
        let alarms = sqlx::query(ALARMS)
            .bind(self.pool)
            .bind(format!("[{}]", shards.join(",")))
            .bind(until)
            .bind(rows::limit(limit))
            .bind(after_due)
            .bind(after_worker.0.to_vec())
            .fetch_all(&self.readers)
            .await?;
        let alarms = alarms.iter().map(rows::Columns::due_alarm);
        alarms.filter_map(Result::transpose).collect()
    }

    async fn count_workers(&self) -> Result<u64> {
        let row = sqlx::query("SELECT count(*) AS workers FROM worker WHERE pool = $1")
            .bind(self.pool)
            .fetch_one(&self.readers)
            .await?;
        let count: i64 = row.try_get("workers")?;
        Ok(count.cast_unsigned())
    }

    async fn delete_all(&self, pod: PodId) -> Result<bool> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let held = "SELECT count(*) AS held FROM shard WHERE pool = $1 AND owner = $2";
        let held = sqlx::query(held).bind(self.pool).bind(blob(pod));
        let held: i64 = held.fetch_one(&mut *transaction).await?.try_get("held")?;
        if held != i64::from(SHARDS) {
            return Ok(false);
        }
        for table in ["kv", "worker", "shard", "pod", "pool"] {
            let mut delete = QueryBuilder::<Driver>::new("DELETE FROM ");
            delete
                .push(table)
                .push(" WHERE pool = ")
                .push_bind(self.pool);
            delete.build().execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}
