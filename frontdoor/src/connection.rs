//! One client connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::body::{Outgoing, Stall};
use crate::io::{Heads, Io};
use crate::panics::{self, What};
use crate::server::Door;
use crate::websocket::{self, Accepted};
use crate::{request, request_id, response};

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for a usual request's head, read in one go before the protocol is known.
const FIRST_READ: usize = 1024;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// How often, and for how long, a silent HTTP/2 peer is asked whether it lives.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// Time for a client to notice that it is answered before its body has ended.
const LINGER: Duration = Duration::from_secs(2);
/// All that a head which came too slowly gets: hyper has given up on the connection by then.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What a connection's requests share.
pub(crate) struct Connection {
    pub(crate) door: Arc<Door>,
    pub(crate) peer: IpAddr,
    /// `peer` as a header value, made once.
    pub(crate) forwarded_for: HeaderValue,
    /// Where the client connected to: the host of an HTTP/1.0 request without one.
    pub(crate) local: SocketAddr,
    pub(crate) trusted: bool,
    pub(crate) heads: Arc<Heads>,
    /// The WebSocket to run once the response of its handshake is written.
    pub(crate) accepted: Mutex<Option<Accepted>>,
    /// Bodies on their way to an HTTP/2 client.
    downloads: Mutex<Vec<Weak<Stall>>>,
}

impl Connection {
    /// Ready when a client has given a stream no room for too long. HTTP/1.1 needs no such thing: there the connection is
    /// the stream.
    async fn stalled(&self) {
        let patience = self.door.config.write_timeout;
        loop {
            tokio::time::sleep(patience / 4).await;
            let mut stalled = false;
            let mut downloads = self.downloads();
            downloads.retain(|download| {
                let download = download.upgrade();
                let since = download.as_ref().and_then(|download| download.since());
                stalled |= since.is_some_and(|since| since.elapsed() >= patience);
                download.is_some()
            });
            if stalled {
                return;
            }
        }
    }

    fn downloads(&self) -> MutexGuard<'_, Vec<Weak<Stall>>> {
        self.downloads
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }
}

/// Serves one connection to its end. Dropping the future cuts it off.
pub(crate) async fn serve(door: Arc<Door>, stream: TcpStream, peer: SocketAddr) {
    let Ok(mut local) = stream.local_addr() else {
        return;
    };
    // IPv4 clients of a listener for both families have addresses of IPv6.
    local.set_ip(local.ip().to_canonical());
    // Responses are written whole, so waiting for more only adds latency.
    let _ = stream.set_nodelay(true);
    let sniffed = tokio::time::timeout(door.config.header_timeout, sniff(&stream));
    let draining = door.draining.clone();
    let (early, http2) = match draining.run_until_cancelled(sniffed).await {
        Some(Ok(Ok(sniffed))) => sniffed,
        // Lost, silent, or not begun when shutdown began. A client that sent part of HTTP/2's preface
        // understands no 408.
        _ => return,
    };
    let peer = peer.ip().to_canonical();
    let heads = Arc::new(Heads::new(door.config.max_header_bytes));
    let connection = Arc::new(Connection {
        peer,
        forwarded_for: HeaderValue::try_from(peer.to_string())
            .expect("an IP address has only visible ASCII"),
        local,
        trusted: door.config.trusted_proxies.trusts(peer),
        heads: Arc::clone(&heads),
        accepted: Mutex::new(None),
        downloads: Mutex::default(),
        door,
    });
    let io = Io::new(stream, early, Arc::clone(&heads), &connection.door.config);
    if http2 {
        heads.end(true);
        serve_http2(connection, io).await;
    } else {
        serve_http1(connection, io).await;
    }
}

/// Reads until the bytes are, or are not, the preface of HTTP/2. Fails at the end of the stream.
///
/// Done here because hyper-util's own detection has no timeout.
async fn sniff(stream: &TcpStream) -> io::Result<(Bytes, bool)> {
    let mut early = Vec::new();
    loop {
        stream.readable().await?;
        early.reserve(FIRST_READ);
        match stream.try_read_buf(&mut early) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if early.starts_with(HTTP2_PREFACE) => return Ok((early.into(), true)),
            Ok(_) if HTTP2_PREFACE.starts_with(&early) => {}
            Ok(_) => return Ok((early.into(), false)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn serve_http1(connection: Arc<Connection>, io: Io) {
    let config = &connection.door.config;
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request: hyper::Request<Incoming>| {
            let connection = Arc::clone(&connection);
            // From here on, not from the first poll: hyper looks at the connection before that.
            let answering = connection.heads.answering();
            async move {
                let mut response = answer(&connection, request).await;
                response.body_mut().answers(answering);
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(config.max_header_bytes.max(8 << 10))
        .max_headers(config.max_headers)
        .serve_connection(TokioIo::new(io), service);
    let draining = &connection.door.draining;
    let result = match draining.run_until_cancelled(&mut serving).await {
        Some(result) => result,
        None => {
            Pin::new(&mut serving).graceful_shutdown();
            (&mut serving).await
        }
    };
    let parts = serving.into_parts();
    let mut stream = parts.io.into_inner().stream;
    if let Err(error) = result {
        tracing::debug!(peer = %connection.peer, %error, "connection failed");
        if error.is_timeout() && connection.heads.begun() {
            let _ = stream.write_all(TOO_SLOW).await;
            let _ = stream.shutdown().await;
        }
        return;
    }
    let accepted = connection
        .accepted
        .lock()
        .unwrap_or_else(|poison| poison.into_inner())
        .take();
    if let Some(accepted) = accepted {
        // In a task of its own: a WebSocket may live for days, and HTTP's state is larger than all it needs.
        let door = Arc::clone(&connection.door);
        let what = What::WebSocket {
            path: accepted.path.clone(),
            peer: connection.peer,
        };
        let socket = websocket::run(stream, parts.read_buf, accepted, door);
        connection.door.spawn(what, socket);
    } else if connection.heads.in_body() {
        let _ = tokio::time::timeout(LINGER, linger(&mut stream)).await;
    }
}

/// Reads and forgets until the client is done (RFC 9112 section 9.6): closing with unread bytes would reset the
/// connection, and a reset can overtake the response.
async fn linger(stream: &mut TcpStream) {
    let mut forgotten = vec![0; 64 << 10];
    while let Ok(1..) = stream.read(&mut forgotten).await {}
}

async fn serve_http2(connection: Arc<Connection>, io: Io) {
    let config = &connection.door.config;
    let draining = connection.door.draining.clone();
    let mut builder = http2::Builder::new(Spawner(Arc::clone(&connection)));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX));
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request: hyper::Request<Incoming>| {
            let connection = Arc::clone(&connection);
            async move {
                let mut response = answer(&connection, request).await;
                connection.downloads().push(response.body_mut().watch());
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut serving = pin!(builder.serve_connection(TokioIo::new(io), service));
    let served = async {
        match draining.run_until_cancelled(&mut serving).await {
            Some(result) => result,
            None => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    };
    let result = tokio::select! {
        result = served => result,
        () = connection.stalled() => {
            tracing::debug!(peer = %connection.peer, "the client does not read");
            return;
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection failed");
    }
}

async fn answer(
    connection: &Connection,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Outgoing> {
    let id = request_id::take_or_make(request.headers(), connection.trusted);
    let (version, peer) = (request.version(), connection.peer);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let logged = tracing::enabled!(tracing::Level::DEBUG)
        .then(|| (tokio::time::Instant::now(), method.clone(), uri.clone()));
    let what = What::Request {
        method,
        uri,
        peer,
        id: id.clone(),
    };
    let answered = panics::caught(what, request::answer(connection, request, &id)).await;
    let response = answered.unwrap_or_else(|| response::after_a_panic(version, &id));
    if let Some((started, method, uri)) = logged {
        tracing::debug!(
            %peer,
            %method,
            path = uri.path(),
            status = response.status().as_u16(),
            elapsed_us = started.elapsed().as_micros(),
            request_id = request_id::shown(&id),
            "request"
        );
    }
    response
}

/// Runs the streams of HTTP/2 connections where shutdown waits for them.
#[derive(Clone)]
struct Spawner(Arc<Connection>);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let what = What::Connection { peer: self.0.peer };
        self.0.door.spawn(what, future);
    }
}
