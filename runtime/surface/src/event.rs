//! What can happen to an instance.

use portside_core::alarm::Alarm;
use portside_exchange::{Delivery, FetchError, Request, Response};
use tokio::sync::oneshot;

use crate::ports::LinkEnd;

/// One end of a port, unique in the process. The two ends of a port differ in the lowest bit: it is 0 at the end of
/// whoever opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortId(pub u64);

impl PortId {
    /// Whether the instance that has this end opened the port; else it was connected to.
    #[must_use]
    pub fn is_openers(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

/// An accepted WebSocket, unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// A running request, unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// Something for JavaScript to hear of, in the order of the inbox.
pub enum Event {
    /// Run the server's `fetch`.
    Fetch(Box<Fetch>),
    /// The client of a request went away before the response.
    FetchAborted {
        /// As in [`Fetch::id`].
        id: RequestId,
    },
    /// Somebody opened a port to this worker.
    Connect(LinkEnd),
    /// The port of a [`Event::Connect`], once the instance holds its end.
    Opened {
        /// This instance's end.
        port: PortId,
    },
    /// A message on a port.
    Message {
        /// The receiving end.
        port: PortId,
        /// A structured clone.
        data: Vec<u8>,
    },
    /// The other side of a port is gone; nothing follows on it.
    PortClosed {
        /// The receiving end.
        port: PortId,
        /// Why.
        reason: CloseReason,
    },
    /// Something sent on a port did not arrive.
    PortFailed {
        /// The end that sent it.
        port: PortId,
        /// Why.
        failure: PortFailure,
    },
    /// Run `alarm()`.
    Alarm(Alarm),
    /// A client's WebSocket message.
    Socket {
        /// The socket.
        socket: SocketId,
        /// The message.
        delivery: Delivery,
    },
    /// A commit's end.
    Committed {
        /// The instance that wrote; the inbox may have another reader by now.
        instance: u64,
        /// The writes up to this number.
        seq: u64,
        /// Durable, or why not.
        outcome: Result<(), String>,
    },
    /// End when everything issued is durable.
    Stop,
}

/// A request for the server's `fetch`.
pub struct Fetch {
    /// Chosen by the sender, for [`Event::FetchAborted`].
    pub id: RequestId,
    /// The request.
    pub request: Request,
    /// Where the response goes.
    pub reply: oneshot::Sender<Result<Response, FetchError>>,
}

/// Why a port closed, as `event.code` of its `close` event says.
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

/// What a port's `error` event carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFailure {
    /// Whether the receiver had too much to do (`ServerlessWorkerOverloadedError`).
    pub overloaded: bool,
    /// A hint when to try again, in milliseconds.
    pub retry_after_ms: u64,
    /// For the developer.
    pub message: String,
}

impl PortFailure {
    /// The receiver has too much to do.
    #[must_use]
    pub fn overloaded(message: &str) -> Self {
        Self {
            overloaded: true,
            retry_after_ms: 1_000,
            message: message.to_owned(),
        }
    }

    /// The receiver could not take it.
    #[must_use]
    pub fn failed(message: String) -> Self {
        Self {
            overloaded: false,
            retry_after_ms: 0,
            message,
        }
    }
}

impl Event {
    /// Bytes that count against an inbox's limit.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Message { data, .. } => data.len(),
            Self::Socket { delivery, .. } => delivery.message.len(),
            _ => 0,
        }
    }

    /// Whether it is read before others, and even while others have to wait.
    #[must_use]
    pub fn is_control(&self) -> bool {
        matches!(self, Self::Committed { .. } | Self::Stop)
    }

    /// Whether it is of a port that its receiver opened, and so needs none of the module's handlers.
    #[must_use]
    pub fn is_of_opened_port(&self) -> bool {
        match self {
            Self::Message { port, .. }
            | Self::PortClosed { port, .. }
            | Self::PortFailed { port, .. } => port.is_openers(),
            _ => false,
        }
    }

    /// Whether an inbox may refuse it: what clients and peers can send without end.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        matches!(
            self,
            Self::Message { .. } | Self::Connect(_) | Self::Fetch(_)
        )
    }
}
