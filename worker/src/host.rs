//! What an instance needs from its surroundings.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use portside_core::alarm::Alarm;
use portside_core::ids::WorkerKey;
use portside_core::keys::KeyRange;
use portside_core::objects::ObjectId;
use portside_core::write::{Value, WriteBatch};
use portside_exchange::{REQUEST_ID, Request};

use crate::event::{Control, Incoming};
use crate::inbox::Inbox;
use crate::link::{Failure, Opening, Receive};

/// Who an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The stateless server.
    Server,
    /// A worker.
    Worker(WorkerKey),
    /// A Durable Object.
    Object(Object),
}

/// A Durable Object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Where it is.
    pub address: WorkerKey,
    /// Its class, by the name that the code exports.
    pub class: Arc<str>,
    /// Its id.
    pub id: ObjectId,
    /// What its id comes from, if whoever woke it knew.
    pub name: Option<Arc<str>>,
}

/// `Class(name)`, or with the id where that comes from no name.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}({name})", self.class),
            None => write!(f, "{}({})", self.class, self.id),
        }
    }
}

impl fmt::Display for Identity {
    /// `the server`, or which worker or object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("the server"),
            Self::Worker(key) => write!(f, "{key}"),
            Self::Object(object) => write!(f, "{object}"),
        }
    }
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

/// Where links are opened. Every method returns at once.
pub trait Fabric: Send + Sync + 'static {
    /// Opens a link: gives the far end to the worker, waking it if it sleeps, and returns who reads there.
    ///
    /// Nothing if the worker cannot take it now; the opener then hears a failure and a close on the link, as it would if
    /// the link broke later.
    fn open(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>>;

    /// Gives something to the worker, waking it if it sleeps.
    ///
    /// # Errors
    /// The worker cannot take it now, for this reason.
    fn deliver(&self, to: &WorkerKey, incoming: Incoming) -> Result<(), Failure>;
}

/// What a request is called in logs from the gateway on: the value of its `x-request-id` header.
pub type RequestName = Arc<str>;

/// What a request is called, if it says so.
#[must_use]
pub fn name_of(request: &Request) -> Option<RequestName> {
    let name = request.headers.get(REQUEST_ID)?;
    name.to_str().ok().map(Into::into)
}

/// A line of an application's log.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// Who wrote it.
    pub source: &'a Identity,
    /// How loud it is.
    pub level: Level,
    /// What it says.
    pub text: &'a str,
    /// The request in whose course it was written, as far as that is known.
    pub request: Option<&'a str>,
}

/// Where an instance's log goes.
pub trait Log: Send + Sync + 'static {
    /// Takes a line.
    fn log(&self, line: LogLine<'_>);
}

/// One worker's durable state, for as long as one instance of it runs. Every method returns at once.
pub trait Ledger: Send + Sync + 'static {
    /// Makes a batch durable, after those before. `request` is one in whose course something of it was written, for logs.
    fn commit(&self, batch: WriteBatch, request: Option<RequestName>, ticket: CommitTicket);

    /// Reads keys from the store; absent ones are left out.
    fn read(&self, keys: Vec<String>) -> Reading<BTreeMap<String, Value>>;

    /// Reads a range from the store, in the range's order.
    fn list(&self, range: KeyRange) -> Reading<Vec<(String, Value)>>;

    /// Whether the lease covers this moment: nobody else can own the worker now. Asked for each output. When it turns true
    /// again, [`Control::Renewed`] tells the instance.
    fn is_leased(&self) -> bool;

    /// The instance's module is evaluated.
    fn loaded(&self) {}

    /// Whether the right under which the state was loaded still holds: nothing else is accepted from the instance, so that it
    /// ends. Asked before each turn. When it turns false, [`Control::Renewed`] tells the instance.
    fn is_owned(&self) -> bool;

    /// An alarm that was due is not the worker's alarm any more, and was not handled.
    fn alarm_outdated(&self, alarm: Alarm);
}

/// A ledger did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The worker is another process's: nothing was written.
    #[error("another process owns the worker now")]
    Fenced,
    /// The store failed. What became of a commit only the store can say.
    #[error("{0}")]
    Store(String),
    /// There is no store any more, for the application is gone. What became of a commit is not known.
    #[error("the store went away")]
    Gone,
    /// It is not a worker's: nothing was written, and nothing is there to read.
    #[error("a server has no storage")]
    NoStorage,
}

/// A read on its way.
pub type Reading<T> = BoxFuture<'static, Result<T, Error>>;

/// Tells an instance how its commit ended. Dropping it unused means [`Error::Gone`].
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
    pub fn settle(mut self, outcome: Result<(), Error>) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Result<(), Error>) {
        self.settled = true;
        self.inbox.tell(Control::Committed {
            instance: self.instance,
            seq: self.seq,
            outcome,
        });
    }
}

impl Drop for CommitTicket {
    fn drop(&mut self) {
        if !self.settled {
            self.send(Err(Error::Gone));
        }
    }
}
