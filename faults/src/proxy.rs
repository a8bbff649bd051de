//! A network between a pod and Postgres, other pods or the gateway, that can fail.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They arrive.
    Pass,
    /// They arrive so much later, each way.
    Delay(Duration),
    /// They wait, in both directions, and so do new connections.
    Hold,
    /// One answer in so many is swallowed and its connection cut right after: what was asked for has happened, and whoever asked
    /// does not know.
    LoseReplies(u64),
    /// One request in so many is swallowed and its connection cut: it has not happened, and whoever asked does not know.
    LoseRequests(u64),
    /// All connections are cut, and new ones at once.
    Refuse,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections of earlier generations are cut.
    generation: u64,
    /// Nothing that comes over connections of before the last silence arrives any more.
    silences: u64,
}

/// Who is reached through a proxy.
#[derive(Debug, Clone)]
pub enum Server {
    /// Whoever listens on a Unix socket.
    Socket(PathBuf),
    /// Whoever listens on a TCP port.
    Port(SocketAddr),
}

impl Server {
    async fn connect(&self) -> io::Result<(Reader, Writer)> {
        Ok(match self {
            Self::Socket(path) => {
                let (read, write) = UnixStream::connect(path).await?.into_split();
                (Box::new(read), Box::new(write))
            }
            Self::Port(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (read, write) = stream.into_split();
                (Box::new(read), Box::new(write))
            }
        })
    }
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A TCP port before a server.
#[derive(Debug)]
pub struct Proxy {
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on `address`.
    ///
    /// # Errors
    /// It cannot.
    pub async fn start(address: SocketAddr, server: Server) -> Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        let mode = Mode::Pass;
        let (state, seen) = watch::channel(State {
            mode,
            generation: 0,
            silences: 0,
        });
        let task = tokio::spawn(accept(listener, server, seen));
        Ok(Self { state, task })
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// From now on nothing arrives over the connections that there are, and none of them ends: as when whatever is in between
    /// has forgotten them. New ones work.
    pub fn silence(&self) {
        self.state.send_modify(|state| state.silences += 1);
    }

    /// Cuts all connections that there are.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: Server, state: watch::Receiver<State>) {
    let bytes = Arc::new(AtomicU64::new(0));
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let (server, state, bytes) = (server.clone(), state.clone(), bytes.clone());
        tokio::spawn(connection(client, server, state, bytes));
    }
}

async fn connection(
    client: TcpStream,
    server: Server,
    mut state: watch::Receiver<State>,
    count: Arc<AtomicU64>,
) {
    let generation = state.borrow_and_update().generation;
    let cut = state.clone();
    let serving = async {
        held(&mut state).await;
        let (from_server, to_server) = server.connect().await.ok()?;
        client.set_nodelay(true).ok()?;
        let (from_client, to_client) = client.into_split();
        tokio::select! {
            () = copy(from_client, to_server, Direction::Request, state.clone(), &count) => {}
            () = copy(from_server, to_client, Direction::Reply, state, &count) => {}
        }
        Some(())
    };
    tokio::select! {
        _ = serving => {}
        () = until_cut(cut, generation) => {}
    }
}

/// Returns when a connection of this generation is to end.
async fn until_cut(mut state: watch::Receiver<State>, generation: u64) {
    let is_over = |state: &State| state.generation != generation || state.mode == Mode::Refuse;
    // The lab is over if the sender is gone.
    let _ = state.wait_for(is_over).await;
}

/// Returns when there was one more silence than so many.
async fn until_silenced(mut state: watch::Receiver<State>, silences: u64) {
    // The lab is over if the sender is gone.
    let _ = state.wait_for(|it| it.silences != silences).await;
}

/// Returns when nothing is held, with how it is now.
async fn held(state: &mut watch::Receiver<State>) -> Mode {
    let passing = state.wait_for(|state| state.mode != Mode::Hold).await;
    passing.map_or(Mode::Refuse, |state| state.mode)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

/// Copies until either side ends. Once it is silenced it does nothing, and says nothing of it.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    state: watch::Receiver<State>,
    count: &AtomicU64,
) {
    let silences = state.borrow().silences;
    let silenced = until_silenced(state.clone(), silences);
    let copying = copy_all(&mut from, &mut to, direction, state, count);
    tokio::select! {
        biased;
        () = silenced => std::future::pending().await,
        () = copying => {}
    }
}

async fn copy_all(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    direction: Direction,
    mut state: watch::Receiver<State>,
    count: &AtomicU64,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let one_in = |n: u64| {
            count
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(n.max(1))
        };
        match held(&mut state).await {
            Mode::Delay(time) => tokio::time::sleep(time).await,
            Mode::LoseReplies(n) if direction == Direction::Reply && one_in(n) => return,
            Mode::LoseRequests(n) if direction == Direction::Request && one_in(n) => return,
            _ => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::UnixListener;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    /// A server that answers every byte with itself, and tells of it.
    async fn proxied() -> (
        Proxy,
        SocketAddr,
        mpsc::UnboundedReceiver<u8>,
        tempfile::TempDir,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        let _ = tell.send(byte);
                        if stream.write_u8(byte).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let proxy = Proxy::start(port, Server::Socket(socket)).await.unwrap();
        (proxy, port, told, folder)
    }

    /// One byte there and back.
    async fn echo(stream: &mut TcpStream, byte: u8) -> Option<u8> {
        stream.write_u8(byte).await.ok()?;
        stream.read_u8().await.ok()
    }

    #[tokio::test]
    async fn bytes_pass_until_the_connection_is_cut() {
        let (proxy, address, _told, _folder) = proxied().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(echo(&mut stream, 1).await, Some(1));
        proxy.set(Mode::Delay(Duration::from_millis(5)));
        assert_eq!(echo(&mut stream, 2).await, Some(2));
        proxy.cut();
        assert_eq!(stream.read_u8().await.ok(), None);
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(echo(&mut stream, 3).await, Some(3));
        proxy.set(Mode::Refuse);
        assert_eq!(echo(&mut stream, 4).await, None);
    }

    #[tokio::test]
    async fn a_lost_reply_is_to_a_request_that_arrived() {
        let (proxy, address, mut told, _folder) = proxied().await;
        proxy.set(Mode::LoseReplies(1));
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(echo(&mut stream, 1).await, None);
        assert_eq!(told.recv().await, Some(1));
    }

    #[tokio::test]
    async fn a_lost_request_does_not_arrive() {
        let (proxy, address, mut told, _folder) = proxied().await;
        proxy.set(Mode::LoseRequests(1));
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(echo(&mut stream, 1).await, None);
        proxy.set(Mode::Pass);
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(echo(&mut stream, 2).await, Some(2));
        assert_eq!(told.recv().await, Some(2), "1 was lost");
    }

    #[tokio::test]
    async fn connections_of_before_a_silence_hang_and_new_ones_work() {
        let (proxy, address, mut told, _folder) = proxied().await;
        let mut before = TcpStream::connect(address).await.unwrap();
        assert_eq!(echo(&mut before, 1).await, Some(1));
        told.recv().await;
        proxy.silence();
        before.write_u8(2).await.unwrap();
        let mut after = TcpStream::connect(address).await.unwrap();
        assert_eq!(echo(&mut after, 3).await, Some(3));
        assert_eq!(told.recv().await, Some(3), "2 does not arrive");
        let heard = timeout(Duration::from_millis(50), before.read_u8()).await;
        assert!(heard.is_err(), "it neither answers nor ends");
        proxy.cut();
        assert!(before.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn what_is_held_arrives_afterwards() {
        let (proxy, address, mut told, _folder) = proxied().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(echo(&mut stream, 1).await, Some(1));
        told.recv().await;
        proxy.set(Mode::Hold);
        stream.write_u8(2).await.unwrap();
        assert!(
            timeout(Duration::from_millis(50), told.recv())
                .await
                .is_err()
        );
        proxy.set(Mode::Pass);
        assert_eq!(stream.read_u8().await.unwrap(), 2);
    }
}
