//! Shards that are brought to rest, so that another process can have them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use portside_core::ids::{SHARDS, ShardId, WorkerKey};
use portside_worker::event::Stop;
use portside_worker::moves::take_along;
use tokio::time::timeout;

use crate::app::App;
use crate::workers::{Worker, Workers};

/// How long a worker's handlers may go on before it moves. What takes longer is cut off, and its writes so far stay.
const SETTLE: Duration = Duration::from_secs(5);

/// How long until what was cut off is durable, and gone.
const FLUSH: Duration = Duration::from_secs(10);

impl App {
    /// Brings up to so many shards to rest, those first of which the fewest workers are awake, and says which: nothing of them is
    /// awake or on its way to the store.
    pub(crate) async fn quiesce(self: Arc<Self>, count: u32) -> Vec<ShardId> {
        let awake = self.workers().by_shard();
        let mut shards = self.ownership().staying();
        let busy = |shard: &ShardId| awake.get(shard).copied().unwrap_or(0);
        shards.sort_by_key(|shard| (busy(shard), Reverse(shard.0)));
        shards.truncate(count as usize);
        self.ownership().leave(&shards);
        self.workers().leave(&shards).await;
        shards
    }
}

impl Workers {
    /// How many workers are awake in which shards.
    fn by_shard(&self) -> HashMap<ShardId, usize> {
        let mut counts = HashMap::new();
        for worker in self.all() {
            *counts.entry(worker.id.shard(SHARDS)).or_default() += 1;
        }
        counts
    }

    /// Has the workers of these shards leave for another process; nobody wakes any there any more. Returns when they are gone,
    /// and what they wrote is durable.
    async fn leave(&self, shards: &[ShardId]) {
        let shards: HashSet<ShardId> = shards.iter().copied().collect();
        let leaves = |key: &WorkerKey| shards.contains(&key.id().shard(SHARDS));
        let all_gone = || self.until(|awake| !awake.keys().any(leaves));
        let mut stop = Stop::WhenSettled;
        for patience in [SETTLE, FLUSH] {
            for worker in self.all() {
                if leaves(&worker.key) {
                    worker.inbox.leave();
                    worker.inbox.stop(stop);
                }
            }
            if timeout(patience, all_gone()).await.is_ok() {
                break;
            }
            stop = Stop::WhenFlushed;
        }
        // Another process might load what is still to be written, so it is waited for.
        all_gone().await;
        // Not before: what they have heard is known only now, and they may have accepted others.
        self.leave_sockets(leaves);
    }

    /// Takes what waits for a worker that has left, and has no instance any more, to where it is then.
    pub(crate) fn hand_on(&self, app: &Arc<App>, worker: &Arc<Worker>) {
        let along = take_along(&worker.inbox);
        worker.turns_alarm_away(app);
        self.remove(worker);
        for unheard in along {
            let opener = unheard.opening.end.peer();
            if let Some(target) = app.open_anew(&worker.key, unheard.opening) {
                if let Some(opener) = opener {
                    opener.reopened(target.clone());
                }
                for incoming in unheard.after {
                    // Who is gone needs no telling.
                    let _ = target.receive(incoming);
                }
            }
        }
    }
}
