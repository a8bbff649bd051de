//! Carries WebSocket messages between the front door's end and a pod's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use portside_exchange::{Delivery, Message, Outbox, Socket, SocketSender, outgoing};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Message as WsMessage, Role, WebSocketConfig,
};
use tokio_util::sync::CancellationToken;

use crate::access::Record;
use crate::metrics::{Counted, Metrics};

/// Client's messages that may wait for the pod; each may be as long as a message can be.
const WINDOW: u32 = 4;
/// Bytes of the pod's messages that may wait for the client; one message may be longer.
const WINDOW_BYTES: usize = 256 << 10;
/// Bytes read from a pod at once; an idle socket holds them.
const READ_BYTES: usize = 4 << 10;
/// Time for a pod to answer a closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Close codes (RFC 6455 section 7.4.1 and its registry).
mod code {
    pub(super) const NONE: u16 = 1005;
    pub(super) const LOST: u16 = 1006;
    pub(super) const TOO_BIG: u16 = 1009;
    pub(super) const SERVICE_RESTART: u16 = 1012;
}

type Upstream = WebSocketStream<TokioIo<Upgraded>>;

/// Whether a pod's 101 answers the handshake with this key (RFC 6455 section 4.1).
pub(crate) fn is_accepted(response: &Response<Incoming>, key: &str) -> bool {
    let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    accept.is_some_and(|accept| accept.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes())
        && !response
            .headers()
            .contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
}

/// Makes the pod's end of an accepted handshake the application's end of the client's.
///
/// # Errors
/// The connection did not become a WebSocket.
pub(crate) async fn upgrade(
    response: Response<Incoming>,
    max_message_bytes: usize,
) -> Result<(HeaderMap, Upstream), hyper::Error> {
    let (parts, body) = response.into_parts();
    let headers = parts.headers.clone();
    let upgraded = hyper::upgrade::on(Response::from_parts(parts, body)).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        // Written as it comes: it is flushed after each message anyway.
        .write_buffer_size(0)
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes));
    let io = TokioIo::new(upgraded);
    let upstream = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;
    Ok((headers, upstream))
}

/// What runs between the two ends.
pub(crate) struct Bridge {
    upstream: Upstream,
    outbox: Outbox,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    /// Cancelled when the pod must not be heard any more.
    overtaken: CancellationToken,
    record: Record,
    _open: Counted,
}

impl Bridge {
    /// The bridge, and the end for the front door.
    pub(crate) fn new(
        upstream: Upstream,
        overtaken: CancellationToken,
        record: Record,
        metrics: &Metrics,
    ) -> (Self, Socket) {
        let (outbox, outgoing) = outgoing();
        let (sender, deliveries) = mpsc::unbounded_channel();
        let incoming = SocketSender::new(WINDOW, move |delivery| {
            // A bridge that is gone has told the client so.
            let _ = sender.send(delivery);
        });
        let bridge = Self {
            upstream,
            outbox,
            deliveries,
            overtaken,
            record,
            _open: Counted::new(&metrics.websockets),
        };
        (bridge, Socket { outgoing, incoming })
    }

    /// Carries messages until either side is done.
    pub(crate) async fn run(mut self) {
        let (mut sink, mut stream) = self.upstream.split();
        let end = tokio::select! {
            end = to_client(&mut stream, &self.outbox, &mut self.record.bytes) => end,
            end = to_pod(&mut self.deliveries, &mut sink) => end,
            () = self.overtaken.cancelled() => End::Lost,
        };
        match end {
            End::Lost => self
                .outbox
                .send(close(code::SERVICE_RESTART, "the pod is gone")),
            End::Broken(message) => self.outbox.send(message),
            End::Closed(message) => {
                self.outbox.send(message);
                // The answer to its close frame is written while reading.
                let _ = timeout(CLOSE_TIMEOUT, exhaust(&mut stream)).await;
            }
            End::ClientClosed => {
                let _ = timeout(CLOSE_TIMEOUT, exhaust(&mut stream)).await;
            }
            End::ClientLost => {}
        }
    }
}

/// How a socket ended.
enum End {
    /// The pod closed, with this.
    Closed(Message),
    /// The pod said something that cannot be passed on; the client gets this.
    Broken(Message),
    /// The pod is gone.
    Lost,
    /// The client closed, and the pod knows.
    ClientClosed,
    /// The client is gone without a word. So shall be our connection to the pod.
    ClientLost,
}

async fn to_client(stream: &mut SplitStream<Upstream>, outbox: &Outbox, bytes: &mut u64) -> End {
    let window = Arc::new(Semaphore::new(WINDOW_BYTES));
    loop {
        let (text, payload) = match stream.next().await {
            Some(Ok(WsMessage::Text(text))) => (true, text.into()),
            Some(Ok(WsMessage::Binary(payload))) => (false, payload),
            Some(Ok(WsMessage::Close(frame))) => {
                let closed = frame.map_or_else(
                    || close(code::NONE, ""),
                    |frame| close(frame.code.into(), &frame.reason),
                );
                return End::Closed(closed);
            }
            Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_))) => continue,
            Some(Err(WsError::Capacity(_))) => {
                return End::Broken(close(code::TOO_BIG, "the message is too big"));
            }
            Some(Err(_)) | None => return End::Lost,
        };
        *bytes += payload.len() as u64;
        let Some(payload) = windowed(payload, &window).await else {
            return End::Lost;
        };
        outbox.send(if text {
            Message::Text(payload)
        } else {
            Message::Binary(payload)
        });
    }
}

/// A payload that gives its place in the window back when the front door drops it, having written it.
struct Windowed {
    payload: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Windowed {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

/// Waits for room in the window, which is never closed.
async fn windowed(payload: Bytes, window: &Arc<Semaphore>) -> Option<Bytes> {
    let places = u32::try_from(payload.len().clamp(1, WINDOW_BYTES)).ok()?;
    let place = Arc::clone(window).acquire_many_owned(places).await.ok()?;
    Some(Bytes::from_owner(Windowed {
        payload,
        _place: place,
    }))
}

async fn to_pod(
    deliveries: &mut mpsc::UnboundedReceiver<Delivery>,
    sink: &mut SplitSink<Upstream, WsMessage>,
) -> End {
    while let Some(delivery) = deliveries.recv().await {
        let (message, closing) = match &delivery.message {
            Message::Text(text) => {
                let text = Utf8Bytes::try_from(text.clone());
                (
                    WsMessage::Text(text.expect("a text message is UTF-8")),
                    false,
                )
            }
            Message::Binary(payload) => (WsMessage::Binary(payload.clone()), false),
            Message::Close {
                code: code::LOST, ..
            } => return End::ClientLost,
            Message::Close { code, reason } => (WsMessage::Close(frame(*code, reason)), true),
        };
        if sink.send(message).await.is_err() {
            // The reader sees what happened, and perhaps a close frame before it.
            return std::future::pending().await;
        }
        if closing {
            return End::ClientClosed;
        }
    }
    End::ClientLost
}

fn frame(code: u16, reason: &str) -> Option<CloseFrame> {
    (code != code::NONE).then(|| CloseFrame {
        code: code.into(),
        reason: reason.into(),
    })
}

async fn exhaust(stream: &mut SplitStream<Upstream>) {
    while let Some(Ok(_)) = stream.next().await {}
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close {
        code,
        reason: reason.to_owned(),
    }
}
