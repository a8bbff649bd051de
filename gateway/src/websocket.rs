//! Carries WebSocket messages between the front door's end and a pod's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use portside_exchange::credit::{Credit, Place, Window};
use portside_exchange::shared_window::SharedWindow;
use portside_exchange::{Delivery, Lasts, Message, Outbox, Socket, SocketSender, outgoing};
use portside_websocket::{Decoder, Encoder, Event, ReadError, Reader, Role, Writer, code};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::access::Record;
use crate::class::Target;
use crate::metrics::{Counted, Metrics};
use crate::pod::InFlight;

/// Client's messages that may wait for the pod; `SocketSender` bounds their bytes.
const WINDOW: usize = 4;
/// The pod's messages that may wait for the client; one message may be longer.
const TO_CLIENT: Window = Window {
    messages: usize::MAX,
    bytes: 256 << 10,
};
/// A pod's pings that may wait for their answers. Of more, only these get one.
pub(crate) const MAX_PINGS: usize = 4;
/// Time for a pod to answer a closing handshake.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) type Io = TokioIo<Upgraded>;

/// The connection to a pod.
pub(crate) struct Upstream {
    pub(crate) reader: Reader<ReadHalf<Io>>,
    pub(crate) writer: Writer<WriteHalf<Io>>,
}

/// The same, and what is to be known of the pod.
pub(crate) struct Connection {
    pub(crate) upstream: Upstream,
    /// Cancelled when the pod must not be heard any more.
    pub(crate) overtaken: CancellationToken,
    pub(crate) in_flight: InFlight,
}

impl Connection {
    pub(crate) fn new(upstream: Upstream, target: Target) -> Self {
        let Target {
            overtaken,
            in_flight,
            ..
        } = target;
        Self {
            upstream,
            overtaken,
            in_flight,
        }
    }
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
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let decoder = Decoder::new(Role::Client, max_message_bytes, false);
    let upstream = Upstream {
        reader: Reader::new(read, decoder),
        writer: Writer::new(write, Encoder::new(Role::Client, None)),
    };
    Ok((headers, upstream))
}

/// What runs between the two ends.
pub(crate) struct Bridge {
    connection: Connection,
    outbox: Outbox,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    record: Record,
    _open: Counted,
}

impl Bridge {
    /// The bridge, and the end for the front door.
    pub(crate) fn new(connection: Connection, record: Record, metrics: &Metrics) -> (Self, Socket) {
        let (outbox, deliveries, socket) = ends(WINDOW);
        let bridge = Self {
            connection,
            outbox,
            deliveries,
            record,
            _open: Counted::new(&metrics.websockets),
        };
        (bridge, socket)
    }

    /// Carries messages until either side is done.
    pub(crate) async fn run(mut self) {
        let Connection {
            upstream:
                Upstream {
                    mut reader,
                    mut writer,
                },
            overtaken,
            in_flight: _in_flight,
        } = self.connection;
        let (ping, mut pings) = mpsc::channel(MAX_PINGS);
        let bytes = &mut self.record.bytes;
        let end = tokio::select! {
            end = to_client(&mut reader, &self.outbox, ping.clone(), bytes) => end,
            end = to_pod(&mut self.deliveries, &mut pings, &mut writer) => end,
            () = overtaken.cancelled() => End::Lost,
        };
        match end {
            End::Lost => self.outbox.send(gone()),
            End::Broken(message) => self.outbox.send(message),
            End::Closed(message) => {
                self.outbox.send(message.clone());
                answer_close(message, &mut reader, &mut writer).await;
            }
            // The application answers, and may have more to say before.
            End::ClientClosed => {
                let answer = to_client(&mut reader, &self.outbox, ping, bytes);
                if let Ok(End::Closed(message)) = timeout(CLOSE_TIMEOUT, answer).await {
                    self.outbox.send(message);
                }
            }
            End::ClientLost => {}
        }
    }
}

/// An end for the front door, and what is said there and to it. So many of the client's messages may wait.
pub(crate) fn ends(window: usize) -> (Outbox, mpsc::UnboundedReceiver<Delivery>, Socket) {
    let (outbox, outgoing) = outgoing();
    let (sender, deliveries) = mpsc::unbounded_channel();
    let incoming = SocketSender::new(window, move |delivery| {
        // Who is gone has told the client so.
        let _ = sender.send(delivery);
    });
    let socket = Socket {
        outgoing,
        incoming,
        lasts: Lasts::No,
    };
    (outbox, deliveries, socket)
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

async fn to_client(
    reader: &mut Reader<ReadHalf<Io>>,
    outbox: &Outbox,
    ping: mpsc::Sender<Bytes>,
    bytes: &mut u64,
) -> End {
    let (credit, shared) = (Arc::<Credit>::default(), SharedWindow::of_process());
    loop {
        let message = match next(reader, &ping).await {
            Ok(message) => message,
            Err(Unread::TooLong(close)) => return End::Broken(close),
            Err(Unread::Lost) => return End::Lost,
        };
        *bytes += message.len() as u64;
        if matches!(message, Message::Close { .. }) {
            return End::Closed(message);
        }
        pass_on(message, outbox, &credit, &shared).await;
    }
}

/// Why nothing more can be read of what a pod says.
pub(crate) enum Unread {
    /// It is too long; the client gets this.
    TooLong(Message),
    /// The pod is gone.
    Lost,
}

/// The next message of a pod. Its pings are passed on, to be answered.
///
/// # Errors
/// There is none.
pub(crate) async fn next(
    reader: &mut Reader<ReadHalf<Io>>,
    ping: &mpsc::Sender<Bytes>,
) -> Result<Message, Unread> {
    loop {
        match reader.next().await {
            Ok(Event::Message(message)) => return Ok(message),
            Ok(Event::Ping(payload)) => {
                // More than fit need no answer.
                let _ = ping.try_send(payload);
            }
            Ok(Event::Pong) => {}
            Err(ReadError::Violation(violation)) if violation.code == code::TOO_BIG => {
                return Err(Unread::TooLong(close(violation.code, violation.reason)));
            }
            Err(_) => return Err(Unread::Lost),
        }
    }
}

/// Passes a message on to the client, when what waits for it leaves room.
pub(crate) async fn pass_on(
    message: Message,
    outbox: &Outbox,
    credit: &Arc<Credit>,
    shared: &SharedWindow,
) {
    let place = credit.admit(message.len(), TO_CLIENT, shared).await;
    outbox.send(match message {
        Message::Text(payload) => Message::Text(placed(payload, place)),
        Message::Binary(payload) => Message::Binary(placed(payload, place)),
        close @ Message::Close { .. } => close,
    });
}

/// Answers a pod that has closed, and waits for it to end the connection, but not for long.
pub(crate) async fn answer_close(
    answer: Message,
    reader: &mut Reader<ReadHalf<Io>>,
    writer: &mut Writer<WriteHalf<Io>>,
) {
    let _ = timeout(CLOSE_TIMEOUT, async {
        if writer.message(answer).await.is_ok() {
            reader.linger().await;
        }
    })
    .await;
}

/// What a client is told for whom there is no pod any more.
pub(crate) fn gone() -> Message {
    close(code::SERVICE_RESTART, "the pod is gone")
}

/// A payload that gives its place in the window back when the front door drops it, having written it.
fn placed(payload: Bytes, place: Place) -> Bytes {
    struct Placed {
        payload: Bytes,
        _place: Place,
    }
    impl AsRef<[u8]> for Placed {
        fn as_ref(&self) -> &[u8] {
            &self.payload
        }
    }
    Bytes::from_owner(Placed {
        payload,
        _place: place,
    })
}

async fn to_pod(
    deliveries: &mut mpsc::UnboundedReceiver<Delivery>,
    pings: &mut mpsc::Receiver<Bytes>,
    writer: &mut Writer<WriteHalf<Io>>,
) -> End {
    loop {
        let delivery = tokio::select! {
            biased;
            Some(payload) = pings.recv() => {
                if writer.pong(&payload).await.is_err() {
                    return std::future::pending().await;
                }
                continue;
            }
            delivery = deliveries.recv() => delivery,
        };
        let Some(delivery) = delivery else {
            return End::ClientLost;
        };
        let closing = match &delivery.message {
            Message::Close {
                code: code::LOST, ..
            } => return End::ClientLost,
            Message::Close { .. } => true,
            Message::Text(_) | Message::Binary(_) => false,
        };
        if writer.message(delivery.message.clone()).await.is_err() {
            // The reader sees what happened, and perhaps a close frame before it.
            return std::future::pending().await;
        }
        if closing {
            return End::ClientClosed;
        }
    }
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close {
        code,
        reason: reason.to_owned(),
    }
}
