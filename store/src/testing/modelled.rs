//! The model of the store as a [`Store`]: every call runs to its end at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use portside_core::fold::Written;
use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId, WorkerId};
use portside_core::keys::KeyRange;
use portside_core::ownership::Member;
use portside_core::ownership::members::{MapChanges, MapVersion, Membership, Peer};
use portside_core::write::Value;
use portside_store_model::{Database, Reply, Statement};

use crate::{Commit, DueAlarm, Error, Loaded, Outcome, Result, Store, StoredWorker, WorkerPage};

/// One application in a [`Database`] of the model. Clones share it.
#[derive(Debug, Clone)]
pub struct Modelled(Arc<Mutex<Database>>);

impl Default for Modelled {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Database::new(SHARDS))))
    }
}

impl Modelled {
    /// How many shards there are: none once the application is deleted.
    #[must_use]
    pub fn shards(&self) -> usize {
        let database = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        database.shards()
    }

    async fn run(&self, statement: Statement) -> Result<Reply> {
        // As every statement does on a database: others run meanwhile.
        tokio::task::yield_now().await;
        let mut database = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = database.run(statement);
        reply.ok_or_else(|| Error::Database("a statement waits for another".into()))
    }
}

fn unexpected<T>(reply: Reply) -> Result<T> {
    Err(Error::Database(format!("the model answered {reply:?}")))
}

#[async_trait]
impl Store for Modelled {
    fn lanes(&self) -> usize {
        1
    }

    async fn register(&self, pod: PodId, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.run(Statement::Register { pod, name }).await.map(drop)
    }

    async fn renew(&self, pod: PodId, number: u64, wants: bool) -> Result<bool> {
        match self.run(Statement::Renew { pod, number, wants }).await? {
            Reply::Is(alive) => Ok(alive),
            other => unexpected(other),
        }
    }

    async fn observe(&self) -> Result<Vec<Member>> {
        match self.run(Statement::Observe).await? {
            Reply::Pods(pods) => Ok(pods),
            other => unexpected(other),
        }
    }

    async fn announce(&self, pod: PodId, peer: &Peer) -> Result<bool> {
        let peer = peer.clone();
        match self.run(Statement::Announce { pod, peer }).await? {
            Reply::Is(alive) => Ok(alive),
            other => unexpected(other),
        }
    }

    async fn members(&self) -> Result<Membership> {
        match self.run(Statement::Members).await? {
            Reply::Membership(membership) => Ok(membership),
            other => unexpected(other),
        }
    }

    async fn shard_map(&self, since: Option<MapVersion>) -> Result<MapChanges> {
        match self.run(Statement::ShardMap { since }).await? {
            Reply::Changes(changes) => Ok(changes),
            other => unexpected(other),
        }
    }

    async fn declare_dead(&self, pod: PodId, seen: u64) -> Result<bool> {
        match self.run(Statement::DeclareDead { pod, seen }).await? {
            Reply::Is(dead) => Ok(dead),
            other => unexpected(other),
        }
    }

    async fn claim(&self, pod: PodId, limit: u32) -> Result<Vec<(ShardId, Epoch)>> {
        match self.run(Statement::Claim { pod, limit }).await? {
            Reply::Shards(shards) => Ok(shards),
            other => unexpected(other),
        }
    }

    async fn owned(&self, pod: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        match self.run(Statement::Owned { pod }).await? {
            Reply::Shards(shards) => Ok(shards),
            other => unexpected(other),
        }
    }

    async fn hand_over(&self, fences: &[Fence], to: PodId) -> Result<Vec<(ShardId, Epoch)>> {
        let fences = fences.to_vec();
        match self.run(Statement::HandOver { fences, to }).await? {
            Reply::Shards(shards) => Ok(shards),
            other => unexpected(other),
        }
    }

    async fn release_shards(&self, fences: &[Fence]) -> Result<()> {
        let fences = fences.to_vec();
        let release = Statement::ReleaseShards { fences };
        self.run(release).await.map(drop)
    }

    async fn release(&self, pod: PodId) -> Result<()> {
        self.run(Statement::Release { pod }).await.map(drop)
    }

    async fn advance(&self, fence: Fence) -> Result<Option<Epoch>> {
        match self.run(Statement::Advance { fence }).await? {
            Reply::Epoch(epoch) => Ok(epoch),
            other => unexpected(other),
        }
    }

    async fn load(
        &self,
        fence: Fence,
        worker: WorkerId,
        max_keys: usize,
        max_bytes: usize,
    ) -> Result<Option<Loaded>> {
        let load = Statement::Load {
            fence,
            worker,
            max_keys,
            max_bytes,
        };
        match self.run(load).await? {
            Reply::Loaded(loaded) => Ok(loaded.map(|loaded| Loaded {
                entries: loaded.entries,
                complete: loaded.complete,
                alarm: loaded.alarm,
            })),
            other => unexpected(other),
        }
    }

    async fn get(
        &self,
        shard: ShardId,
        worker: WorkerId,
        keys: &[String],
    ) -> Result<BTreeMap<String, Value>> {
        let keys = keys.to_vec();
        match self
            .run(Statement::Get {
                shard,
                worker,
                keys,
            })
            .await?
        {
            Reply::Entries(entries) => Ok(entries.into_iter().collect()),
            other => unexpected(other),
        }
    }

    async fn list(
        &self,
        shard: ShardId,
        worker: WorkerId,
        range: &KeyRange,
    ) -> Result<Vec<(String, Value)>> {
        let range = range.clone();
        match self
            .run(Statement::List {
                shard,
                worker,
                range,
            })
            .await?
        {
            Reply::Entries(entries) => Ok(entries),
            other => unexpected(other),
        }
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>> {
        let commits = commits.to_vec();
        let written = match self.run(Statement::Commit { commits }).await? {
            Reply::Written(written) => written,
            other => return unexpected(other),
        };
        let outcome = |written| match written {
            Written::Committed => Ok(Outcome::Committed),
            Written::Fenced => Ok(Outcome::Fenced),
            Written::Again => Err(Error::Database("another commit got in between".into())),
        };
        written.into_iter().map(outcome).collect()
    }

    async fn alarms(
        &self,
        shards: &[ShardId],
        after: Option<(i64, WorkerId)>,
        until: i64,
        limit: usize,
    ) -> Result<Vec<DueAlarm>> {
        let shards = shards.to_vec();
        match self
            .run(Statement::Alarms {
                shards,
                after,
                until,
                limit,
            })
            .await?
        {
            Reply::Alarms(due) => {
                let due = due.into_iter();
                Ok(due
                    .map(|(worker, alarm)| DueAlarm { worker, alarm })
                    .collect())
            }
            other => unexpected(other),
        }
    }

    async fn workers(&self, page: &WorkerPage) -> Result<Vec<StoredWorker>> {
        let page = page.clone();
        match self.run(Statement::Workers { page }).await? {
            Reply::Workers(workers) => Ok(workers),
            other => unexpected(other),
        }
    }

    async fn worker(&self, worker: WorkerId) -> Result<Option<StoredWorker>> {
        match self.run(Statement::Worker { worker }).await? {
            Reply::Workers(mut workers) => Ok(workers.pop()),
            other => unexpected(other),
        }
    }

    async fn count_workers(&self) -> Result<u64> {
        match self.run(Statement::CountWorkers).await? {
            Reply::Count(count) => Ok(count),
            other => unexpected(other),
        }
    }

    async fn delete_all(&self, pod: PodId) -> Result<bool> {
        match self.run(Statement::DeleteAll { pod }).await? {
            Reply::Is(deleted) => Ok(deleted),
            other => unexpected(other),
        }
    }
}
