//! A front door to test, and a client that sends exactly what it is told.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use portside_exchange::{Application, Body, FetchError, Request, Response};
use portside_frontdoor::{Config, FrontDoor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub type Fetched = Result<Response, FetchError>;

/// Far more than any step takes; reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

type Fetch = dyn Fn(Request) -> BoxFuture<'static, Fetched> + Send + Sync;

struct Script {
    fetch: Box<Fetch>,
    calls: Arc<AtomicUsize>,
}

impl Application for Script {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Fetched> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        (self.fetch)(request)
    }
}

pub struct Running {
    pub addr: SocketAddr,
    pub sockets: CancellationToken,
    calls: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Short enough to wait for, long enough for a busy machine.
pub fn config() -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        shutdown_timeout: PATIENCE,
        ..Config::default()
    }
}

pub async fn start<F, R>(config: Config, fetch: F) -> Running
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Fetched> + Send + 'static,
{
    let calls = Arc::new(AtomicUsize::new(0));
    let script = Script {
        fetch: Box::new(move |request| Box::pin(fetch(request))),
        calls: Arc::clone(&calls),
    };
    let door = FrontDoor::bind(config, Arc::new(script)).await.unwrap();
    let addr = door.local_addr();
    let sockets = door.sockets();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(door.run(async {
        // Dropped when a test fails: stop as well.
        let _ = stopped.await;
    }));
    Running {
        addr,
        sockets,
        calls,
        stop: Some(stop),
        task,
    }
}

impl Running {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Begins to shut down.
    pub fn shut_down(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Shuts down and waits for the end.
    pub async fn end(mut self) {
        if self.stop.is_some() {
            self.shut_down();
        }
        within(self.task).await.unwrap();
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.addr).await
    }

    /// Sends a request on a connection of its own.
    pub async fn ask(&self, request: &str) -> Reply {
        let mut client = self.connect().await;
        client.send(request).await;
        client.reply().await
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this takes too long")
}

/// Waits until `condition` holds.
pub async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub fn respond(status: u16, body: Body) -> Response {
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        reason: Bytes::new(),
        headers: HeaderMap::new(),
        body,
        socket: None,
    }
}

pub fn text(body: impl Into<Bytes>) -> Response {
    respond(200, Body::Full(body.into()))
}

/// A raw connection.
pub struct Client {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(addr).await.unwrap(),
            buffer: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads more; false at the end of the connection, however it came.
    pub async fn fill(&mut self) -> bool {
        within(self.stream.read_buf(&mut self.buffer))
            .await
            .is_ok_and(|len| len > 0)
    }

    /// Whether the server has ended the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill().await
    }

    pub async fn read(&mut self, len: usize) -> Vec<u8> {
        while self.buffer.len() < len {
            assert!(self.fill().await, "closed after {:?}", self.buffer);
        }
        self.buffer.drain(..len).collect()
    }

    pub async fn read_until(&mut self, end: &str) -> String {
        loop {
            let found = self
                .buffer
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let bytes = self.buffer.drain(..at + end.len()).collect();
                return String::from_utf8(bytes).unwrap();
            }
            assert!(
                self.fill().await,
                "closed after {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    pub async fn head(&mut self) -> Reply {
        let head = self.read_until("\r\n\r\n").await;
        Reply {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
        }
    }

    /// One chunk's bytes; empty for the last.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let size = self.read_until("\r\n").await;
        let len = usize::from_str_radix(size.trim(), 16).unwrap();
        let bytes = self.read(len).await;
        assert_eq!(self.read(2).await, b"\r\n");
        bytes
    }

    /// A whole response to anything but HEAD.
    pub async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        if let Some(len) = reply.header("content-length") {
            let len = len.parse().unwrap();
            reply.body = self.read(len).await;
        } else if reply.header("transfer-encoding").is_some() {
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    break;
                }
                reply.body.extend(chunk);
            }
        }
        reply
    }
}
