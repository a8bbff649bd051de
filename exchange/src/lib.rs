//! Requests, bodies and sockets as they pass between a front door and the isolates.
//!
//! The front door (`frontdoor`) and the engine (`runtime`) both speak these types, so neither depends on the other.

pub mod credit;
pub mod envelope;
pub mod shared_window;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::mpsc;

use crate::credit::{Credit, Place, Window};
use crate::envelope::Envelope;
use crate::shared_window::SharedWindow;

/// Bytes of one socket that may wait in one direction. One message that waits alone may be longer.
pub const WINDOW_BYTES: usize = 1 << 20;

/// The header with a request's name in logs, from the first front door on. Every front door sees to it that it is there.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request, ready for an application's `fetch`.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The absolute URL the client asked for, as the application shall see it, serialized as the URL standard says.
    pub url: String,
    /// The headers, hop-by-hop ones removed (but `upgrade` kept for a WebSocket handshake).
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// Whether the client offers a WebSocket handshake, so that a 101 response is allowed.
    pub websocket: bool,
}

/// An application's answer.
pub struct Response {
    /// The status; 101 exactly when `socket` is there.
    pub status: StatusCode,
    /// What HTTP/1.1 says beside the status; empty for the phrase that is usual for it.
    pub reason: Bytes,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty for a 101.
    pub body: Body,
    /// The application's end of an accepted WebSocket.
    pub socket: Option<Socket>,
}

/// A message body. Dropping it tells the producer that nobody reads any more.
pub enum Body {
    /// No bytes.
    Empty,
    /// All bytes at once.
    Full(Bytes),
    /// Bytes as they come; an error ends it and means that the body is incomplete.
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>),
}

/// A body could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The peer went away, or its framing was wrong.
    #[error("the body ended early: {0}")]
    Incomplete(String),
    /// The code that sends it threw.
    #[error("the body ended early: {message}")]
    Thrown {
        /// For people.
        message: String,
        /// What was thrown, for a reader that is code itself: bytes as those of a call's failure.
        thrown: Arc<[u8]>,
    },
    /// More bytes than the limit.
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Why a request got no response from the application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The application threw, returned no `Response`, or was ended by a limit: 500.
    #[error("{0}")]
    Failed(String),
    /// No response within the class's time: 504.
    #[error("the application did not answer in time")]
    TimedOut,
    /// No room for another request: 503 with `Retry-After`.
    #[error("the application is overloaded")]
    Overloaded {
        /// A hint for the client, in milliseconds.
        retry_after_ms: u64,
    },
    /// It cannot be reached now, through no fault of its code, which has not run: 503 with `Retry-After`.
    #[error("{0}")]
    Unavailable(String),
    /// Shutting down: 503 with `Retry-After`.
    #[error("the application is shutting down")]
    ShuttingDown,
}

impl FetchError {
    /// The status of the response that clients get instead.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Overloaded { .. } | Self::Unavailable(_) | Self::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

/// A request that a front door answers without asking the application. What is in it may be anything.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'r> {
    /// The method.
    pub method: &'r Method,
    /// The host that was asked for; empty if none was.
    pub host: &'r str,
    /// The path.
    pub path: &'r str,
    /// The request's name in logs.
    pub id: &'r HeaderValue,
    /// What it is answered with.
    pub status: StatusCode,
}

/// Where a front door sends requests.
pub trait Application: Send + Sync + 'static {
    /// Runs the application's `fetch`. Dropping the future means that the client went away.
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>>;

    /// Hears of a request that it is not asked to answer, for its log and counts.
    fn refused(&self, _request: Refused<'_>) {}
}

/// One WebSocket message, or the end of the connection (RFC 6455).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text. The producer guarantees its validity.
    Text(Bytes),
    /// Bytes.
    Binary(Bytes),
    /// The closing handshake. 1005 means a close without a code, and 1006 a connection that breaks off: that of a client is
    /// lost, or an application's end of it is gone.
    Close {
        /// The status code of section 7.4.
        code: u16,
        /// The reason, at most 123 bytes of UTF-8; for 1006, how the client has broken the protocol, if it has.
        reason: String,
    },
}

impl Message {
    /// Payload bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes.len(),
            Self::Close { reason, .. } => reason.len(),
        }
    }

    /// Whether the payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The application's end of a WebSocket, in a front door's hands.
///
/// Either side closes by sending [`Message::Close`]; a front door that drops this without having delivered one has lost
/// the client, and the application sees 1006.
pub struct Socket {
    /// What the application sends. Ends when the application is done with the socket.
    pub outgoing: Outgoing,
    /// Where to deliver what the client sends.
    pub incoming: SocketSender,
    /// Whether it may outlive the connection that it came by.
    pub lasts: Lasts,
}

/// Whether a WebSocket may outlive the connection that it came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lasts {
    /// It ends with that. What passes is what the client and the application say.
    #[default]
    No,
    /// The application lets the same request open it again. What passes is [`Envelope`]s.
    Reopened,
    /// It is kept for a Durable Object, wherever that is, and its state beside it. What passes is [`Envelope`]s.
    Kept,
    /// What passes is [`Envelope`]s, and whoever has the other end of the connection understands them. It ends when either side
    /// says so, not because the front door does.
    Held,
}

impl Socket {
    /// The same for an ordinary client, whom nobody holds.
    #[must_use]
    pub fn plain(self) -> Self {
        let Self {
            mut outgoing,
            incoming,
            lasts,
        } = self;
        if !matches!(lasts, Lasts::Reopened | Lasts::Kept) {
            return Self {
                outgoing,
                incoming,
                lasts,
            };
        }
        outgoing.envelopes = Some(false);
        let window = incoming.window.messages;
        let incoming = Mutex::new(incoming);
        let incoming = SocketSender::new(window, move |mut delivery| {
            let is_last = matches!(delivery.message, Message::Close { .. });
            delivery.message = Envelope::Message(delivery.message).seal();
            let mut incoming = incoming.lock().unwrap_or_else(PoisonError::into_inner);
            incoming.forward(delivery, is_last);
        });
        Self {
            outgoing,
            incoming,
            lasts: Lasts::No,
        }
    }
}

/// What the application has sent and the front door has not taken yet.
pub struct Outgoing {
    messages: mpsc::UnboundedReceiver<Delivery>,
    /// Whether envelopes are to be opened that come, and then whether a close was among them.
    envelopes: Option<bool>,
}

/// Sends to a client. Dropping it ends the [`Outgoing`].
pub struct Outbox {
    messages: mpsc::UnboundedSender<Delivery>,
    credit: Arc<Credit>,
}

/// The two ends of what an application sends on one socket.
#[must_use]
pub fn outgoing() -> (Outbox, Outgoing) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let outbox = Outbox {
        messages: sender,
        credit: Arc::default(),
    };
    let outgoing = Outgoing {
        messages: receiver,
        envelopes: None,
    };
    (outbox, outgoing)
}

impl Outbox {
    /// Queues a message. A front door that is gone takes none.
    pub fn send(&self, message: Message) {
        let place = self.credit.take(message.len());
        self.forward(Delivery::placed(message, place));
    }

    /// Queues a message that has its place already: in the credit of whoever bounds what it sends.
    pub fn forward(&self, delivery: Delivery) {
        let _ = self.messages.send(delivery);
    }

    /// Payload bytes of [`Outbox::send`] that the front door has not taken yet: a client that does not keep up lets them
    /// grow.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.credit.bytes()
    }
}

impl Outgoing {
    /// The next message, or nothing when the application is done with the socket.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            let Some(delivery) = ready!(self.messages.poll_recv(cx)) else {
                return Poll::Ready(self.lost());
            };
            if let Some(message) = self.opened(delivery.message) {
                return Poll::Ready(Some(message));
            }
        }
    }

    /// The next message, if there is one already.
    pub fn try_recv(&mut self) -> Option<Message> {
        loop {
            let delivery = self.messages.try_recv().ok()?;
            let message = self.opened(delivery.message);
            if message.is_some() {
                return message;
            }
        }
    }

    fn opened(&mut self, message: Message) -> Option<Message> {
        let Some(is_closed) = &mut self.envelopes else {
            return Some(message);
        };
        let message = Envelope::plain(message)?;
        *is_closed |= matches!(message, Message::Close { .. });
        Some(message)
    }

    /// What is said for an application that is gone without a word, of whose connection envelopes came.
    fn lost(&mut self) -> Option<Message> {
        let is_closed = self.envelopes.as_mut()?;
        let first = !std::mem::replace(is_closed, true);
        first.then(|| envelope::gone("the application's instance ended"))
    }
}

/// Delivers a client's messages to the application, a bounded number of messages and bytes at a time.
pub struct SocketSender {
    credit: Arc<Credit>,
    window: Window,
    shared: SharedWindow,
    deliver: Box<dyn Fn(Delivery) + Send + Sync>,
    closed: bool,
}

/// A message on its way. Its place in the sender's window is free again when this is dropped.
pub struct Delivery {
    /// The message.
    pub message: Message,
    _place: Option<Place>,
}

impl Delivery {
    /// A message that takes no place in the window.
    #[must_use]
    pub fn unlimited(message: Message) -> Self {
        let _place = None;
        Self { message, _place }
    }

    /// A message that has its place in a credit.
    #[must_use]
    pub fn placed(message: Message, place: Place) -> Self {
        let _place = Some(place);
        Self { message, _place }
    }
}

impl SocketSender {
    /// Calls `deliver` for each message, with at most `messages` of them and [`WINDOW_BYTES`] undropped at once, of the
    /// process's [`SharedWindow`].
    pub fn new(messages: usize, deliver: impl Fn(Delivery) + Send + Sync + 'static) -> Self {
        Self {
            credit: Arc::default(),
            window: Window {
                messages: messages.max(1),
                bytes: WINDOW_BYTES,
            },
            shared: SharedWindow::of_process(),
            deliver: Box::new(deliver),
            closed: false,
        }
    }

    /// Delivers one message, waiting while the application is behind. Nothing is delivered after a close.
    pub async fn send(&mut self, message: Message) {
        if self.closed {
            return;
        }
        let admitted = self.credit.admit(message.len(), self.window, &self.shared);
        let place = admitted.await;
        // Only now: while this waits it may be dropped, and then the application must still see a close.
        self.closed = matches!(message, Message::Close { .. });
        (self.deliver)(Delivery::placed(message, place));
    }

    /// Delivers a message that has its place already: in the credit of whoever bounds what comes here. Nothing is delivered after
    /// the last.
    pub fn forward(&mut self, delivery: Delivery, is_last: bool) {
        if !self.closed {
            self.closed = is_last;
            (self.deliver)(delivery);
        }
    }

    /// Delivers the end of a connection that is lost because the client broke the protocol: 1006, and how it did as the reason.
    pub fn broken(mut self, how: String) {
        self.closed = true;
        (self.deliver)(Delivery::unlimited(Message::Close {
            code: 1006,
            reason: how,
        }));
    }

    /// Waits until the application has taken every message that was delivered.
    pub async fn taken(&self) {
        self.credit.empty().await;
    }
}

impl Drop for SocketSender {
    fn drop(&mut self) {
        if !self.closed {
            let message = Message::Close {
                code: 1006,
                reason: String::new(),
            };
            (self.deliver)(Delivery::unlimited(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_an_application_does_not_take_is_bounded_in_bytes() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&taken);
        let mut sender = SocketSender::new(100, move |delivery| log.lock().unwrap().push(delivery));
        let mut fits = |bytes| {
            let message = Message::Binary(vec![0; bytes].into());
            sender.send(message).now_or_never().is_some()
        };
        assert!(fits(WINDOW_BYTES - 1) && fits(1));
        assert!(!fits(1), "the window is full");
        taken.lock().unwrap().clear();
        assert!(fits(2 * WINDOW_BYTES), "one alone always fits");
        assert!(!fits(1));
    }

    #[test]
    fn a_close_that_was_not_delivered_in_time_becomes_a_lost_connection() {
        let delivered = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&delivered);
        let mut sender = SocketSender::new(1, move |delivery| log.lock().unwrap().push(delivery));
        let close = |code| Message::Close {
            code,
            reason: String::new(),
        };
        assert!(
            sender
                .send(Message::Text("first".into()))
                .now_or_never()
                .is_some()
        );
        assert!(
            sender.send(close(1000)).now_or_never().is_none(),
            "the window is full"
        );
        drop(sender);
        let last = delivered.lock().unwrap().pop().unwrap();
        assert_eq!(last.message, close(1006));
    }
}
