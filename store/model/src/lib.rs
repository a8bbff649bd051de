//! The store as a model: what its statements do on Postgres, in memory and step by step.
//!
//! Guarantees what the SQL in `store/src/postgres` does, and no more: a statement reads as of its start, waits for the
//! locks of the fences it changes, keeps them to its end, and looks at the locked rows once more. Whoever drives it
//! decides when each step happens: [`Database::begin`], [`Database::lock`], [`Database::finish`]. There is no clock,
//! no randomness and no thread in it. The conformance suite of the store runs on it as on the databases.

mod apply;
mod plan;
mod statement;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use portside_core::ids::{Epoch, Fence, PodId, ShardId};

pub use statement::{Loaded, Reply, Statement};
use tables::Tables;

/// A row that statements lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// A fence.
    Shard(ShardId),
    /// A lease.
    Pod(PodId),
    /// The version of the shard map.
    Map,
}

/// A statement in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementId(u64);

/// How far a statement has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It has every lock it needs: [`Database::finish`] ends it.
    Ready,
    /// Another statement has this row locked.
    Waits(Row),
}

/// The data of one application, and the statements in flight on it.
#[derive(Debug)]
pub struct Database {
    tables: Arc<Tables>,
    running: BTreeMap<StatementId, Running>,
    locks: BTreeMap<Row, StatementId>,
    begun: u64,
}

#[derive(Debug)]
struct Running {
    statement: Statement,
    /// The tables as of its start.
    snapshot: Arc<Tables>,
    /// The locks it still needs, in its order.
    wanted: Vec<Row>,
    held: Vec<Row>,
}

impl Running {
    /// Whether it still wants the lock of a row, given those that it has.
    fn wants(&self, row: Row, now: &Tables) -> bool {
        match row {
            Row::Shard(shard) => {
                self.held.len() < self.statement.most_shards()
                    && plan::wants(&self.statement, &self.snapshot, now, shard)
            }
            Row::Map => self.held.iter().any(|it| matches!(it, Row::Shard(_))),
            Row::Pod(_) => true,
        }
    }
}

/// Everything that was committed at some moment.
#[derive(Debug, Clone)]
pub struct Dump(Arc<Tables>);

impl Database {
    /// An application that nobody owns and that has nothing stored, with `shards` shards.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        Self {
            tables: Arc::new(Tables::new(shards)),
            running: BTreeMap::new(),
            locks: BTreeMap::new(),
            begun: 0,
        }
    }

    /// How many shards there are: none once the application is deleted.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.tables.shards.len()
    }

    /// Starts a statement: from now on it reads what has been committed by now. It holds no lock yet.
    pub fn begin(&mut self, statement: Statement) -> StatementId {
        self.begun += 1;
        let id = StatementId(self.begun);
        let mut wanted = plan::locks(&statement, &self.tables);
        wanted.reverse();
        let running = Running {
            statement,
            snapshot: self.tables.clone(),
            wanted,
            held: Vec::new(),
        };
        self.running.insert(id, running);
        id
    }

    /// Takes the locks that a statement needs, until one is another's. `None` for a statement that is not in flight.
    ///
    /// Who waits has no place in a queue: the first that asks again gets the lock.
    pub fn lock(&mut self, id: StatementId) -> Option<Progress> {
        let running = self.running.get_mut(&id)?;
        while let Some(&row) = running.wanted.last() {
            let is_wanted = running.wants(row, &self.tables);
            let is_others = self.locks.get(&row).is_some_and(|holder| *holder != id);
            if is_wanted && is_others && !running.statement.skips_locked(row) {
                return Some(Progress::Waits(row));
            }
            if is_wanted && !is_others {
                self.locks.insert(row, id);
                running.held.push(row);
            }
            running.wanted.pop();
        }
        Some(Progress::Ready)
    }

    /// Ends a statement: what it changes is committed and durable, and its locks are free.
    /// `None`, and nothing happens, while it waits for a lock or if it is not in flight.
    pub fn finish(&mut self, id: StatementId) -> Option<Reply> {
        if self.lock(id)? != Progress::Ready {
            return None;
        }
        let running = self.running.remove(&id)?;
        self.locks.retain(|_, holder| *holder != id);
        Some(apply::apply(
            &mut self.tables,
            running.statement,
            running.snapshot,
            &running.held,
        ))
    }

    /// Rolls a statement back, as the loss of its connection does before it has ended.
    pub fn abort(&mut self, id: StatementId) {
        self.running.remove(&id);
        self.locks.retain(|_, holder| *holder != id);
    }

    /// Runs a statement from its start to its end. `None` if it would wait for another.
    pub fn run(&mut self, statement: Statement) -> Option<Reply> {
        let id = self.begin(statement);
        let reply = self.finish(id);
        if reply.is_none() {
            self.abort(id);
        }
        reply
    }

    /// Who may write a shard now; nobody if it has no owner.
    #[must_use]
    pub fn fence(&self, shard: ShardId) -> Option<Fence> {
        let row = self.tables.shard(shard)?;
        row.owner.map(|pod| Fence {
            pod,
            shard,
            epoch: Epoch(row.epoch),
        })
    }

    /// The statements in flight, in the order of their starts.
    pub fn in_flight(&self) -> impl Iterator<Item = (StatementId, &Statement)> {
        self.running
            .iter()
            .map(|(id, running)| (*id, &running.statement))
    }

    /// The database crashes and is back: statements in flight are rolled back.
    pub fn crash(&mut self) {
        self.running.clear();
        self.locks.clear();
    }

    /// Everything committed by now.
    #[must_use]
    pub fn dump(&self) -> Dump {
        Dump(self.tables.clone())
    }

    /// Puts an earlier state in the place of this one. Statements in flight are lost.
    pub fn restore(&mut self, dump: &Dump) {
        self.running.clear();
        self.locks.clear();
        self.tables = dump.0.clone();
    }
}
