//! What an instance needs from its surroundings.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use portside_core::ids::WorkerKey;
use portside_core::keys::KeyRange;
use portside_core::write::{Value, WriteBatch};

use crate::event::{Event, PortFailure};
use crate::inbox::Inbox;
use crate::ports::LinkEnd;

/// Who an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The stateless server.
    Server,
    /// A worker.
    Worker(WorkerKey),
}

/// How loud a line of the log is, as `console`'s methods have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `console.debug`
    Debug,
    /// `console.log`, `console.info`
    Info,
    /// `console.warn`
    Warn,
    /// `console.error`, and what nobody caught
    Error,
}

/// The services behind the JavaScript surface. Every method returns at once.
pub trait Host: Send + Sync + 'static {
    /// Opens a port to a worker, waking it if it sleeps: puts [`Event::Connect`] into its inbox and returns that inbox.
    ///
    /// # Errors
    /// The worker cannot take another connection now.
    fn connect(&self, to: &WorkerKey, end: LinkEnd) -> Result<Arc<Inbox>, PortFailure>;

    /// Makes a batch durable. Batches of one worker are applied in the order of the calls.
    fn commit(&self, worker: &WorkerKey, batch: WriteBatch, ticket: CommitTicket);

    /// Reads keys from the store; absent ones are left out.
    fn read(&self, worker: &WorkerKey, keys: Vec<String>) -> Reading<BTreeMap<String, Value>>;

    /// Reads a range from the store, in the range's order.
    fn list(&self, worker: &WorkerKey, range: KeyRange) -> Reading<Vec<(String, Value)>>;

    /// Takes a line of the application's log.
    fn log(&self, source: &Identity, level: Level, text: &str);
}

/// A read on its way; the error is for the developer.
pub type Reading<T> = BoxFuture<'static, Result<T, String>>;

/// Tells an instance how its commit ended. Dropping it unused means failure.
pub struct CommitTicket {
    inbox: Arc<Inbox>,
    instance: u64,
    seq: u64,
    settled: bool,
}

impl CommitTicket {
    pub(crate) fn new(inbox: Arc<Inbox>, instance: u64, seq: u64) -> Self {
        Self {
            inbox,
            instance,
            seq,
            settled: false,
        }
    }

    /// The commit is durable, or failed for this reason.
    pub fn settle(mut self, outcome: Result<(), String>) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Result<(), String>) {
        self.settled = true;
        // A closed inbox has no reader left to tell.
        let _ = self.inbox.push(Event::Committed {
            instance: self.instance,
            seq: self.seq,
            outcome,
        });
    }
}

impl Drop for CommitTicket {
    fn drop(&mut self) {
        if !self.settled {
            self.send(Err("the store went away".to_owned()));
        }
    }
}
