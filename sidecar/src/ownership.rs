//! Which shards this process owns, and the lease that says it is alive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId, WorkerId};
use portside_store::Store;
use tokio::time::Instant;

/// A lease is renewed this often,
const RENEW: Duration = Duration::from_millis(500);
/// and its holder judged dead when it has not been for this long.
const LEASE: Duration = Duration::from_secs(3);

/// The application's shards could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] portside_store::Error),
    /// Another process is alive and owns them.
    #[error(
        "another process runs this application on the same store: stop it, or use another store or application name"
    )]
    Taken,
}

/// The shards of this process. Everything it writes carries a fence from here.
pub struct Ownership {
    pod: PodId,
    store: Arc<dyn Store>,
    epochs: RwLock<HashMap<ShardId, Epoch>>,
    dead: AtomicBool,
}

impl Ownership {
    /// Registers this process and claims every shard, waiting for the lease of a predecessor that ended without a word.
    ///
    /// # Errors
    /// The store failed, or another live process holds some of the shards.
    pub async fn acquire(store: Arc<dyn Store>, name: &str) -> Result<Arc<Self>, Error> {
        let pod = PodId(uuid::Uuid::new_v4().as_u128());
        store.register(pod, name).await?;
        let ownership = Arc::new(Self {
            pod,
            store,
            epochs: RwLock::default(),
            dead: AtomicBool::new(false),
        });
        let renewing = tokio::spawn(ownership.clone().renew_for_ever());
        match ownership.claim_all().await {
            Ok(()) => Ok(ownership),
            Err(error) => {
                renewing.abort();
                let _ = ownership.store.release(pod).await;
                Err(error)
            }
        }
    }

    async fn claim_all(&self) -> Result<(), Error> {
        /// When each other pod was first seen with its present renewal count.
        type Seen = HashMap<PodId, (u64, Instant)>;
        let give_up = Instant::now() + LEASE * 2;
        let mut seen = Seen::new();
        loop {
            let claimed = self.store.claim(self.pod, SHARDS).await?;
            let all = {
                let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
                epochs.extend(claimed);
                epochs.len() == SHARDS as usize
            };
            if all {
                return Ok(());
            }
            for (pod, renewals) in self
                .store
                .observe()
                .await?
                .into_iter()
                .filter(|(pod, _)| *pod != self.pod)
            {
                let now = Instant::now();
                let entry = seen.entry(pod).or_insert((renewals, now));
                if entry.0 != renewals {
                    *entry = (renewals, now);
                } else if now.duration_since(entry.1) >= LEASE {
                    self.store.declare_dead(pod, renewals).await?;
                }
            }
            if Instant::now() > give_up {
                return Err(Error::Taken);
            }
            tokio::time::sleep(RENEW / 2).await;
        }
    }

    async fn renew_for_ever(self: Arc<Self>) {
        let mut last = Instant::now();
        while !self.is_dead() {
            tokio::time::sleep(RENEW).await;
            match self.store.renew(self.pod).await {
                Ok(true) => last = Instant::now(),
                Ok(false) => {
                    tracing::error!("this process was declared dead: it takes no more writes");
                    self.dead.store(true, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::warn!(%error, since = ?last.elapsed(), "the lease could not be renewed");
                }
            }
        }
    }

    /// The right to write this worker's shard; nothing if it is not ours.
    pub fn fence(&self, worker: WorkerId) -> Option<Fence> {
        if self.is_dead() {
            return None;
        }
        let shard = worker.shard(SHARDS);
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        epochs.get(&shard).map(|epoch| Fence {
            pod: self.pod,
            shard,
            epoch: *epoch,
        })
    }

    /// The shards that are ours.
    pub fn shards(&self) -> Vec<ShardId> {
        self.epochs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    /// The store refused this fence: the shard is somebody else's.
    pub fn lost(&self, fence: Fence) {
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        if epochs.get(&fence.shard) == Some(&fence.epoch) {
            epochs.remove(&fence.shard);
        }
    }

    /// After a commit of unknown fate: moves the shard to a new epoch, in which a load tells what became of it.
    pub async fn settle(&self, fence: Fence) {
        while self.fence_is_current(fence) {
            match self.store.advance(fence).await {
                Ok(Some(epoch)) => {
                    let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
                    if let Some(current) = epochs.get_mut(&fence.shard) {
                        *current = epoch.max(*current);
                    }
                }
                Ok(None) => self.lost(fence),
                Err(error) => {
                    tracing::warn!(%error, "waiting for the store");
                    tokio::time::sleep(RENEW).await;
                }
            }
        }
    }

    fn fence_is_current(&self, fence: Fence) -> bool {
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        !self.is_dead() && epochs.get(&fence.shard) == Some(&fence.epoch)
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Gives everything up, so that a successor need not wait.
    pub async fn release(&self) {
        self.dead.store(true, Ordering::Relaxed);
        if let Err(error) = self.store.release(self.pod).await {
            tracing::warn!(%error, "the shards could not be released; a successor waits for the lease to end");
        }
    }
}
