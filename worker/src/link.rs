//! Links: the only way in which anything reaches an instance, alarms aside.
//!
//! A link has two ends, each with whoever receives what the other sends. Neither knows where the other is: an instance in
//! this process, or a front door. What is sent on a link arrives in order, once, or not at all; what may be on its way is
//! bounded by credit; and one close ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use portside_exchange::credit::{Credit, Place};
use portside_exchange::{BodyError, Delivery, Lasts, Request, Socket};

use crate::bond::Bond;
use crate::event::Incoming;
use crate::hibernation::Reader;
use crate::host::RequestName;

/// One end of a link, unique in the process. The two ends of a link differ in the lowest bit: it is 0 at the end of
/// whoever opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

static NEXT_LINK: AtomicU64 = AtomicU64::new(0);

impl LinkId {
    /// The opener's end of a new link.
    #[must_use]
    pub fn of_new_link() -> Self {
        Self(NEXT_LINK.fetch_add(1, Ordering::Relaxed) * 2)
    }

    /// Whether the instance that has this end opened the link; else it was opened to it.
    #[must_use]
    pub fn is_openers(self) -> bool {
        self.0.is_multiple_of(2)
    }

    /// The other end of the same link.
    #[must_use]
    pub fn other(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// What a link is for.
pub enum Kind {
    /// A `ServerlessWorker`'s port: messages both ways.
    Port,
    /// A request: its answer comes back, and, if that accepts a WebSocket, messages both ways.
    Fetch(Box<Request>),
    /// A method that is called, or a property that is read: what comes of it comes back.
    Rpc(Box<Push>),
    /// The server's `scheduled` handler is to run: what became of that comes back.
    Scheduled(Box<Scheduled>),
    /// An expression in JavaScript is to be evaluated in the instance, for people: a structured clone of what comes of it comes back, with
    /// the keys `text` and perhaps `value`, or `thrown`. It goes to no other process.
    Evaluate(Box<Expression>),
    /// A hibernatable WebSocket is brought back, as its [`Kept`](crate::hibernation::Kept) has it: the answer is as to a request.
    /// The object sleeps on.
    Adopt(Box<Bytes>),
}

/// A run of the server's `scheduled` handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// For which time, in milliseconds since the Unix epoch.
    pub time: i64,
    /// The cron expression because of which it runs, or what is given for it.
    pub cron: String,
}

/// What became of a run of the server's `scheduled` handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// Nothing was thrown, neither by the handler nor by what it gave to `waitUntil`.
    pub succeeded: bool,
    /// It asked not to be tried again.
    pub no_retry: bool,
}

/// What is to be evaluated, in JavaScript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(pub String);

/// A call of a method, or the reading of a property. Named after Cap'n Web's message of that kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The names from the object to the method or property.
    pub path: Vec<String>,
    /// A structured clone of the array of arguments; nothing for a property that is read.
    pub arguments: Option<Vec<u8>>,
}

/// A link that is being opened, as its target gets it.
pub struct Opening {
    /// What it is for.
    pub kind: Kind,
    /// What the target's id comes from, if the target is an object and the opener knows that.
    pub name: Option<Arc<str>>,
    /// What the opener holds on to, of the instance of the target that it reaches.
    pub bond: Option<Bond>,
    /// The request in whose course it is opened, as far as that is known.
    pub request: Option<RequestName>,
    /// Whether it was open to an instance of the target before, which has left for another place.
    pub reconnected: bool,
    /// The target's end.
    pub end: LinkEnd,
}

impl Opening {
    /// One of which nothing else is known, and that is opened for the first time.
    #[must_use]
    pub fn new(kind: Kind, end: LinkEnd) -> Self {
        Self {
            kind,
            name: None,
            bond: None,
            request: None,
            reconnected: false,
            end,
        }
    }
}

/// What is sent on a link.
pub enum Frame {
    /// A message on a port.
    Message {
        /// A structured clone.
        data: Vec<u8>,
        /// Its place in the sender's credit.
        place: Place,
        /// The request in whose course it was sent.
        request: Option<RequestName>,
    },
    /// The answer to a request begins.
    Head(Box<Head>),
    /// What a called method returned, or a property is: a structured clone. Nothing follows it.
    Resolve(Vec<u8>),
    /// What became of a run of the `scheduled` handler. Nothing follows it.
    Ran(Ran),
    /// A piece of the answer's body, after [`Content::Follows`].
    Chunk {
        /// The piece.
        data: Bytes,
        /// Its place in the sender's credit.
        place: Place,
    },
    /// The answer's body is complete.
    End,
    /// The answer's body breaks off.
    Abort(BodyError),
    /// A message of an accepted WebSocket; a close is the last.
    Socket(Delivery),
    /// Something did not arrive, or there is nobody to talk to.
    Failed(Failure),
}

impl Frame {
    /// Whether an answer to a request or a call begins with it.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Head(_) | Self::Resolve(_) | Self::Ran(_))
    }

    /// Payload bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Message { data, .. } | Self::Resolve(data) => data.len(),
            Self::Chunk { data, .. } => data.len(),
            Self::Socket(delivery) => delivery.message.len(),
            Self::Head(head) => match &head.content {
                Content::Full(bytes) => bytes.len(),
                Content::Follows
                | Content::Socket(_)
                | Content::Hibernatable(_)
                | Content::Spliced(_) => 0,
            },
            Self::End | Self::Abort(_) | Self::Failed(_) | Self::Ran(_) => 0,
        }
    }
}

/// How an answer begins.
pub struct Head {
    /// The status; 101 exactly for a WebSocket.
    pub status: StatusCode,
    /// Its reason phrase; empty for the usual one.
    pub reason: Bytes,
    /// The headers.
    pub headers: HeaderMap,
    /// What comes after the headers.
    pub content: Content,
}

/// What comes after an answer's headers.
pub enum Content {
    /// This body.
    Full(Bytes),
    /// A body in chunks, until [`Frame::End`].
    Follows,
    /// The messages of a WebSocket, in envelopes if it may outlive the connection.
    Socket(Lasts),
    /// The messages of a hibernatable WebSocket, whose client is heard by this reader.
    Hibernatable(Reader),
    /// A WebSocket that somebody else has accepted: what is said on it passes by here.
    Spliced(Socket),
}

/// Why a link closed, as `event.code` of a port's `close` event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The other side called `close()`, or its request ended.
    Closed,
    /// The worker called `self.terminate()`.
    Terminated,
    /// The instance at the other side was lost.
    Lost,
}

impl CloseReason {
    /// The word JavaScript sees.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Terminated => "terminated",
            Self::Lost => "lost",
        }
    }
}

/// What kind of failure it was: what programs go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCode {
    /// The receiver has too much to do (`ServerlessWorkerOverloadedError`).
    Overloaded,
    /// The receiver cannot be had now, through no fault of its code: it is another process's, the process closes, or the
    /// store fails.
    Unavailable,
    /// The receiver's code failed: it threw, met a limit, or cannot be loaded.
    Failed,
    /// The receiver began anew, or will: nobody knows what became of what was sent.
    Reset,
}

impl FailureCode {
    /// As the surface hears it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
            Self::Reset => "reset",
        }
    }
}

/// Something sent on a link did not arrive, or could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind it was.
    pub code: FailureCode,
    /// A hint when to try again, in milliseconds; 0 for none.
    pub retry_after_ms: u64,
    /// For the developer.
    pub message: String,
    /// A structured clone of what the receiver's code threw, for a caller that is code itself.
    pub thrown: Option<Arc<[u8]>>,
    /// The receiver began anew because it had too much to do.
    pub is_overload: bool,
}

impl Failure {
    /// The receiver has too much to do.
    #[must_use]
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self {
            retry_after_ms: 1_000,
            ..Self::new(FailureCode::Overloaded, message)
        }
    }

    /// The receiver cannot be had now.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Unavailable, message)
    }

    /// The receiver's code failed.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Failed, message)
    }

    /// The receiver began anew, or will.
    #[must_use]
    pub fn reset(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Reset, message)
    }

    fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            retry_after_ms: 0,
            message: message.into(),
            thrown: None,
            is_overload: false,
        }
    }
}

/// Whoever receives what the other end of a link sends.
pub trait Receive: Send + Sync + 'static {
    /// Takes it, at once.
    ///
    /// # Errors
    /// [`Rejected`]: the receiver is gone, or has too much to do.
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected>;

    /// The link was opened anew, for nobody had heard of it where it was opened first: what it says besides goes to this target.
    fn reopened(&self, _target: Arc<dyn Receive>) {}

    /// What was taken and not passed on, in order, when whoever it was for has left; it goes to the next place. Most pass on
    /// everything at once.
    fn give_back(&self) -> VecDeque<Incoming> {
        VecDeque::new()
    }

    /// The instance at the other end of this port has left for another place. Whoever cannot follow has lost it.
    fn moved(&self, moved: Moved) {
        // A receiver that is gone needs no telling.
        let _ = self.receive(Incoming::Closed {
            link: moved.link,
            reason: CloseReason::Lost,
        });
    }
}

/// Gives it to the target, behind what that has not taken before and is kept: a target that is gone, or about to leave, says so,
/// and then what is kept goes elsewhere.
///
/// # Errors
/// The target has too much to do.
pub(crate) fn pass_on(
    target: &dyn Receive,
    kept: &mut VecDeque<Incoming>,
    incoming: Incoming,
) -> Result<(), Rejected> {
    let incoming = if kept.is_empty() {
        match target.receive(incoming) {
            Err(Rejected::Closed(incoming)) => incoming,
            taken => return taken,
        }
    } else {
        incoming
    };
    kept.push_back(incoming);
    Ok(())
}

/// What an instance that leaves for another place says on a port that is open to it. Nothing follows it.
pub struct Moved {
    /// The receiving end.
    pub link: LinkId,
    /// Whether its code has heard of the port. Who does not know says that it has not.
    pub connected: bool,
    /// What was sent to it that its code has not heard, in order, as it has got it.
    pub unheard: VecDeque<Incoming>,
}

/// Why something was not taken; it comes back to the sender.
pub enum Rejected {
    /// The addressee is gone (asleep): address it anew.
    Closed(Incoming),
    /// Over the limits.
    Full(Incoming),
}

/// Why a frame did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelivered {
    /// The receiver ended.
    Gone,
    /// The receiver's inbox is full.
    Overloaded,
}

/// One end of a link, in the hands of whoever sends on it.
pub struct LinkEnd {
    /// This end.
    pub id: LinkId,
    /// Nobody until the link is open, and again if it could not be opened.
    peer: Option<Arc<dyn Receive>>,
    /// What this end has sent and the other has not taken yet.
    pub credit: Arc<Credit>,
    /// Whoever passes on what the other side says, and whom that does not keep.
    way: Option<Arc<dyn Receive>>,
}

impl LinkEnd {
    /// The end `id`, whose other end is read by `peer`.
    #[must_use]
    pub fn new(id: LinkId, peer: Arc<dyn Receive>) -> Self {
        Self {
            id,
            peer: Some(peer),
            credit: Arc::default(),
            way: None,
        }
    }

    /// The opener's end of a new link that is not open yet.
    #[must_use]
    pub fn unopened() -> Self {
        Self {
            id: LinkId::of_new_link(),
            peer: None,
            credit: Arc::default(),
            way: None,
        }
    }

    /// Keeps whoever passes on to here what the other side says, which may hold it weakly, for as long as there is this end.
    pub fn keep(&mut self, way: Arc<dyn Receive>) {
        self.way = Some(way);
    }

    /// The link is open, and `peer` reads at its other end.
    pub fn opened(&mut self, peer: Option<Arc<dyn Receive>>) {
        self.peer = peer;
    }

    /// Whoever reads at the other end, if somebody does.
    #[must_use]
    pub fn peer(&self) -> Option<Arc<dyn Receive>> {
        self.peer.clone()
    }

    /// The same, of an end that is given up for that.
    #[must_use]
    pub(crate) fn into_peer(self) -> Option<Arc<dyn Receive>> {
        self.peer
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// It did not arrive.
    pub fn send(&self, frame: Frame) -> Result<(), Undelivered> {
        let link = self.id.other();
        let peer = self.peer.as_ref().ok_or(Undelivered::Gone)?;
        match peer.receive(Incoming::Frame { link, frame }) {
            Ok(()) => Ok(()),
            Err(Rejected::Closed(_)) => Err(Undelivered::Gone),
            Err(Rejected::Full(_)) => Err(Undelivered::Overloaded),
        }
    }

    /// Tells the other side that this end is gone.
    pub fn close(&self, reason: CloseReason) {
        let link = self.id.other();
        if let Some(peer) = &self.peer {
            // A peer that is gone needs no telling.
            let _ = peer.receive(Incoming::Closed { link, reason });
        }
    }

    /// Tells the other side that this end's instance has left for another place.
    pub fn moved(&self, connected: bool, unheard: VecDeque<Incoming>) {
        if let Some(peer) = &self.peer {
            peer.moved(Moved {
                link: self.id.other(),
                connected,
                unheard,
            });
        }
    }

    /// Tells the other side that there is nobody to talk to.
    pub fn refuse(&self, failure: Failure) {
        let _ = self.send(Frame::Failed(failure));
        self.close(CloseReason::Lost);
    }
}
