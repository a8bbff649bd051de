//! Group commit: what queues while a statement is in flight becomes the next statement.
//!
//! Each lane has one statement in flight, and a shard always uses the same lane. So the commits of a shard become durable
//! in the order of their submission, and a batch is as large as the database is slow; there are no timers.
//!
//! A commit's answer is a closure that the lane calls: nobody needs a task, a channel or a future to hear it.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    waiting_bytes: Arc<AtomicUsize>,
}

enum Item {
    Commit {
        commit: Commit,
        bytes: usize,
        answer: Answer,
    },
    /// Answered when all that came before is.
    Flush(oneshot::Sender<()>),
}

/// Called exactly once: at the latest when it is dropped, by a runtime that ends.
struct Answer(Option<Box<dyn FnOnce(Result<Outcome>) + Send>>);

impl Answer {
    fn call(&mut self, result: Result<Outcome>) {
        if let Some(call) = self.0.take() {
            // Whose answer panics harms itself, not those that share its lane.
            let called = std::panic::catch_unwind(AssertUnwindSafe(|| call(result)));
            if called.is_err() {
                tracing::error!("whoever was told of a commit panicked");
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.call(Err(ended()));
    }
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
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let start = |_| {
            let (queue, items) = mpsc::unbounded_channel();
            let lane = Lane {
                store: store.clone(),
                items,
                waiting_bytes: waiting_bytes.clone(),
                failed: HashMap::new(),
            };
            tokio::spawn(lane.run());
            queue
        };
        Self {
            lanes: (0..store.lanes().max(1)).map(start).collect(),
            waiting_bytes,
        }
    }

    /// Queues a commit, as [`Self::submit_with`] does, for somebody who awaits the answer.
    #[must_use = "the commit is not durable before this says so"]
    pub fn submit(&self, commit: Commit) -> Pending {
        let (answer, pending) = oneshot::channel();
        self.submit_with(commit, move |result| {
            // Nobody may be waiting any more.
            let _ = answer.send(result);
        });
        Pending(pending)
    }

    /// Queues a commit. The order of calls is the order of commits of a shard, and of their answers.
    ///
    /// `answer` is called exactly once, as a rule on the lane's task, which does nothing else meanwhile: it hands the
    /// result on and returns. It may submit further commits. It is called before this returns, or by whoever shuts the
    /// runtime down, if the lanes have ended with their runtime.
    ///
    /// Once a commit of a shard has failed with an [`Error`], every later one of that epoch fails too, so that nothing
    /// is durable that builds on something lost: see [`Store::advance`].
    pub fn submit_with(
        &self,
        commit: Commit,
        answer: impl FnOnce(Result<Outcome>) + Send + 'static,
    ) {
        let lane = commit.fence.shard.0 as usize % self.lanes.len();
        let bytes = size(&commit);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let answer = Answer(Some(Box::new(answer)));
        let item = Item::Commit {
            commit,
            bytes,
            answer,
        };
        if self.lanes[lane].send(item).is_err() {
            // The refused item is dropped, and so answered.
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// How many bytes of keys and values are in commits that have not been answered. Nothing is refused because of it:
    /// who submits more while this is large must be slowed down by whoever takes the work in.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
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
    waiting_bytes: Arc<AtomicUsize>,
    /// Shards with a commit of unknown fate, and the epoch of that commit.
    failed: HashMap<ShardId, (Epoch, Error)>,
}

/// What one statement takes along.
#[derive(Default)]
struct Batch {
    commits: Vec<Commit>,
    answers: Vec<Answer>,
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
            Item::Commit {
                commit,
                bytes,
                mut answer,
            } => {
                let fence = commit.fence;
                if let Some((epoch, error)) = self.failed.get(&fence.shard) {
                    if fence.epoch <= *epoch {
                        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                        answer.call(Err(error.clone()));
                        return;
                    }
                    self.failed.remove(&fence.shard);
                }
                batch.bytes += bytes;
                batch.commits.push(commit);
                batch.answers.push(answer);
            }
        }
    }

    async fn send(&mut self, batch: Batch) {
        if !batch.commits.is_empty() {
            let result = self.store.commit(&batch.commits).await;
            self.waiting_bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
            match result {
                Ok(outcomes) => {
                    for (mut answer, outcome) in batch.answers.into_iter().zip(outcomes) {
                        answer.call(Ok(outcome));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, commits = batch.commits.len(), "commit failed");
                    for commit in &batch.commits {
                        let fence = commit.fence;
                        self.failed
                            .insert(fence.shard, (fence.epoch, error.clone()));
                    }
                    for mut answer in batch.answers {
                        answer.call(Err(error.clone()));
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
