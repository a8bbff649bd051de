//! The transaction behind `commit`.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;

use super::blob;
use crate::Result;
use crate::fold::{Folded, WorkerWrites};
use crate::rows::{self, Columns};

const HELD: &str =
    "SELECT 1 FROM shard WHERE pool = $1 AND shard = $2 AND owner = $3 AND epoch = $4";
const CLEAR: &str = "DELETE FROM kv WHERE pool = $1 AND shard = $2 AND worker = $3";
const DELETE: &str = "DELETE FROM kv WHERE pool = $1 AND shard = $2 AND worker = $3 AND key = $4";
const PUT: &str = "INSERT INTO kv (pool, shard, worker, key, value) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT DO UPDATE SET value = excluded.value";
const FIND_WORKER: &str = "SELECT scheduled, retries, due FROM worker \
    WHERE pool = $1 AND shard = $2 AND worker = $3";
const KEEP_WORKER: &str = "INSERT INTO worker \
    (pool, shard, worker, script, name, scheduled, retries, due) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO UPDATE \
    SET scheduled = excluded.scheduled, retries = excluded.retries, due = excluded.due";
const DROP_WORKER: &str = "DELETE FROM worker WHERE pool = $1 AND shard = $2 AND worker = $3";
const HAS_KEYS: &str = "SELECT 1 FROM kv WHERE pool = $1 AND shard = $2 AND worker = $3 LIMIT 1";

type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Writes what the fences allow, in one transaction. Says which of them held.
pub(super) async fn write(
    writer: &SqlitePool,
    pool: i64,
    folded: &Folded<'_>,
) -> Result<Vec<bool>> {
    // Immediate: nobody else can change a fence between its check and the end.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut held = Vec::with_capacity(folded.fences.len());
    for fence in &folded.fences {
        let found = sqlx::query(HELD)
            .bind(pool)
            .bind(fence.shard.0)
            .bind(blob(fence.pod))
            .bind(rows::epoch(fence.epoch))
            .fetch_optional(&mut *transaction)
            .await?;
        held.push(found.is_some());
    }
    for worker in folded.workers.iter().filter(|it| held[it.fence]) {
        let shard = folded.fences[worker.fence].shard.0;
        let of_worker = move |sql| {
            let query: Query = sqlx::query(sql).bind(pool).bind(shard);
            query.bind(worker.id.0.to_vec())
        };
        write_keys(&mut transaction, worker, of_worker).await?;
        write_worker(&mut transaction, worker, of_worker).await?;
    }
    transaction.commit().await?;
    Ok(held)
}

async fn write_keys(
    connection: &mut SqliteConnection,
    worker: &WorkerWrites<'_>,
    of_worker: impl Fn(&'static str) -> Query,
) -> Result<()> {
    let writes = &worker.writes;
    if writes.clear {
        of_worker(CLEAR).execute(&mut *connection).await?;
    }
    for key in &writes.deletes {
        let query = of_worker(DELETE).bind(key.as_bytes());
        query.execute(&mut *connection).await?;
    }
    for (key, value) in &writes.puts {
        let query = of_worker(PUT).bind(key.as_bytes()).bind(&value[..]);
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A worker has a row exactly while it has a key or an alarm.
async fn write_worker(
    connection: &mut SqliteConnection,
    worker: &WorkerWrites<'_>,
    of_worker: impl Fn(&'static str) -> Query,
) -> Result<()> {
    let writes = &worker.writes;
    let row = of_worker(FIND_WORKER)
        .fetch_optional(&mut *connection)
        .await?;
    let known = row.is_some();
    let stored = row.map_or(Ok(None), |row| row.alarm())?;
    let alarm = writes.alarm.apply(stored);
    let kept = alarm.is_some()
        || !writes.puts.is_empty()
        || (!writes.clear
            && of_worker(HAS_KEYS)
                .fetch_optional(&mut *connection)
                .await?
                .is_some());
    if !kept && known {
        of_worker(DROP_WORKER).execute(&mut *connection).await?;
    }
    if kept && (!known || alarm != stored) {
        of_worker(KEEP_WORKER)
            .bind(worker.key.script().as_bytes())
            .bind(worker.key.name().as_bytes())
            .bind(alarm.map(|alarm| alarm.scheduled))
            .bind(alarm.map(|alarm| alarm.retries))
            .bind(alarm.map(|alarm| alarm.due))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
