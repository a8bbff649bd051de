//! WebSocket clients: one that waits for its echo, and a room full of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::load::{Client, Recorder, Sample};
use crate::peer::Server;
use crate::scenario::Plan;

/// Messages on their way to the room at a time: enough to keep the server busy.
const IN_FLIGHT: usize = 8;

/// A client's end of one.
pub type Stream = WebSocketStream<TcpStream>;

/// Opens a WebSocket.
pub async fn open(address: SocketAddr, path: &str) -> Result<Stream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let opened = client_async(format!("ws://{address}{path}"), stream).await;
    let (socket, _) = opened.with_context(|| format!("no WebSocket at {path}"))?;
    Ok(socket)
}

/// Opens a WebSocket to somebody who says so.
pub async fn join(address: SocketAddr, path: &str) -> Result<Stream> {
    let mut socket = open(address, path).await?;
    let welcome = receive(&mut socket).await?;
    ensure!(welcome == "joined", "{path} says {welcome}");
    Ok(socket)
}

/// The next text message.
pub async fn receive<S>(socket: &mut S) -> Result<Utf8Bytes>
where
    S: futures::Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    loop {
        match socket
            .next()
            .await
            .context("the server closed the WebSocket")??
        {
            Message::Text(text) => return Ok(text),
            Message::Ping(_) | Message::Pong(_) => {}
            other => bail!("the server sent {other:?}"),
        }
    }
}

/// The text of the message with this number, 64 bytes long.
fn text(number: usize) -> String {
    format!("{number:064}")
}

/// Sends, and waits for the same to come back.
pub struct Echo {
    socket: Stream,
    sent: usize,
}

impl Echo {
    /// So many clients of a stateless server.
    pub async fn open_many(address: SocketAddr, count: usize) -> Result<Vec<Self>> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Self::new(open(address, "/echo").await?));
        }
        Ok(clients)
    }

    /// A client of whoever sends back what comes on this socket.
    pub fn new(socket: Stream) -> Self {
        Self { socket, sent: 0 }
    }
}

impl Client for Echo {
    async fn once(&mut self) -> Result<()> {
        self.sent += 1;
        self.socket.send(Message::text(text(self.sent))).await?;
        let echo = receive(&mut self.socket).await?;
        ensure!(
            echo == text(self.sent),
            "sent message {}, got {echo} back",
            self.sent
        );
        Ok(())
    }
}

/// A message on its way to the members.
#[derive(Clone, Copy)]
struct Flight {
    sent: Instant,
    /// How many members do not have it yet.
    left: usize,
}

/// What the members of the room and the one who speaks share.
struct Room {
    recorder: Arc<Recorder>,
    /// One permit for each message that may be sent now.
    may_send: Semaphore,
    /// The message of a number is at that number modulo the length: a place is free again when its message has
    /// reached everybody, and messages reach everybody in the order in which they were sent.
    flights: Mutex<[Flight; IN_FLIGHT]>,
}

impl Room {
    /// Sends one message after the other, as many at a time as are allowed.
    async fn speak(&self, mut speaker: SplitSink<Stream, Message>, members: usize) -> Result<()> {
        for number in 0.. {
            self.may_send.acquire().await?.forget();
            self.flight(number, |flight| {
                *flight = Flight {
                    sent: Instant::now(),
                    left: members,
                }
            });
            speaker.send(Message::text(text(number))).await?;
        }
        Ok(())
    }

    /// Takes every message, which must come in order and without gaps.
    async fn listen(&self, mut member: SplitStream<Stream>) -> Result<()> {
        for number in 0.. {
            let received = receive(&mut member).await?;
            ensure!(
                received == text(number),
                "expected message {number}, got {received}"
            );
            let (sent, left) = self.flight(number, |flight| {
                flight.left -= 1;
                (flight.sent, flight.left)
            });
            self.recorder.record(sent);
            if left == 0 {
                self.may_send.add_permits(1);
            }
        }
        Ok(())
    }

    fn flight<T>(&self, number: usize, act: impl FnOnce(&mut Flight) -> T) -> T {
        act(&mut self.flights.lock().expect("its holders do not panic")[number % IN_FLIGHT])
    }
}

/// Fills a room with members, one for each path, one of whom speaks, and counts each delivery to each member.
pub async fn broadcast(server: &Server, plan: &Plan, paths: &[String]) -> Result<Sample> {
    let members = paths.len();
    let mut speaker = None;
    let mut listeners = Vec::with_capacity(members);
    for path in paths {
        let (sink, member) = join(server.address, path).await?.split();
        listeners.push((member, speaker.replace(sink)));
    }

    let recorder = Recorder::start(plan);
    let nothing = Flight {
        sent: Instant::now(),
        left: 0,
    };
    let room = Arc::new(Room {
        recorder: recorder.clone(),
        may_send: Semaphore::new(IN_FLIGHT),
        flights: Mutex::new([nothing; IN_FLIGHT]),
    });
    let mut tasks = JoinSet::new();
    for (member, silent) in listeners {
        let room = room.clone();
        tasks.spawn(async move {
            let _open = silent; // a WebSocket is open as long as both halves are there
            room.listen(member).await
        });
    }
    let speaker = speaker.context("a room needs a member to speak")?;
    tasks.spawn(async move { room.speak(speaker, members).await });
    let sample = recorder.watch(|| server.cpu_time(), tasks).await;
    sample.with_context(|| format!("the server printed:\n{}", server.log()))
}
