//! The rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use portside_core::alarm::Alarm;
use portside_core::ids::{Epoch, Fence, PodId, ShardId, WorkerId, WorkerKey};
use portside_core::ownership::members::Peer;
use portside_core::write::{Value, WriteBatch};

#[derive(Debug, Clone)]
pub(crate) struct Tables {
    /// By number.
    pub shards: Vec<Shard>,
    /// Grows with each change of owners.
    pub map_version: u64,
    /// A pod that was declared dead, or that left, has no row.
    pub pods: BTreeMap<PodId, Pod>,
    /// Those with a key or an alarm.
    pub workers: BTreeMap<(ShardId, WorkerId), Arc<Worker>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shard {
    pub owner: Option<PodId>,
    pub epoch: u64,
    pub seq: u64,
    /// The version of the map at which the owner changed.
    pub changed: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Pod {
    /// What people call it.
    pub name: String,
    /// The number of the last renewal.
    pub renewed: u64,
    /// What it said with it.
    pub wants: bool,
    /// What it has announced.
    pub peer: Option<Peer>,
}

#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub key: WorkerKey,
    pub entries: BTreeMap<String, Value>,
    pub alarm: Option<Alarm>,
}

impl Tables {
    pub fn new(shards: u32) -> Self {
        Self {
            shards: vec![Shard::default(); shards as usize],
            map_version: 0,
            pods: BTreeMap::new(),
            workers: BTreeMap::new(),
        }
    }

    pub fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.shards.get(shard.0 as usize)
    }

    pub fn holds(&self, fence: Fence) -> bool {
        self.shard(fence.shard)
            .is_some_and(|it| it.owner == Some(fence.pod) && Epoch(it.epoch) == fence.epoch)
    }

    /// The shards of which `keep` is true.
    pub fn shards_where(&self, keep: impl Fn(&Shard) -> bool) -> impl Iterator<Item = ShardId> {
        (0..)
            .map(ShardId)
            .zip(&self.shards)
            .filter(move |(_, shard)| keep(shard))
            .map(|(id, _)| id)
    }

    /// Gives shards to another owner, or to none, each in a new epoch.
    pub fn assign(
        &mut self,
        shards: impl IntoIterator<Item = ShardId>,
        owner: Option<PodId>,
    ) -> Vec<(ShardId, Epoch)> {
        let version = self.map_version + 1;
        let mut assigned = vec![];
        for id in shards {
            if let Some(shard) = self.shards.get_mut(id.0 as usize) {
                shard.owner = owner;
                shard.epoch += 1;
                shard.changed = version;
                assigned.push((id, Epoch(shard.epoch)));
            }
        }
        if !assigned.is_empty() {
            self.map_version = version;
        }
        assigned
    }

    pub fn write(&mut self, shard: ShardId, key: &WorkerKey, batch: &WriteBatch) {
        let id = (shard, key.id());
        let worker = self.workers.entry(id).or_insert_with(|| {
            Arc::new(Worker {
                key: key.clone(),
                entries: BTreeMap::new(),
                alarm: None,
            })
        });
        let worker = Arc::make_mut(worker);
        if batch.clear {
            worker.entries.clear();
        }
        for (key, value) in &batch.writes {
            match value {
                Some(value) => worker.entries.insert(key.clone(), value.clone()),
                None => worker.entries.remove(key),
            };
        }
        worker.alarm = portside_core::alarm::apply(worker.alarm, batch.alarm);
        if worker.entries.is_empty() && worker.alarm.is_none() {
            self.workers.remove(&id);
        }
    }
}
