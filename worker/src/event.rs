//! What can happen to an instance: what reaches its inbox, and what of that its engine hears.

use portside_core::alarm::Alarm;
use portside_exchange::{Delivery, Request};

use crate::hibernation::{SocketEvent, SocketId};
use crate::host::Error;
use crate::link::{CloseReason, Expression, Failure, Frame, LinkId, Opening, Push, Scheduled};

/// What others send to a worker or a server. It waits in the inbox until an instance takes it.
pub enum Incoming {
    /// Somebody opened a link to it.
    Opened(Opening),
    /// Something on a link.
    Frame {
        /// The receiving end.
        link: LinkId,
        /// What was sent.
        frame: Frame,
    },
    /// The other end of a link is gone; nothing follows on it.
    Closed {
        /// The receiving end.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// The worker's alarm is due.
    Alarm(Alarm),
    /// Something was said at the other end of a hibernatable WebSocket.
    Hibernatable(SocketEvent),
}

impl Incoming {
    /// Bytes that count against an inbox's limit.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Frame { frame, .. } => frame.size(),
            Self::Hibernatable(event) => event.delivery.message.len(),
            _ => 0,
        }
    }

    /// Whether an inbox may refuse it: what peers can send without end. What a window of its own bounds already (a
    /// client's WebSocket messages), and what ends something, always fits.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        match self {
            Self::Opened(_) => true,
            Self::Frame { frame, .. } => matches!(frame, Frame::Message { .. }),
            Self::Closed { .. } | Self::Alarm(_) | Self::Hibernatable(_) => false,
        }
    }

    /// Whether it is of a link that its receiver opened, and so needs none of the module's handlers.
    #[must_use]
    pub fn is_of_opened_link(&self) -> bool {
        match self {
            Self::Frame { link, .. } | Self::Closed { link, .. } => link.is_openers(),
            Self::Opened(_) | Self::Alarm(_) | Self::Hibernatable(_) => false,
        }
    }
}

/// Whether, and how, an instance has been asked to end. Grows only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stop {
    /// It was not asked.
    #[default]
    No,
    /// When it has nothing to do any more.
    WhenQuiet,
    /// When its handlers have settled, and what its listeners wait for, if that takes no longer than a second, and everything
    /// that it issued is durable and sent. Open ports and WebSockets do not keep it.
    WhenSettled,
    /// When everything that it issued is durable and sent.
    WhenFlushed,
}

/// News that an instance hears before all others, even while other events have to wait.
pub enum Control {
    /// A commit's end.
    Committed {
        /// The instance that wrote; the inbox may have another reader by now.
        instance: u64,
        /// The writes up to this number.
        seq: u64,
        /// Durable, or why not.
        outcome: Result<(), Error>,
    },
    /// Look again: the lease may cover this moment again, so that outputs that waited for it leave; or the right under which
    /// the instance was loaded may be gone, so that it ends.
    Renewed,
}

/// What an engine hands to the application's code.
pub enum Delivered {
    /// Run the server's `fetch`.
    Fetch {
        /// The link of the request.
        link: LinkId,
        /// The request; a streamed body was taken out of it.
        request: Box<Request>,
        /// Whether the body is a stream, which is read from the instance.
        streamed: bool,
    },
    /// Call a method of the object, or read a property.
    Rpc {
        /// The link of the call.
        link: LinkId,
        /// Which, with what.
        push: Push,
    },
    /// Run the server's `scheduled`.
    Scheduled {
        /// The link of the run.
        link: LinkId,
        /// For when, and why.
        scheduled: Scheduled,
    },
    /// Evaluate an expression.
    Evaluate {
        /// The link of the call.
        link: LinkId,
        /// What it is.
        expression: Expression,
    },
    /// The client of a request went away.
    FetchAborted {
        /// The link of the request.
        link: LinkId,
    },
    /// Somebody opened a port to this worker.
    Connected {
        /// This end.
        port: LinkId,
        /// Whether it was open to an instance before this one, which has left another place for this.
        reconnected: bool,
    },
    /// A message on a port.
    Message {
        /// The receiving end.
        port: LinkId,
        /// A structured clone.
        data: Vec<u8>,
    },
    /// The other side of a port is gone.
    PortClosed {
        /// The receiving end.
        port: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// The other side of a port is gone, behind messages that nobody has listened to, nor is a `connect` handler about to.
    /// That it is closed is delivered when somebody does, or when the engine lets go of them with
    /// [`let_port_go`](crate::instance::Instance::let_port_go).
    PortLeft {
        /// The receiving end.
        port: LinkId,
    },
    /// Something sent on a port did not arrive.
    PortFailed {
        /// The end that sent it.
        port: LinkId,
        /// Why.
        failure: Failure,
    },
    /// Run `alarm()`.
    Alarm(Alarm),
    /// A client's WebSocket message; a close is the last. Its place in the client's window is free again when this is
    /// dropped.
    Socket {
        /// The link of the request that was answered with the WebSocket.
        link: LinkId,
        /// The message.
        delivery: Delivery,
    },
    /// The client of an accepted WebSocket goes on elsewhere: its code hears no more of it, and may still say something.
    SocketMoves {
        /// The link of the request that was answered with the WebSocket.
        link: LinkId,
        /// It may not any more.
        is_over: bool,
    },
    /// What was said at the other end of a hibernatable WebSocket; a close is the last.
    Hibernatable {
        /// Which one.
        socket: SocketId,
        /// What was said.
        delivery: Delivery,
    },
}

impl Delivered {
    /// What it is called in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fetch { .. } => "fetch",
            Self::Rpc { .. } => "call",
            Self::Scheduled { .. } => "scheduled",
            Self::Evaluate { .. } => "evaluation",
            Self::FetchAborted { .. } => "client gone",
            Self::Connected { .. } => "connect",
            Self::Message { .. } => "message",
            Self::PortClosed { .. } => "port closed",
            Self::PortLeft { .. } => "port left",
            Self::PortFailed { .. } => "port failed",
            Self::Alarm(_) => "alarm",
            Self::Socket { .. } => "socket message",
            Self::SocketMoves { .. } => "socket moves",
            Self::Hibernatable { .. } => "hibernatable socket message",
        }
    }
}
