//! Group commit: what queues while a statement is in flight becomes the next statement.
//!
//! What a statement takes and what its answer means is decided by core's [`Lane`]; here are the queues before it, and the
//! store. A batch is as large as the database is slow; there are no timers.
//!
//! A commit's answer is a closure that the lane calls: nobody needs a task, a channel or a future to hear it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use portside_core::lane::Lane;
use portside_core::ownership::Mechanisms;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{mpsc, oneshot};

use crate::{Commit, Error, Outcome, Result, Store};

/// The lanes of one process. Dropping it ends them once they are empty.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<mpsc::UnboundedSender<Item>>,
    unanswered: Arc<Unanswered>,
    statements: Statements,
}

/// Commits that have no answer yet.
#[derive(Debug, Default)]
struct Unanswered {
    commits: AtomicUsize,
    bytes: AtomicUsize,
}

impl Unanswered {
    fn add(&self, bytes: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        self.commits.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What the lanes have sent to the store. Cloning gives another handle of the same.
#[derive(Debug, Clone)]
pub struct Statements {
    /// How long each took until it was answered, or failed, in seconds.
    pub took: Histogram,
    /// How many commits each had.
    pub commits: Histogram,
}

impl Default for Statements {
    fn default() -> Self {
        Self {
            // From half a millisecond to 33 s: a statement that is not answered is given up after 30.
            took: Histogram::new(exponential_buckets(0.000_5, 2.0, 17)),
            // From one to 1 024: there are a thousand at most.
            commits: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
        }
    }
}

enum Item {
    Commit(Commit, Waiting),
    /// Answered when all that came before is.
    Flush(oneshot::Sender<()>),
}

/// Who waits for a commit's outcome.
struct Waiting {
    bytes: usize,
    answer: Answer,
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
        let unanswered = Arc::<Unanswered>::default();
        let statements = Statements::default();
        let start = |_| {
            let (queue, items) = mpsc::unbounded_channel();
            let driver = Driver {
                store: store.clone(),
                items,
                unanswered: unanswered.clone(),
                statements: statements.clone(),
                lane: Lane::new(Mechanisms::default()),
            };
            tokio::spawn(driver.run());
            queue
        };
        Self {
            lanes: (0..store.lanes().max(1)).map(start).collect(),
            unanswered,
            statements,
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
        let bytes = commit.batch.bytes();
        self.unanswered.add(bytes);
        let answer = Answer(Some(Box::new(answer)));
        let item = Item::Commit(commit, Waiting { bytes, answer });
        if self.lanes[lane].send(item).is_err() {
            // The refused item is dropped, and so answered.
            self.unanswered.remove(bytes);
        }
    }

    /// How many bytes of keys and values are in commits that have not been answered. Nothing is refused because of it:
    /// who submits more while this is large must be slowed down by whoever takes the work in.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.unanswered.bytes.load(Ordering::Relaxed)
    }

    /// How many commits have not been answered.
    #[must_use]
    pub fn waiting_commits(&self) -> usize {
        self.unanswered.commits.load(Ordering::Relaxed)
    }

    /// What was sent to the store.
    #[must_use]
    pub fn statements(&self) -> &Statements {
        &self.statements
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

/// Drives a lane.
struct Driver {
    store: Arc<dyn Store>,
    items: mpsc::UnboundedReceiver<Item>,
    unanswered: Arc<Unanswered>,
    statements: Statements,
    lane: Lane<Waiting, Error>,
}

impl Driver {
    async fn run(mut self) {
        while let Some(first) = self.items.recv().await {
            let mut flushes = Vec::new();
            self.take(first, &mut flushes);
            while self.lane.has_room()
                && let Ok(item) = self.items.try_recv()
            {
                self.take(item, &mut flushes);
            }
            self.send().await;
            for done in flushes {
                let _ = done.send(());
            }
        }
    }

    fn take(&mut self, item: Item, flushes: &mut Vec<oneshot::Sender<()>>) {
        match item {
            Item::Flush(done) => flushes.push(done),
            Item::Commit(commit, waiting) => {
                if let Err((waiting, error)) = self.lane.add(commit, waiting) {
                    self.tell(waiting, Err(error));
                }
            }
        }
    }

    async fn send(&mut self) {
        let commits = self.lane.commits();
        if commits.is_empty() {
            return;
        }
        let began = Instant::now();
        let result = self.store.commit(commits).await;
        self.statements.took.observe(began.elapsed().as_secs_f64());
        self.statements.commits.observe(commits.len() as f64);
        if let Err(error) = &result {
            tracing::debug!(%error, commits = commits.len(), "commit failed");
        }
        for (waiting, result) in self.lane.answered(result) {
            self.tell(waiting, result);
        }
    }

    fn tell(&self, mut waiting: Waiting, result: Result<Outcome>) {
        self.unanswered.remove(waiting.bytes);
        waiting.answer.call(result);
    }
}

#[cfg(test)]
mod tests;
