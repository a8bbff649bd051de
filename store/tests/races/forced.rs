//! Somebody holds a lock, and the store's own statements run into it.

use std::sync::Arc;
use std::time::Duration;

use portside_core::ids::{PodId, SHARDS, WorkerKey};
use portside_core::write::WriteBatch;
use portside_store::testing::{Owner, PostgresServer, put};
use portside_store::{Outcome, Store};
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

pub struct Race {
    pub store: Arc<dyn Store>,
    pub owner: Owner,
    pub it: WorkerKey,
    /// The one with the lock.
    pub holder: PgConnection,
    /// Sees who waits.
    watcher: PgConnection,
}

impl Race {
    pub async fn new() -> Self {
        let url = PostgresServer::shared().database().await;
        let store = portside_store::open(&url, "race").await.unwrap();
        let owner = claim(&store).await;
        let it = WorkerKey::new("w.js", "a").unwrap();
        owner.write(&it, put("count", "0")).await;
        Self {
            holder: PgConnection::connect(&url).await.unwrap(),
            watcher: PgConnection::connect(&url).await.unwrap(),
            store,
            owner,
            it,
        }
    }

    /// Locks the fence of our worker's shard, as somebody does who writes it.
    pub async fn lock_fence(&mut self) {
        self.holder.execute("BEGIN").await.unwrap();
        sqlx::query("UPDATE portside.shard SET seq = seq + 1 WHERE shard = $1")
            .bind(self.it.id().shard(SHARDS).0.cast_signed())
            .execute(&mut self.holder)
            .await
            .unwrap();
    }

    /// Locks what is stored: a commit takes its fence, and then stops.
    pub async fn lock_rows(&mut self) {
        self.holder.execute("BEGIN").await.unwrap();
        let rows = "SELECT FROM portside.kv FOR UPDATE";
        self.holder.execute(rows).await.unwrap();
    }

    /// Returns once this many statements of the store wait for locks.
    pub async fn waiting(&mut self, statements: i64) {
        const WAITING: &str = "SELECT count(*) FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let watching = async {
            let mut count = 0_i64;
            while count < statements {
                let query = sqlx::query_scalar(WAITING);
                count = query.fetch_one(&mut self.watcher).await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), watching).await;
        waited.expect("the statements wait for locks");
    }

    /// Commits in the background.
    pub fn commit(&self, batch: WriteBatch) -> tokio::task::JoinHandle<Vec<Outcome>> {
        let (store, commit) = (self.store.clone(), self.owner.commit(&self.it, batch));
        tokio::spawn(async move { store.commit(&[commit]).await.unwrap() })
    }
}

/// A new pod with every free shard.
pub async fn claim(store: &Arc<dyn Store>) -> Owner {
    let pod = PodId(Uuid::new_v4().as_u128());
    store.register(pod, "racer").await.unwrap();
    Owner::claim(store, pod).await
}
