//! One connection from its start to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use deno_fetch::Client;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use portside_exchange::{Message, SocketSender};
use portside_websocket::{Decoder, Encoder, Event, ReadError, Reader, Role, Writer};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Heard;
use super::connect::{Target, connect};

/// Time for a peer to accept the connection and answer the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a peer to answer the closing handshake, and to take anything of what was sent before it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages on their way to JavaScript before the peer has to wait; [`SocketSender`] bounds their bytes.
const WINDOW: usize = 64;
/// A peer's pings that may wait for their answers. Of more, only these get one.
const MAX_PINGS: usize = 4;

type Io = TokioIo<Upgraded>;

/// The task's ends of what joins it to JavaScript.
pub(super) struct Ends {
    pub(super) outgoing: mpsc::UnboundedReceiver<Message>,
    /// Falls with each message that is written.
    pub(super) buffered: Arc<AtomicUsize>,
    pub(super) closing: Arc<Closing>,
    pub(super) heard: mpsc::UnboundedSender<Heard>,
}

/// Connects, and carries messages until either side is done. Messages received are of at most `limit` bytes.
///
/// # Errors
/// It did not open; the text says why.
pub(super) async fn run(
    client: Client,
    target: Target,
    limit: usize,
    ends: Ends,
) -> Result<(), String> {
    let connected = timeout(CONNECT_TIMEOUT, connect(&client, target)).await;
    let connected = connected.map_err(|_| "nobody has answered in time".to_owned())?;
    let (agreed, upgraded) = connected.map_err(|error| chain(&*error))?;
    let deflate = agreed.deflate;
    let heard = ends.heard.clone();
    // JavaScript that is gone needs to hear of nothing.
    let _ = heard.send(Heard::Open(agreed));
    let incoming = SocketSender::new(WINDOW, move |delivery| {
        let _ = heard.send(Heard::Delivery(delivery));
    });
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let decoder = Decoder::new(Role::Client, limit, deflate.is_some());
    let reader = Reader::new(read, decoder);
    let writer = Writer::new(write, Encoder::new(Role::Client, deflate));
    carry(reader, writer, incoming, ends).await;
    Ok(())
}

/// An error and what it came from.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        said.push(error.to_string());
        source = error.source();
    }
    said.dedup();
    said.join(": ")
}

/// Whether JavaScript has closed, and whether the peer still takes what was sent before.
#[derive(Default)]
pub(super) struct Closing {
    pub(super) begun: CancellationToken,
    moved: AtomicBool,
}

impl Closing {
    /// Ready when JavaScript has closed and for [`CLOSE_TIMEOUT`] nothing was written.
    async fn overdue(&self) {
        self.begun.cancelled().await;
        self.moved.store(true, Ordering::Relaxed);
        while self.moved.swap(false, Ordering::Relaxed) {
            sleep(CLOSE_TIMEOUT).await;
        }
    }
}

/// How reading ended.
enum End {
    /// The peer closed, with this.
    Closed(Message),
    /// The peer broke the protocol, and is to be told with this.
    Broken(Message),
    /// The connection is gone.
    Lost,
}

async fn carry(
    mut reader: Reader<ReadHalf<Io>>,
    mut writer: Writer<WriteHalf<Io>>,
    mut incoming: SocketSender,
    ends: Ends,
) {
    let (ping, mut pings) = mpsc::channel(MAX_PINGS);
    let Ends {
        mut outgoing,
        buffered,
        closing,
        ..
    } = ends;
    let mut sent = Sent {
        buffered,
        closing: &closing,
        closed: false,
    };
    let end = tokio::select! {
        biased;
        end = read_messages(&mut reader, &mut incoming, ping) => end,
        _ = write_messages(&mut writer, &mut outgoing, &mut pings, &mut sent) => End::Lost,
        () = closing.overdue() => End::Lost,
    };
    // A failure is what JavaScript hears of when `incoming` is dropped without a close.
    match end {
        End::Closed(message) => {
            let echoed = sent.closed || {
                let echo = timeout(CLOSE_TIMEOUT, writer.message(message.clone())).await;
                matches!(echo, Ok(Ok(())))
            };
            if echoed {
                incoming.send(message).await;
            }
            drop(incoming);
            // The server ends the connection (RFC 6455 section 7.1.1).
            let _ = timeout(CLOSE_TIMEOUT, reader.linger()).await;
        }
        End::Broken(message) => {
            drop(incoming);
            let _ = timeout(CLOSE_TIMEOUT, async {
                if writer.message(message).await.is_ok() && writer.shutdown().await.is_ok() {
                    reader.linger().await;
                }
            })
            .await;
        }
        End::Lost => {}
    }
}

/// Delivers the peer's messages, reading no further while JavaScript is behind.
async fn read_messages(
    reader: &mut Reader<ReadHalf<Io>>,
    incoming: &mut SocketSender,
    ping: mpsc::Sender<Bytes>,
) -> End {
    loop {
        match reader.next().await {
            Ok(Event::Message(closed @ Message::Close { .. })) => return End::Closed(closed),
            Ok(Event::Message(message)) => incoming.send(message).await,
            // More than fit need no answer.
            Ok(Event::Ping(payload)) => _ = ping.try_send(payload),
            Ok(Event::Pong) => {}
            Err(ReadError::Violation(violation)) => {
                return End::Broken(Message::Close {
                    code: violation.code,
                    reason: violation.reason.to_owned(),
                });
            }
            Err(ReadError::Lost(_)) => return End::Lost,
        }
    }
}

/// What the writer has done.
struct Sent<'a> {
    buffered: Arc<AtomicUsize>,
    closing: &'a Closing,
    /// A close frame is out.
    closed: bool,
}

/// Writes until it fails. Waits for ever behind a close frame, and when JavaScript is gone.
async fn write_messages(
    writer: &mut Writer<WriteHalf<Io>>,
    outgoing: &mut mpsc::UnboundedReceiver<Message>,
    pings: &mut mpsc::Receiver<Bytes>,
    sent: &mut Sent<'_>,
) -> io::Result<()> {
    loop {
        let message = tokio::select! {
            biased;
            Some(payload) = pings.recv() => {
                writer.pong(&payload).await?;
                continue;
            }
            Some(message) = outgoing.recv() => message,
            else => std::future::pending().await,
        };
        let (len, last) = match &message {
            Message::Close { .. } => (0, true),
            message => (message.len(), false),
        };
        writer.message(message).await?;
        sent.buffered.fetch_sub(len, Ordering::Relaxed);
        sent.closing.moved.store(true, Ordering::Relaxed);
        if last {
            sent.closed = true;
            return std::future::pending().await;
        }
    }
}
