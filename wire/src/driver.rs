//! A connection over TLS: bytes between the machine and a socket, and a handle for those who use its links.

mod counted;
mod pump;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::task::AtomicWaker;
use portside_worker::link::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsStream;

use self::counted::Counted;
use crate::connection::{Connection, Ending, Event, Held, LinkNumber, OpenError, SendError, Side};
use crate::frame::{Accepted, Frame, Opening, Refusal};
use crate::limits::Limits;
use crate::tls::{Fingerprint, Key, Peers, no_name, proven};

pub use pump::Driver;

/// The links of one connection. Cheap to clone; no method blocks, and each may be called from any thread.
#[derive(Clone)]
pub struct Links {
    shared: Arc<Shared>,
}

struct Shared {
    machine: Mutex<Connection>,
    /// Whoever drives the connection.
    driver: AtomicWaker,
    start: Instant,
    peer: Fingerprint,
}

/// The place of something received in the other side's windows. It is free again when this is dropped: when what was
/// received is in the application's hands.
pub struct Place {
    links: Links,
    held: Option<Held>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The handshake failed, or the transport: the other side has another key, does not know this side's, or went away.
    #[error("no secure connection: {0}")]
    Tls(#[from] io::Error),
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// It took too long.
    #[error("no connection within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The other side speaks TLS, but no links.
    #[error("no links: {0}")]
    Ended(#[from] Ending),
}

/// Makes a connection, on `stream`, to the one peer with this key. Of a TCP stream `TCP_NODELAY` should be set: what goes
/// together is written together already.
///
/// # Errors
/// [`ConnectError`], at the latest after `limits.handshake`.
pub async fn dial<S>(
    stream: S,
    key: &Key,
    peer: Fingerprint,
    limits: Limits,
) -> Result<(Links, Driver<S>), ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connector = key.connector(peer)?;
    let connected = timeout(limits.handshake, async {
        let stream = connector.connect(no_name(), Counted::new(stream)).await?;
        meet(TlsStream::Client(stream), Side::Dialer, limits).await
    });
    let timed_out = ConnectError::TimedOut(limits.handshake);
    connected.await.unwrap_or(Err(timed_out))
}

/// Makes a connection with whoever called on `stream`, if `peers` knows its key, which [`Links::peer`] tells. A handshake
/// costs CPU before that is known: whoever calls this bounds how many are under way.
///
/// # Errors
/// [`ConnectError`], at the latest after `limits.handshake`.
pub async fn accept<S>(
    stream: S,
    key: &Key,
    peers: Arc<dyn Peers>,
    limits: Limits,
) -> Result<(Links, Driver<S>), ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let acceptor = key.acceptor(peers)?;
    let connected = timeout(limits.handshake, async {
        let stream = acceptor.accept(Counted::new(stream)).await?;
        meet(TlsStream::Server(stream), Side::Listener, limits).await
    });
    let timed_out = ConnectError::TimedOut(limits.handshake);
    connected.await.unwrap_or(Err(timed_out))
}

/// Both sides say what they speak and allow.
async fn meet<S>(
    stream: TlsStream<Counted<S>>,
    side: Side,
    limits: Limits,
) -> Result<(Links, Driver<S>), ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let peer = proven(stream.get_ref().1.peer_certificates());
    let peer = peer.ok_or_else(|| io::Error::other("the other side has shown no key"))?;
    let links = Links {
        shared: Arc::new(Shared {
            machine: Mutex::new(Connection::new(side, limits, Duration::ZERO)),
            driver: AtomicWaker::new(),
            start: Instant::now(),
            peer,
        }),
    };
    let mut driver = Driver::new(stream, links.clone(), limits.silence);
    driver.meet().await?;
    Ok((links, driver))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        // No method of the machine leaves it halfway.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Links {
    fn with<T>(&self, act: impl FnOnce(&mut Connection) -> T) -> T {
        let mut machine = self.shared.lock();
        let before = machine.wants_to_send();
        let outcome = act(&mut machine);
        let now = machine.wants_to_send();
        drop(machine);
        if now && !before {
            self.shared.driver.wake();
        }
        outcome
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> Fingerprint {
        self.shared.peer
    }

    /// Whether links can be opened.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.lock().is_ready()
    }

    /// Opens a link, as [`Connection::open`] does.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, opening: Opening) -> Result<LinkNumber, OpenError> {
        self.with(|machine| machine.open(opening))
    }

    /// Takes a link that the other side opened.
    pub fn accept(&self, link: LinkNumber, accepted: Accepted) {
        self.with(|machine| machine.accept(link, accepted));
    }

    /// Refuses a link that the other side opened, of which no code has run.
    pub fn refuse(&self, link: LinkNumber, refusal: Refusal) {
        self.with(|machine| machine.refuse(link, refusal));
    }

    /// Sends a frame, as [`Connection::send`] does.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&self, link: LinkNumber, frame: Frame) -> Result<(), SendError> {
        self.with(|machine| machine.send(link, frame))
    }

    /// Closes a link, behind what was sent on it.
    pub fn close(&self, link: LinkNumber, reason: CloseReason) {
        self.with(|machine| machine.close(link, reason));
    }

    /// Ends the connection, and all its links with [`CloseReason::Lost`].
    pub fn end(&self) {
        self.with(Connection::end);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.links.with(|machine| machine.taken(held));
        }
    }
}

/// What an application hears of a connection.
pub type Arrival = Event<Place>;
