//! What is sent on a link between pods: what [`portside_worker::link`] has, as data.
//!
//! What lives in a process stays there: places in a credit, readers of sockets, the ends themselves. Of a
//! [`Bond`](portside_worker::bond::Bond) the number of the instance travels that it reaches.

mod decode;
mod encode;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use portside_core::ids::{Epoch, PodId, WorkerKey};
use portside_exchange::{BodyError, Lasts, Message};
use portside_worker::bond::InstanceNumber;
use portside_worker::host::RequestName;
use portside_worker::link::{CloseReason, Failure, Push, Ran, Scheduled};

pub(crate) use decode::decode;
pub(crate) use encode::Encoded;

/// The most names from an object to what is called of it: so that a few bytes on the way do not become many in memory.
pub const MAX_NAMES: usize = 4096;

/// Whom a link is opened to, and what for.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// Whom to.
    pub to: WorkerKey,
    /// The epoch of its shard, as far as the opener knows.
    pub epoch: Epoch,
    /// What for.
    pub kind: Kind,
    /// What the target's id comes from, if the target is an object and the opener knows that.
    pub name: Option<Arc<str>>,
    /// The instance that the opener must not have lost.
    pub reached: Option<InstanceNumber>,
    /// The request in whose course it is opened, as far as that is known.
    pub request: Option<RequestName>,
    /// Whether it was open to an instance of the target before, which has left for another place.
    pub reconnected: bool,
}

impl Opening {
    /// Whether it can be sent at all, whatever its size.
    pub(crate) fn is_sendable(&self) -> bool {
        match &self.kind {
            Kind::Rpc(push) => push.path.len() <= MAX_NAMES,
            Kind::Port | Kind::Fetch(_) | Kind::Scheduled(_) | Kind::Adopt(_) => true,
        }
    }
}

/// What a link is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A `ServerlessWorker`'s port.
    Port,
    /// A request.
    Fetch(Box<Request>),
    /// A call of a method, or the reading of a property.
    Rpc(Box<Push>),
    /// The server's `scheduled` handler is to run.
    Scheduled(Scheduled),
    /// A hibernatable WebSocket is brought back, as it is kept.
    Adopt(Bytes),
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The absolute URL.
    pub url: String,
    /// The headers.
    pub headers: HeaderMap,
    /// Whether the client offers a WebSocket handshake.
    pub websocket: bool,
    /// The body.
    pub body: Body,
}

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Full(Bytes),
    /// It comes in chunks, until [`Frame::End`] or [`Frame::Abort`].
    Follows,
}

/// The owner has taken a link: its code may have run from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The epoch in which the pod owns the target. The link lives within it.
    pub epoch: Epoch,
}

/// Why a link was not taken. Whatever it is, no code of the application has run because of the link.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The pod does not own the target. Ask the owner.
    NotOwner {
        /// The owner, as far as the pod knows.
        owner: Option<PodId>,
        /// The epoch of the shard, as far as the pod knows.
        epoch: Epoch,
    },
    /// The target cannot be had now.
    Failed(Failure),
}

/// What is sent on an open link.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A message on a port.
    Message {
        /// A structured clone.
        data: Bytes,
        /// The request in whose course it was sent.
        request: Option<RequestName>,
    },
    /// The instance that answers a request or a call, unless it is the one that the opener had reached.
    Reached(InstanceNumber),
    /// The answer to a request begins.
    Head(Box<Head>),
    /// What a called method returned, or a property is: a structured clone.
    Resolve(Bytes),
    /// What became of a run of the `scheduled` handler.
    Ran(Ran),
    /// A piece of a body: of the request from the opener, of the answer to it.
    Chunk(Bytes),
    /// The body is complete.
    End,
    /// The body breaks off.
    Abort(BodyError),
    /// The sender reads no more of the other side's body.
    Unread,
    /// A message of an accepted WebSocket; a close is the last.
    Socket(Message),
    /// Something did not arrive, or there is nobody to talk to.
    Failed(Failure),
    /// The opener of a port has closed it, for this reason. Its target closes the link when its code has heard that.
    Parted(CloseReason),
    /// The target's code has heard so many of a port's messages, since the link is there.
    Heard(u64),
    /// The target of a port leaves for another place: what follows the messages that its code has heard is the opener's to send there.
    Moved {
        /// Whether its code has heard of the port.
        connected: bool,
        /// How many messages that is, since the link is there.
        heard: u64,
    },
}

impl Frame {
    /// Whether it needs room in the link's window to be sent. What ends or answers something does not: there is little of
    /// it, and it must not get lost.
    #[must_use]
    pub fn needs_room(&self) -> bool {
        matches!(
            self,
            Self::Message { .. } | Self::Chunk(_) | Self::Socket(_)
        )
    }
}

/// How an answer begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// Its reason phrase; empty for the usual one.
    pub reason: Bytes,
    /// The headers.
    pub headers: HeaderMap,
    /// What comes after the headers.
    pub content: Content,
}

/// What comes after an answer's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// This body.
    Full(Bytes),
    /// A body in chunks, until [`Frame::End`] or [`Frame::Abort`].
    Follows,
    /// The messages of a WebSocket, whoever has accepted it; in envelopes if it may outlive the connection.
    Socket(Lasts),
}

/// All that travels as a frame of a link.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Open(Box<Opening>),
    Accept(Accepted),
    Refuse(Refusal),
    Frame(Frame),
    /// Of a kind that a later version has and this one may skip.
    Skipped,
}

/// The first byte of each item. From [`kinds::SKIPPABLE`] on, who does not know a kind goes on without it.
pub(crate) mod kinds {
    pub const OPEN: u8 = 1;
    pub const ACCEPT: u8 = 2;
    pub const REFUSE: u8 = 3;
    pub const MESSAGE: u8 = 4;
    pub const HEAD: u8 = 5;
    pub const RESOLVE: u8 = 6;
    pub const RAN: u8 = 7;
    pub const CHUNK: u8 = 8;
    pub const END: u8 = 9;
    pub const ABORT: u8 = 10;
    pub const UNREAD: u8 = 11;
    pub const SOCKET: u8 = 12;
    pub const FAILED: u8 = 13;
    pub const PARTED: u8 = 14;
    pub const HEARD: u8 = 15;
    pub const MOVED: u8 = 16;
    pub const REACHED: u8 = 17;
    pub const SKIPPABLE: u8 = 0x80;
}
