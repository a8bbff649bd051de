//! The store in one SQLite file, for a single process.
//!
//! A commit is one transaction of the only writing connection, flushed before it is acknowledged (WAL mode with
//! `synchronous=FULL`). A second process that opens the file is refused: a lock beside it (`PATH.lock`) belongs to the
//! process and ends with it. So at opening every pod is dead and its shards are free at once; the living ones are in memory.
//!
//! Each connection belongs to a thread, which is given whole calls: however many rows a call reads or writes, it costs
//! one way there and one back. A read begins after it was asked for, and so sees all that was acknowledged before.

mod error;
mod members;
mod open;
mod schema;
mod thread;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use async_trait::async_trait;
use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId, WorkerId};
use portside_core::keys::KeyRange;
use portside_core::ownership::Member;
use portside_core::ownership::members::{MapChanges, MapVersion, Membership, Peer};
use portside_core::write::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, TransactionBehavior};

use self::thread::Threads;
use crate::outage::Outage;
use crate::range::ByteRange;
use crate::rows::{self, Columns};
use crate::{
    Commit, DueAlarm, Loaded, Measures, Outcome, Result, Size, Store, StoredWorker, WorkerPage,
};

const CLAIM: &str = "UPDATE shard SET owner = ?2, epoch = epoch + 1 WHERE pool = ?1 \
    AND EXISTS (SELECT 1 FROM pod WHERE pod = ?2) AND shard IN ( \
        SELECT s.shard FROM shard s LEFT JOIN pod p ON p.pod = s.owner \
        WHERE s.pool = ?1 AND p.pod IS NULL ORDER BY s.shard LIMIT ?3) \
    RETURNING shard, epoch";
const RENEW: &str = "UPDATE pod SET renewals = max(renewals, ?2), \
    wants = CASE WHEN renewals < ?2 THEN ?3 ELSE wants END WHERE pod = ?1";
const LOAD: &str = include_str!("load.sql");
const ALARMS: &str = "SELECT w.script, w.name, w.scheduled, w.retries, w.due \
    FROM json_each(?2) s CROSS JOIN worker w ON w.pool = ?1 AND w.shard = s.value AND w.due <= ?3 \
    AND w.due >= ?5 AND (w.due, w.worker) > (?5, ?6) \
    ORDER BY w.due, w.worker LIMIT ?4";
const LIST: &str = "SELECT key, value FROM kv WHERE pool = ?1 AND shard = ?2 AND worker = ?3 \
    AND key >= ?4 AND key < ?5 ORDER BY key LIMIT ?6";
const LIST_REVERSE: &str = "SELECT key, value FROM kv WHERE pool = ?1 AND shard = ?2 \
    AND worker = ?3 AND key >= ?4 AND key < ?5 ORDER BY key DESC LIMIT ?6";

/// Workers with what they have stored: ?1 pool, ?2 keys to look at, and what the condition needs. The label is an object's name
/// ([`portside_core::objects::NAME_KEY`]).
macro_rules! workers_where {
    ($condition:literal) => {
        concat!(
            "SELECT w.script, w.name, w.scheduled, w.retries, w.due, \
             (SELECT count(*) FROM (SELECT 1 FROM kv WHERE pool = w.pool AND shard = w.shard \
             AND worker = w.worker ORDER BY key LIMIT ?2)) AS keys, \
             (SELECT coalesce(sum(size), 0) FROM (SELECT length(key) + length(value) AS size FROM kv \
             WHERE pool = w.pool AND shard = w.shard AND worker = w.worker ORDER BY key LIMIT ?2)) AS bytes, \
             (SELECT value FROM kv WHERE pool = w.pool AND shard = w.shard AND worker = w.worker \
             AND key = CAST('name' AS BLOB)) AS label \
             FROM worker w WHERE w.pool = ?1 AND ",
            $condition
        )
    };
}
const WORKERS: &str = workers_where!(
    "w.shard >= ?3 AND (w.shard, w.worker) > (?3, ?4) \
     AND (?5 IS NULL OR w.script = ?5) ORDER BY w.shard, w.worker LIMIT ?6"
);
const WORKER: &str = workers_where!("w.shard = ?3 AND w.worker = ?4");

const GET: &str = "SELECT key, value FROM kv \
    WHERE pool = ?1 AND shard = ?2 AND worker = ?3 AND key = ?4";
const RELEASE: &str =
    "UPDATE shard SET owner = NULL, epoch = epoch + 1 WHERE pool = ?1 AND owner = ?2";
const RELEASE_SHARD: &str = "UPDATE shard SET owner = NULL, epoch = epoch + 1 \
    WHERE pool = ?1 AND shard = ?2 AND owner = ?3 AND epoch = ?4";
const ADVANCE: &str = "UPDATE shard SET epoch = epoch + 1 \
    WHERE pool = ?1 AND shard = ?2 AND owner = ?3 AND epoch = ?4 RETURNING epoch";

/// How long a call waits for its turn, and a statement for whoever else has the file locked (a person with a shell).
const PATIENCE: Duration = Duration::from_secs(5);

/// One application's data in a SQLite file. Dropping it waits until the file is closed.
#[derive(Debug)]
pub struct Sqlite {
    pool: i64,
    /// For reads as long as their caller likes.
    readers: Threads,
    /// For reads that are short by their limits, so that no worker that wakes waits for another's long list.
    loader: Threads,
    writer: Threads,
    /// Of writes, and of reads: these say nothing of whether the disk has room.
    outage: Outage,
    read_outage: Outage,
    /// Keeps other processes out for as long as this store exists.
    _lock: File,
}

impl Sqlite {
    /// A call that reads the file.
    async fn read<T: Send + 'static>(
        &self,
        threads: &Threads,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read_outage.saw(threads.call(work).await)
    }

    /// A call that writes the file.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.outage.saw(self.writer.call(work).await)
    }
}

fn blob(pod: PodId) -> [u8; 16] {
    pod.0.to_be_bytes()
}

/// Runs a statement that returns no rows. Says how many rows it changed.
fn execute(connection: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    Ok(connection.prepare_cached(sql)?.execute(params)?)
}

/// What a statement's rows hold.
fn fetch<T, C: FromIterator<T>>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<Option<T>>,
) -> Result<C> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_and_then(params, read)?;
    rows.filter_map(Result::transpose).collect()
}

fn claimed(row: &Row<'_>) -> Result<Option<(ShardId, Epoch)>> {
    rows::claimed(row).map(Some)
}

impl Columns for Row<'_> {
    fn int(&self, column: &str) -> Result<Option<i64>> {
        Ok(self.get(column)?)
    }

    fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get(column)?)
    }
}

#[async_trait]
impl Store for Sqlite {
    /// There is one writer.
    fn lanes(&self) -> usize {
        1
    }

    fn measures(&self) -> Measures {
        self.outage.measures().and(self.read_outage.measures())
    }

    async fn register(&self, pod: PodId, name: &str) -> Result<()> {
        const SQL: &str =
            "INSERT INTO pod (pod, pool, name) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let params = (blob(pod), self.pool, name.to_owned());
        let work = move |connection: &mut Connection| execute(connection, SQL, params);
        self.writer.call(work).await?;
        Ok(())
    }

    async fn renew(&self, pod: PodId, number: u64, wants: bool) -> Result<bool> {
        let work = move |connection: &mut Connection| {
            execute(connection, RENEW, (blob(pod), number.cast_signed(), wants))
        };
        Ok(self.writer.call(work).await? == 1)
    }

    async fn observe(&self) -> Result<Vec<Member>> {
        const SQL: &str = "SELECT pod, renewals, wants FROM pod WHERE pool = ?1";
        let pool = self.pool;
        let read = |row: &Row<'_>| {
            let renewals: i64 = row.get("renewals")?;
            Ok(Some(Member {
                pod: PodId(u128::from_be_bytes(row.get("pod")?)),
                renewed: renewals.cast_unsigned(),
                wants: row.get("wants")?,
            }))
        };
        let work = move |connection: &mut Connection| fetch(connection, SQL, [pool], read);
        self.writer.call(work).await
    }

    async fn announce(&self, pod: PodId, peer: &Peer) -> Result<bool> {
        let peer = peer.clone();
        let work = move |connection: &mut Connection| members::announce(connection, pod, &peer);
        self.writer.call(work).await
    }

    async fn members(&self) -> Result<Membership> {
        let pool = self.pool;
        let work = move |connection: &mut Connection| members::membership(connection, pool);
        self.writer.call(work).await
    }

    async fn shard_map(&self, since: Option<MapVersion>) -> Result<MapChanges> {
        let pool = self.pool;
        let work = move |connection: &mut Connection| members::changes(connection, pool, since);
        self.writer.call(work).await
    }

    async fn declare_dead(&self, pod: PodId, seen: u64) -> Result<bool> {
        const SQL: &str = "DELETE FROM pod WHERE pod = ?1 AND renewals = ?2";
        const ALIVE: &str = "SELECT 1 FROM pod WHERE pod = ?1";
        let work = move |connection: &mut Connection| {
            execute(connection, SQL, (blob(pod), seen.cast_signed()))?;
            Ok(!connection.prepare_cached(ALIVE)?.exists([blob(pod)])?)
        };
        self.writer.call(work).await
    }

    async fn claim(&self, pod: PodId, limit: u32) -> Result<Vec<(ShardId, Epoch)>> {
        let params = (self.pool, blob(pod), limit);
        let work = move |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let claimed: Vec<_> = fetch(&transaction, CLAIM, params, claimed)?;
            if !claimed.is_empty() {
                members::map_changed(&transaction)?;
            }
            transaction.commit()?;
            Ok(claimed)
        };
        self.write(work).await
    }

    async fn owned(&self, pod: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        const SQL: &str = "SELECT shard, epoch FROM shard WHERE pool = ?1 AND owner = ?2";
        let params = (self.pool, blob(pod));
        let work = move |connection: &mut Connection| fetch(connection, SQL, params, claimed);
        self.read(&self.loader, work).await
    }

    async fn release(&self, pod: PodId) -> Result<()> {
        let pool = self.pool;
        let work = move |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            execute(&transaction, "DELETE FROM pod WHERE pod = ?1", [blob(pod)])?;
            execute(&transaction, RELEASE, (pool, blob(pod)))?;
            members::map_changed(&transaction)?;
            Ok(transaction.commit()?)
        };
        self.write(work).await
    }

    async fn release_shards(&self, fences: &[Fence]) -> Result<()> {
        let (pool, fences) = (self.pool, fences.to_vec());
        let work = move |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for fence in fences {
                execute(&transaction, RELEASE_SHARD, of_fence(pool, fence))?;
            }
            members::map_changed(&transaction)?;
            Ok(transaction.commit()?)
        };
        self.write(work).await
    }

    async fn hand_over(&self, fences: &[Fence], to: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        let (pool, fences) = (self.pool, fences.to_vec());
        let work =
            move |connection: &mut Connection| members::hand_over(connection, pool, &fences, to);
        self.write(work).await
    }

    async fn advance(&self, fence: Fence) -> Result<Option<Epoch>> {
        let params = of_fence(self.pool, fence);
        let read = |row: &Row<'_>| row.epoch().map(Some);
        let work = move |connection: &mut Connection| {
            let advanced: Vec<Epoch> = fetch(connection, ADVANCE, params, read)?;
            Ok(advanced.first().copied())
        };
        self.write(work).await
    }

    async fn load(
        &self,
        fence: Fence,
        worker: WorkerId,
        max_keys: usize,
        max_bytes: usize,
    ) -> Result<Option<Loaded>> {
        let (pool, shard, pod, epoch) = of_fence(self.pool, fence);
        let limits = (rows::limit(max_keys.max(1)), rows::limit(max_bytes.max(1)));
        let params = (pool, shard, pod, epoch, worker.0, limits.0, limits.1);
        let work = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(LOAD)?;
            let mut found = statement.query(params)?;
            let mut loading = rows::Loading::default();
            while let Some(row) = found.next()? {
                loading.add(row)?;
            }
            Ok(loading.end())
        };
        self.read(&self.loader, work).await
    }

    async fn get(
        &self,
        shard: ShardId,
        worker: WorkerId,
        keys: &[String],
    ) -> Result<BTreeMap<String, Value>> {
        let (pool, keys) = (self.pool, keys.to_vec());
        let work = move |connection: &mut Connection| {
            let moment = connection.transaction()?;
            let mut statement = moment.prepare_cached(GET)?;
            let mut found = BTreeMap::new();
            for key in keys {
                let params = (pool, shard.0, worker.0, key.as_bytes());
                let entry = statement.query_row(params, |row| Ok(row.entry()));
                found.extend(entry.optional()?.transpose()?.flatten());
            }
            Ok(found)
        };
        self.read(&self.readers, work).await
    }

    async fn list(
        &self,
        shard: ShardId,
        worker: WorkerId,
        range: &KeyRange,
    ) -> Result<Vec<(String, Value)>> {
        let ByteRange { from, to } = range.into();
        let limit = rows::limit(range.limit.unwrap_or(usize::MAX));
        let params = (self.pool, shard.0, worker.0, from, to, limit);
        let sql = if range.reverse { LIST_REVERSE } else { LIST };
        let mut left = range.max_bytes.unwrap_or(usize::MAX);
        let work = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params)?;
            let mut listed = vec![];
            // Row by row: the database would not stop by itself where the bytes are enough.
            while left > 0
                && let Some(row) = rows.next()?
            {
                if let Some((key, value)) = row.entry()? {
                    left = left.saturating_sub(key.len() + value.len());
                    listed.push((key, value));
                }
            }
            Ok(listed)
        };
        self.read(&self.readers, work).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>> {
        let (pool, commits) = (self.pool, commits.to_vec());
        let work = move |connection: &mut Connection| write::write(connection, pool, &commits);
        self.write(work).await
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
        let shards = format!("[{}]", shards.join(","));
        let limit = rows::limit(limit);
        let params = (self.pool, shards, until, limit, after_due, after_worker.0);
        let read = |row: &Row<'_>| row.due_alarm();
        let work = move |connection: &mut Connection| fetch(connection, ALARMS, params, read);
        self.read(&self.loader, work).await
    }

    async fn workers(&self, page: &WorkerPage) -> Result<Vec<StoredWorker>> {
        let (shard, worker) = match page.after {
            Some(after) => (i64::from(after.shard(SHARDS).0), after.0),
            // Before all of them.
            None => (-1, [0; 16]),
        };
        let params = (
            self.pool,
            Size::MOST_KEYS.cast_signed(),
            shard,
            worker,
            page.script
                .as_ref()
                .map(|script| script.as_bytes().to_vec()),
            rows::limit(page.size()),
        );
        let read = |row: &Row<'_>| row.stored_worker().map(Some);
        let work = move |connection: &mut Connection| fetch(connection, WORKERS, params, read);
        self.read(&self.readers, work).await
    }

    async fn worker(&self, worker: WorkerId) -> Result<Option<StoredWorker>> {
        let shard = worker.shard(SHARDS).0;
        let params = (self.pool, Size::MOST_KEYS.cast_signed(), shard, worker.0);
        let read = |row: &Row<'_>| row.stored_worker().map(Some);
        let work = move |connection: &mut Connection| {
            let found: Vec<StoredWorker> = fetch(connection, WORKER, params, read)?;
            Ok(found.into_iter().next())
        };
        self.read(&self.readers, work).await
    }

    async fn count_workers(&self) -> Result<u64> {
        const SQL: &str = "SELECT count(*) FROM worker WHERE pool = ?1";
        let pool = self.pool;
        let count = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(SQL)?;
            Ok(statement.query_row([pool], |row| row.get::<_, i64>(0))?)
        };
        Ok(self.read(&self.readers, count).await?.cast_unsigned())
    }

    async fn delete_all(&self, pod: PodId) -> Result<bool> {
        const HELD: &str = "SELECT count(*) FROM shard WHERE pool = ?1 AND owner = ?2";
        let pool = self.pool;
        let work = move |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let held: u32 = transaction.query_row(HELD, (pool, blob(pod)), |row| row.get(0))?;
            if held != SHARDS {
                return Ok(false); // and dropping the transaction ends it
            }
            for table in ["kv", "worker", "shard", "pod", "pool"] {
                let sql = format!("DELETE FROM {table} WHERE pool = ?1");
                transaction.execute(&sql, [pool])?;
            }
            transaction.commit()?;
            Ok(true)
        };
        self.write(work).await
    }
}

/// A fence as statements want it: pool, shard, owner and epoch.
fn of_fence(pool: i64, fence: Fence) -> (i64, u32, [u8; 16], i64) {
    let epoch = rows::epoch(fence.epoch);
    (pool, fence.shard.0, blob(fence.pod), epoch)
}

#[cfg(test)]
mod tests;
