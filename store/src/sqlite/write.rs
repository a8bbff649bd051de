//! The transaction behind `commit`.

use rusqlite::{CachedStatement, Connection, OptionalExtension, TransactionBehavior};

use super::blob;
use crate::rows::{self, Columns};
use crate::{Commit, Outcome, Result};
use portside_core::fold::{WorkerWrites, fold};

const HELD: &str =
    "SELECT 1 FROM shard WHERE pool = ?1 AND shard = ?2 AND owner = ?3 AND epoch = ?4";
const CLEAR: &str = "DELETE FROM kv WHERE pool = ?1 AND shard = ?2 AND worker = ?3";
const DELETE: &str = "DELETE FROM kv WHERE pool = ?1 AND shard = ?2 AND worker = ?3 AND key = ?4";
const PUT: &str = "INSERT INTO kv (pool, shard, worker, key, value) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT DO UPDATE SET value = excluded.value";
const FIND_WORKER: &str = "SELECT scheduled, retries, due FROM worker \
    WHERE pool = ?1 AND shard = ?2 AND worker = ?3";
const KEEP_WORKER: &str = "INSERT INTO worker \
    (pool, shard, worker, script, name, scheduled, retries, due) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE \
    SET scheduled = excluded.scheduled, retries = excluded.retries, due = excluded.due";
const DROP_WORKER: &str = "DELETE FROM worker WHERE pool = ?1 AND shard = ?2 AND worker = ?3";
const HAS_KEYS: &str = "SELECT 1 FROM kv WHERE pool = ?1 AND shard = ?2 AND worker = ?3 LIMIT 1";

/// Writes what the fences allow, in one transaction: one flush, however many commits.
pub(super) fn write(
    connection: &mut Connection,
    pool: i64,
    commits: &[Commit],
) -> Result<Vec<Outcome>> {
    let commits: Vec<&Commit> = commits.iter().collect();
    let folded = fold(&commits);
    // Immediate: nobody else can change a fence between its check and the end.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(folded.fences.len());
    {
        let mut held = transaction.prepare_cached(HELD)?;
        for fence in &folded.fences {
            let (shard, epoch) = (fence.shard.0, rows::epoch(fence.epoch));
            outcomes.push(match held.exists((pool, shard, blob(fence.pod), epoch))? {
                true => Outcome::Committed,
                false => Outcome::Fenced,
            });
        }
        let mut statements = Statements::prepare(&transaction)?;
        for worker in &folded.workers {
            if outcomes[worker.fence] == Outcome::Committed {
                let shard = folded.fences[worker.fence].shard.0;
                let row = (pool, shard, worker.id.0);
                statements.write_keys(worker, row)?;
                statements.write_worker(worker, row)?;
            }
        }
    }
    transaction.commit()?;
    Ok(folded.fence_of.iter().map(|&it| outcomes[it]).collect())
}

/// A worker's pool, shard and id.
type Row = (i64, u32, [u8; 16]);

/// Found once for a transaction, not for each row.
struct Statements<'c> {
    clear: CachedStatement<'c>,
    delete: CachedStatement<'c>,
    put: CachedStatement<'c>,
    find_worker: CachedStatement<'c>,
    keep_worker: CachedStatement<'c>,
    drop_worker: CachedStatement<'c>,
    has_keys: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> Result<Self> {
        Ok(Self {
            clear: connection.prepare_cached(CLEAR)?,
            delete: connection.prepare_cached(DELETE)?,
            put: connection.prepare_cached(PUT)?,
            find_worker: connection.prepare_cached(FIND_WORKER)?,
            keep_worker: connection.prepare_cached(KEEP_WORKER)?,
            drop_worker: connection.prepare_cached(DROP_WORKER)?,
            has_keys: connection.prepare_cached(HAS_KEYS)?,
        })
    }

    fn write_keys(&mut self, worker: &WorkerWrites<'_>, row: Row) -> Result<()> {
        let (pool, shard, id) = row;
        let writes = &worker.writes;
        if writes.clear {
            self.clear.execute(row)?;
        }
        for key in &writes.deletes {
            self.delete.execute((pool, shard, id, key.as_bytes()))?;
        }
        for (key, value) in &writes.puts {
            let entry = (pool, shard, id, key.as_bytes(), &value[..]);
            self.put.execute(entry)?;
        }
        Ok(())
    }

    /// A worker has a row exactly while it has a key or an alarm.
    fn write_worker(&mut self, worker: &WorkerWrites<'_>, row: Row) -> Result<()> {
        let (pool, shard, id) = row;
        let writes = &worker.writes;
        let found = self.find_worker.query_row(row, |row| Ok(row.alarm()));
        let found = found.optional()?.transpose()?;
        let stored = found.flatten();
        let alarm = writes.alarm.apply(stored);
        let kept = alarm.is_some()
            || !writes.puts.is_empty()
            || (!writes.clear && self.has_keys.exists(row)?);
        if !kept && found.is_some() {
            self.drop_worker.execute(row)?;
        }
        if kept && (found.is_none() || alarm != stored) {
            self.keep_worker.execute((
                pool,
                shard,
                id,
                worker.key.script().as_bytes(),
                worker.key.name().as_bytes(),
                alarm.map(|alarm| alarm.scheduled),
                alarm.map(|alarm| alarm.retries),
                alarm.map(|alarm| alarm.due),
            ))?;
        }
        Ok(())
    }
}
