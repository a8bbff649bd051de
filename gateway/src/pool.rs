//! Kept connections to one address, HTTP/1.1.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::metrics::Counted;
use crate::replay::Upload;
use crate::retry::Failure;

/// A pod is in the same cluster: what takes longer will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Less than the front door of a pod keeps an idle connection (75 s), so that it is not ended just when it is used.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// Header lines of a response.
const MAX_HEADERS: usize = 256;
/// How long a peer that has vanished without a word may go unnoticed: silence, then three probes.
const KEEPALIVE_SILENCE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// The same where something was sent and never acknowledged, in milliseconds.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MS: u32 = 30_000;

/// Connections to one address.
pub struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<Idle>>,
    open: Gauge,
}

struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// A response, and the connection it comes on.
pub struct Answer {
    /// The response; its body is still coming.
    pub response: Response<Incoming>,
    /// To be given back once the body has been read to its end; dropping it ends the connection.
    pub lease: Lease,
}

/// A connection in use.
pub struct Lease {
    sender: SendRequest<Upload>,
    pool: Arc<Pool>,
}

/// No response came.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct Error {
    /// Where to.
    pub address: SocketAddr,
    /// Whether the request may have been received.
    pub failure: Failure,
    /// What went wrong.
    pub reason: String,
}

impl Pool {
    /// No connections yet. `open` counts them.
    #[must_use]
    pub fn new(address: SocketAddr, open: &Gauge) -> Self {
        Self {
            address,
            idle: Mutex::default(),
            open: open.clone(),
        }
    }

    /// Ends the connections that are not in use.
    pub fn clear(&self) {
        self.idle().clear();
    }

    /// Sends a request, on a kept connection if there is one and `fresh` does not forbid it, and waits for the head of
    /// the response. A request that finds its kept connection ended before any byte of it left gets another one.
    ///
    /// # Errors
    /// The pod cannot be reached, or the connection broke.
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<Upload>,
        fresh: bool,
    ) -> Result<Answer, Error> {
        loop {
            let kept = if fresh { None } else { self.take() };
            let reused = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self
                    .connect()
                    .await
                    .map_err(|reason| self.error(Failure::Unsent, reason))?,
            };
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => {
                    let lease = Lease {
                        sender,
                        pool: Arc::clone(self),
                    };
                    return Ok(Answer { response, lease });
                }
                Err(error) => error,
            };
            request = match error.take_message() {
                Some(unsent) if reused => unsent,
                unsent => {
                    let failure = if unsent.is_some() {
                        Failure::Unsent
                    } else {
                        Failure::Broken { reused }
                    };
                    return Err(self.error(failure, describe(&error.into_error())));
                }
            };
        }
    }

    fn error(&self, failure: Failure, reason: String) -> Error {
        Error {
            address: self.address,
            failure,
            reason,
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection used last, so that the others can grow old.
    fn take(&self) -> Option<SendRequest<Upload>> {
        let mut idle = self.idle();
        while let Some(Idle { sender, since }) = idle.pop() {
            if since.elapsed() > MAX_IDLE {
                // So are all below it.
                idle.clear();
            } else if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn put(&self, sender: SendRequest<Upload>) {
        let now = Instant::now();
        let mut idle = self.idle();
        let old = idle.partition_point(|idle| now - idle.since > MAX_IDLE);
        idle.drain(..old);
        idle.push(Idle { sender, since: now });
    }

    async fn connect(&self) -> Result<SendRequest<Upload>, String> {
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await {
            Ok(connected) => connected.map_err(|error| error.to_string())?,
            Err(_) => return Err("no answer to connecting".into()),
        };
        configure(&stream).map_err(|error| error.to_string())?;
        let (sender, connection) = Builder::new()
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| describe(&error))?;
        let open = Counted::new(&self.open);
        tokio::spawn(async move {
            // How it ends is told to whoever waits for a response.
            let _ = connection.with_upgrades().await;
            drop(open);
        });
        Ok(sender)
    }
}

impl Lease {
    /// The response has been read: the connection may serve another request.
    pub fn give_back(self) {
        let Self { mut sender, pool } = self;
        if sender.is_ready() {
            pool.put(sender);
        } else {
            // The connection's task has not noticed the end yet.
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.put(sender);
                }
            });
        }
    }
}

fn configure(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_SILENCE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?;
    Ok(())
}

/// hyper's errors keep what happened in their sources.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
