//! Group commit: what queues while a statement is in flight becomes the next statement.
//!
//! Each lane has one statement in flight, and a shard always uses the same lane. So the commits of a shard become durable
//! in the order of their submission, and a batch is as large as the database is slow; there are no timers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use portside_core::ids::{Epoch, ShardId};
use tokio::sync::{mpsc, oneshot};

use crate::{Commit, Error, Outcome, Result, Store};

/// A statement takes no more commits than this,
const MAX_COMMITS: usize = 1_000;
/// and is closed once it holds this many bytes of keys and values.
const MAX_BYTES: usize = 8 << 20;

/// The lanes of one process. Dropping it ends them once they are empty.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<mpsc::UnboundedSender<Item>>,
}

#[derive(Debug)]
enum Item {
    Commit(Commit, oneshot::Sender<Result<Outcome>>),
    /// Answered when all that came before is.
    Flush(oneshot::Sender<()>),
}

/// What will become of a submitted commit. Dropping it does not take the commit back.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Outcome>>);

impl Future for Pending {
    type Output = Result<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| Err(ended())))
    }
}

fn ended() -> Error {
    Error::Database("the process ended before the commit was answered".into())
}

impl Lanes {
    /// Starts as many lanes as the store likes.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn new(store: &Arc<dyn Store>) -> Self {
        let start = |_| {
            let (queue, items) = mpsc::unbounded_channel();
            let lane = Lane {
                store: store.clone(),
                items,
                failed: HashMap::new(),
            };
            tokio::spawn(lane.run());
            queue
        };
        Self {
            lanes: (0..store.lanes().max(1)).map(start).collect(),
        }
    }

    /// Queues a commit. The order of calls is the order of commits of a shard.
    ///
    /// Once a commit of a shard has failed with an [`Error`], every later one of that epoch fails too, so that nothing
    /// is durable that builds on something lost: see [`Store::advance`].
    #[must_use = "the commit is not durable before this says so"]
    pub fn submit(&self, commit: Commit) -> Pending {
        let lane = commit.fence.shard.0 as usize % self.lanes.len();
        let (answer, pending) = oneshot::channel();
        // A lane that is gone drops the sender, which is the answer.
        let _ = self.lanes[lane].send(Item::Commit(commit, answer));
        Pending(pending)
    }

    /// Returns when everything submitted before has been answered.
    pub async fn flush(&self) {
        let queued: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| {
                let (done, flushed) = oneshot::channel();
                let _ = lane.send(Item::Flush(done));
                flushed
            })
            .collect();
        futures::future::join_all(queued).await;
    }
}

struct Lane {
    store: Arc<dyn Store>,
    items: mpsc::UnboundedReceiver<Item>,
    /// Shards with a commit of unknown fate, and the epoch of that commit.
    failed: HashMap<ShardId, (Epoch, Error)>,
}

/// What one statement takes along.
#[derive(Default)]
struct Batch {
    commits: Vec<Commit>,
    answers: Vec<oneshot::Sender<Result<Outcome>>>,
    flushes: Vec<oneshot::Sender<()>>,
    bytes: usize,
}

impl Lane {
    async fn run(mut self) {
        while let Some(first) = self.items.recv().await {
            let mut batch = Batch::default();
            self.take(&mut batch, first);
            while batch.commits.len() < MAX_COMMITS && batch.bytes < MAX_BYTES {
                let Ok(item) = self.items.try_recv() else {
                    break;
                };
                self.take(&mut batch, item);
            }
            self.send(batch).await;
        }
    }

    fn take(&mut self, batch: &mut Batch, item: Item) {
        match item {
            Item::Flush(done) => batch.flushes.push(done),
            Item::Commit(commit, answer) => {
                let fence = commit.fence;
                if let Some((epoch, error)) = self.failed.get(&fence.shard) {
                    if fence.epoch <= *epoch {
                        let _ = answer.send(Err(error.clone()));
                        return;
                    }
                    self.failed.remove(&fence.shard);
                }
                batch.bytes += size(&commit);
                batch.commits.push(commit);
                batch.answers.push(answer);
            }
        }
    }

    async fn send(&mut self, batch: Batch) {
        if !batch.commits.is_empty() {
            match self.store.commit(&batch.commits).await {
                Ok(outcomes) => {
                    for (answer, outcome) in batch.answers.into_iter().zip(outcomes) {
                        // Nobody may be waiting any more.
                        let _ = answer.send(Ok(outcome));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, commits = batch.commits.len(), "commit failed");
                    for (commit, answer) in batch.commits.iter().zip(batch.answers) {
                        let fence = commit.fence;
                        self.failed
                            .insert(fence.shard, (fence.epoch, error.clone()));
                        let _ = answer.send(Err(error.clone()));
                    }
                }
            }
        }
        for done in batch.flushes {
            let _ = done.send(());
        }
    }
}

fn size(commit: &Commit) -> usize {
    let writes = commit.batch.writes.iter();
    writes
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()))
        .sum()
}

#[cfg(test)]
mod tests;
