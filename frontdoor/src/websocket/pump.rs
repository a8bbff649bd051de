//! Moves messages between a client's connection and the application until either is done.
//!
//! Three futures share one task: the reader, the keep-alive and the writer, always polled in this order. Whatever
//! the first two leave in [`Link`] is therefore seen by the writer in the same poll, and needs no waking.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use portside_exchange::envelope::OVERHEAD_BYTES;
use portside_exchange::{Lasts, Message, Outgoing, Socket, SocketSender};
use portside_websocket::{Decoder, Encoder, Event, Role, code};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;
use tokio_util::sync::WaitForCancellationFuture;

use super::Accepted;
use crate::Config;
use crate::server::Door;

/// Bytes gathered before a write, and read at once.
const BURST: usize = 64 << 10;
/// Unanswered pings after which a peer is lost.
const MAX_MISSED: u32 = 2;
/// A peer's pings that wait for their answers. Of more, the latest get one (RFC 6455 section 5.5.3 asks for no more than
/// the very latest).
const MAX_PINGS: usize = 32;

thread_local! {
    /// Where reads go first, so that an idle socket needs no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BURST].into());
}

/// What the reader and the keep-alive tell the writer, and each other.
#[derive(Default)]
struct Link {
    orders: Mutex<Orders>,
    /// Something arrived since the keep-alive last looked.
    heard: AtomicBool,
    /// The reader waits for the application, so it cannot hear anything.
    delivering: AtomicBool,
}

#[derive(Default)]
struct Orders {
    ping: bool,
    /// What the peer's pings carried: at most [`MAX_PINGS`].
    pongs: VecDeque<Bytes>,
    close: Option<(u16, String)>,
    /// The close is for a client that broke the protocol.
    refused: bool,
    /// The peer's close, which the application is to answer.
    unanswered: Option<(u16, String)>,
}

impl Link {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    fn answer_ping(&self, payload: Bytes) {
        let mut orders = self.orders();
        if orders.pongs.len() == MAX_PINGS {
            orders.pongs.pop_front();
        }
        orders.pongs.push_back(payload);
    }

    fn delivering(&self) -> bool {
        self.delivering.load(Ordering::Relaxed)
    }

    /// The close for a client that broke the protocol.
    fn refusal(&self) -> Option<(u16, String)> {
        let mut orders = self.orders();
        if orders.refused {
            orders.close.take()
        } else {
            None
        }
    }

    /// Has the peer's close answered with the same, for an application that does not.
    fn answer_close(&self) {
        let mut orders = self.orders();
        orders.close = orders.unanswered.take();
    }

    async fn while_delivering(&self, delivery: impl Future<Output = ()>) {
        self.delivering.store(true, Ordering::Relaxed);
        delivery.await;
        self.delivering.store(false, Ordering::Relaxed);
    }
}

/// How reading ended.
enum End {
    /// The client closed, and the application knows.
    Closed,
    /// The client broke the protocol. A close frame is ordered.
    Refused,
    /// The connection is gone.
    Lost,
}

/// Runs a WebSocket to its end. `early` is what the client sent right behind its handshake.
pub(crate) async fn run(mut stream: TcpStream, early: Bytes, accepted: Accepted, door: Arc<Door>) {
    let Accepted {
        socket, deflate, ..
    } = accepted;
    let Socket {
        outgoing,
        incoming,
        lasts,
    } = socket;
    let config = &door.config;
    // One that is held leaves by itself, and its messages are in envelopes.
    let (draining, envelope) = match lasts {
        Lasts::Held => (&door.draining, OVERHEAD_BYTES),
        Lasts::No | Lasts::Reopened | Lasts::Kept => (&door.sockets, 0),
    };
    let link = Link::default();
    let (read, write) = stream.split();
    let max_message_bytes = config.max_message_bytes + envelope;
    let mut decoder = Decoder::new(Role::Server, max_message_bytes, deflate.is_some());
    decoder.buffer().extend_from_slice(&early);
    drop(early);
    let patience = config.close_timeout;
    let mut reader = pin!(read_messages(&read, decoder, incoming, &link, patience));
    let writer = Writer {
        write,
        buffer: BytesMut::new(),
        encoder: Encoder::new(Role::Server, deflate),
        patience: config.write_timeout,
        shutdown_code: config.shutdown_code,
        link: &link,
    };
    let draining = pin!(draining.cancelled());
    let mut writer = pin!(writer.run(outgoing, draining));
    let end = {
        let mut keep_alive = pin!(keep_alive(&link, config));
        tokio::select! {
            biased;
            end = &mut reader => Some(end),
            () = &mut keep_alive => return,
            written = &mut writer => match written {
                Ok(()) => None,
                Err(_) => return,
            },
        }
    };
    match end {
        // Our close frame is out: the client's must follow. An application that is behind may take its time.
        None => while timeout(patience, &mut reader).await.is_err() && link.delivering() {},
        // The application answers, and may have more to say before; but not for long.
        Some(End::Closed) => {
            if timeout(patience, &mut writer).await.is_err() {
                link.answer_close();
                let _ = timeout(patience, writer).await;
            }
        }
        Some(End::Refused) => {
            let _ = timeout(patience, async {
                let _ = writer.await;
                linger(&read).await;
            })
            .await;
        }
        Some(End::Lost) => {}
    }
}

/// Asks a silent peer whether it lives. Ends when it does not.
async fn keep_alive(link: &Link, config: &Config) {
    let mut missed = 0;
    loop {
        tokio::time::sleep(config.ping_interval).await;
        let heard = link.heard.swap(false, Ordering::Relaxed);
        if heard || link.delivering() {
            missed = 0;
        } else if missed == MAX_MISSED {
            return;
        } else {
            missed += 1;
            link.orders().ping = true;
        }
    }
}

/// Delivers the client's messages, reading no further while the application is behind. A client that broke the protocol
/// is told so when the application has taken what came before, or after `patience`.
async fn read_messages(
    read: &ReadHalf<'_>,
    mut decoder: Decoder,
    mut incoming: SocketSender,
    link: &Link,
    patience: Duration,
) -> End {
    loop {
        let message = match decoder.event() {
            Ok(Some(Event::Message(message))) => message,
            Ok(Some(Event::Ping(payload))) => {
                link.answer_ping(payload);
                continue;
            }
            Ok(Some(Event::Pong)) => continue,
            Ok(None) => {
                if read_more(read, decoder.buffer()).await.is_err() {
                    return End::Lost;
                }
                link.heard.store(true, Ordering::Relaxed);
                continue;
            }
            Err(violation) => {
                link.while_delivering(async {
                    let _ = timeout(patience, incoming.taken()).await;
                })
                .await;
                let mut orders = link.orders();
                orders.close = Some((violation.code, violation.reason.to_owned()));
                orders.refused = true;
                drop(orders);
                incoming.broken(format!(
                    "WebSocket protocol error; protocolError.statusCode = {}; protocolError.description = {}",
                    violation.code, violation.reason
                ));
                return End::Refused;
            }
        };
        let closing = match &message {
            Message::Close { code, reason } => {
                link.orders().unanswered = Some((*code, reason.clone()));
                true
            }
            Message::Text(_) | Message::Binary(_) => false,
        };
        let mut delivery = pin!(incoming.send(message));
        link.while_delivering(async {
            if closing && timeout(patience, &mut delivery).await.is_err() {
                link.answer_close();
            } else if closing {
                return;
            }
            delivery.await;
        })
        .await;
        if closing {
            return End::Closed;
        }
    }
}

/// Appends at least one byte. Fails at the end of the stream.
async fn read_more(read: &ReadHalf<'_>, buffer: &mut BytesMut) -> io::Result<()> {
    loop {
        // Not `readable`: it would leave the stream's place for a waker, and with it the memory of a whole task, to
        // the HTTP connection that was served before.
        poll_fn(|cx| read.as_ref().poll_read_ready(cx)).await?;
        let result = if buffer.is_empty() {
            SCRATCH.with_borrow_mut(|scratch| {
                let len = read.try_read(scratch)?;
                buffer.extend_from_slice(&scratch[..len]);
                Ok(len)
            })
        } else {
            // Within a longer message: no copy.
            buffer.reserve(BURST);
            read.try_read_buf(buffer)
        };
        match result {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads and forgets until the client is done: closing with unread bytes would reset the connection, and a reset
/// can overtake our close frame.
async fn linger(read: &ReadHalf<'_>) {
    let mut buffer = BytesMut::new();
    while read_more(read, &mut buffer).await.is_ok() {
        buffer.clear();
    }
}

struct Writer<'a> {
    write: WriteHalf<'a>,
    buffer: BytesMut,
    encoder: Encoder,
    /// How long the peer may take no byte.
    patience: Duration,
    shutdown_code: u16,
    link: &'a Link,
}

/// Why the writer has something to do.
enum Work {
    Ordered,
    Message(Message),
    Finished,
    Draining,
}

impl Writer<'_> {
    /// Writes until a close frame is out and our side of the connection is shut.
    async fn run(
        mut self,
        mut outgoing: Outgoing,
        mut draining: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> io::Result<()> {
        loop {
            let work = poll_fn(|cx| {
                let orders = self.link.orders();
                if orders.ping || !orders.pongs.is_empty() || orders.close.is_some() {
                    return Poll::Ready(Work::Ordered);
                }
                drop(orders);
                if let Poll::Ready(message) = outgoing.poll_recv(cx) {
                    return Poll::Ready(message.map_or(Work::Finished, Work::Message));
                }
                draining.as_mut().poll(cx).map(|()| Work::Draining)
            })
            .await;
            let mut closed = match work {
                Work::Ordered => false,
                Work::Message(message) => self.push(message).await?,
                Work::Draining => self.push_close(self.shutdown_code, "shutting down"),
                // The application went away without a word.
                Work::Finished => {
                    let unanswered = self.link.orders().unanswered.take();
                    let (code, reason) =
                        unanswered.unwrap_or((code::INTERNAL_ERROR, String::new()));
                    self.push_close(code, &reason)
                }
            };
            // One write for all that is ready: a broadcast costs one system call per socket and burst.
            let (mut pushed, mut all) = (0, false);
            while !closed && !all && pushed < BURST {
                self.push_pings();
                match outgoing.try_recv() {
                    Some(message) => {
                        pushed += message.len().max(1);
                        closed = self.push(message).await?;
                    }
                    None => all = true,
                }
            }
            if !closed {
                self.push_pings();
            }
            // What the application sent before goes before it.
            if !closed && all {
                let ordered = self.link.orders().close.take();
                if let Some((code, reason)) = ordered {
                    closed = self.push_close(code, &reason);
                }
            }
            self.flush().await?;
            if closed {
                return self.write.shutdown().await;
            }
        }
    }

    /// Adds pings and their answers to the burst. Before messages: one of those may be the answer to what came after a ping.
    fn push_pings(&mut self) {
        let mut orders = self.link.orders();
        for payload in std::mem::take(&mut orders.pongs) {
            self.encoder.pong(&mut self.buffer, &payload);
        }
        if std::mem::take(&mut orders.ping) {
            self.encoder.ping(&mut self.buffer, &[]);
        }
    }

    /// Adds a message to the burst. True if it was the close.
    async fn push(&mut self, message: Message) -> io::Result<bool> {
        if let Message::Close { code, reason } = message {
            if code == code::LOST {
                // The connection breaks off, as the application's has.
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            // An application that hears of a lost client closes without a code; the client shall know its mistake.
            let refusal = self.link.refusal();
            let (code, reason) = refusal.unwrap_or((code, reason));
            return Ok(self.push_close(code, &reason));
        }
        if let Some(rest) = self.encoder.message(&mut self.buffer, message) {
            self.flush().await?;
            write_all(&mut self.write, &rest, self.patience).await?;
        }
        Ok(false)
    }

    fn push_close(&mut self, code: u16, reason: &str) -> bool {
        self.encoder.close(&mut self.buffer, code, reason);
        true
    }

    /// Writes the burst, and gives its memory back.
    async fn flush(&mut self) -> io::Result<()> {
        let burst = std::mem::take(&mut self.buffer);
        write_all(&mut self.write, &burst, self.patience).await
    }
}

async fn write_all(
    write: &mut WriteHalf<'_>,
    mut bytes: &[u8],
    patience: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(patience, write.write(bytes)).await??;
        bytes = &bytes[written..];
    }
    Ok(())
}
