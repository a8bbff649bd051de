//! The owner of shards, as a test plays it.

use std::collections::BTreeMap;
use std::sync::Arc;

use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId, WorkerKey};
use portside_core::write::WriteBatch;

use crate::{Commit, Loaded, Outcome, Store};

/// The address of a worker.
///
/// # Panics
/// If it is not a worker's name.
#[must_use]
pub fn worker(name: &str) -> WorkerKey {
    WorkerKey::new("w.js", name).expect("a worker's name")
}

/// A batch that puts one key.
#[must_use]
pub fn put(key: &str, value: impl AsRef<[u8]>) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.write(key.to_owned(), Some(value.as_ref().into()));
    batch
}

/// A pod and the epochs of its shards.
pub struct Owner {
    /// Where the shards are.
    pub store: Arc<dyn Store>,
    /// Who owns them.
    pub pod: PodId,
    /// Those that it has claimed.
    pub epochs: BTreeMap<ShardId, Epoch>,
}

impl Owner {
    /// Claims every free shard for a registered pod.
    ///
    /// # Panics
    /// If the store fails.
    pub async fn claim(store: &Arc<dyn Store>, pod: PodId) -> Self {
        let claimed = store.claim(pod, SHARDS).await.expect("the store answers");
        Self {
            store: store.clone(),
            pod,
            epochs: claimed.into_iter().collect(),
        }
    }

    /// The right to write a worker.
    ///
    /// # Panics
    /// If its shard was not claimed.
    #[must_use]
    pub fn fence(&self, worker: &WorkerKey) -> Fence {
        let shard = worker.id().shard(SHARDS);
        Fence {
            pod: self.pod,
            shard,
            epoch: self.epochs[&shard],
        }
    }

    /// A commit of one batch.
    #[must_use]
    pub fn commit(&self, worker: &WorkerKey, batch: WriteBatch) -> Commit {
        Commit {
            fence: self.fence(worker),
            worker: worker.clone(),
            batch,
        }
    }

    /// Commits one batch.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn write(&self, worker: &WorkerKey, batch: WriteBatch) {
        let outcomes = self.store.commit(&[self.commit(worker, batch)]).await;
        assert_eq!(outcomes.expect("the store answers"), [Outcome::Committed]);
    }

    /// Everything of a worker; `None` means fenced.
    ///
    /// # Panics
    /// If the store fails.
    pub async fn load(&self, worker: &WorkerKey) -> Option<Loaded> {
        let loaded = self
            .store
            .load(self.fence(worker), worker.id(), usize::MAX, usize::MAX);
        let loaded = loaded.await.expect("the store answers");
        assert!(loaded.as_ref().is_none_or(|loaded| loaded.complete));
        loaded
    }
}
