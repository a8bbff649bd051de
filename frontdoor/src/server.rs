//! Listening, and ending without losing what runs.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use portside_exchange::Application;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::panics::{self, What};
use crate::{Config, connection};

/// Pause after the system refused a connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listening HTTP server. Clients wait in the listener's queue until [`FrontDoor::run`].
pub struct FrontDoor {
    listener: TcpListener,
    local_addr: SocketAddr,
    door: Arc<Door>,
}

/// What all connections share.
pub(crate) struct Door {
    pub(crate) config: Config,
    pub(crate) application: Arc<dyn Application>,
    /// One permit per request that may still run.
    pub(crate) slots: Arc<Semaphore>,
    /// Connections, HTTP/2 streams and WebSockets.
    tasks: TaskTracker,
    /// No new work: finish what runs.
    pub(crate) draining: CancellationToken,
    /// WebSockets are to be closed. Draining closes them too.
    pub(crate) sockets: CancellationToken,
    /// The time to finish is over.
    cut: CancellationToken,
}

impl Door {
    /// Runs `work` in a task that shutdown waits for, and in the end cuts off. `what` it is for is logged if it panics.
    pub(crate) fn spawn(&self, what: What, work: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        // Boxed, because each layer around a future that holds it by value can hold it twice.
        let work = cut.run_until_cancelled_owned(Box::pin(panics::caught(what, work)));
        self.tasks.spawn(work);
    }
}

impl FrontDoor {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// The address is taken, not ours, or not allowed to us.
    pub async fn bind(config: Config, application: Arc<dyn Application>) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let draining = CancellationToken::new();
        Ok(Self {
            local_addr: listener.local_addr()?,
            listener,
            door: Arc::new(Door {
                slots: Arc::new(Semaphore::new(
                    config.max_requests.min(Semaphore::MAX_PERMITS),
                )),
                config,
                application,
                tasks: TaskTracker::new(),
                sockets: draining.child_token(),
                draining,
                cut: CancellationToken::new(),
            }),
        })
    }

    /// The address clients reach, with the port that was really taken.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Cancelling it closes every WebSocket with [`Config::shutdown_code`], also those that are accepted later, while
    /// requests are served on.
    #[must_use]
    pub fn sockets(&self) -> CancellationToken {
        self.door.sockets.clone()
    }

    /// Serves until `until` is ready, then shuts down: accepts no more, lets running requests finish, closes
    /// WebSockets with [`Config::shutdown_code`], and after [`Config::shutdown_timeout`] cuts off what is left.
    pub async fn run(self, until: impl Future<Output = ()>) {
        let Self { listener, door, .. } = self;
        let mut until = pin!(until);
        loop {
            let accepted = tokio::select! {
                () = &mut until => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let serving = connection::serve(Arc::clone(&door), stream, peer);
                    let peer = peer.ip().to_canonical();
                    door.spawn(What::Connection { peer }, serving);
                }
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; raise the file limit?");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        door.draining.cancel();
        door.tasks.close();
        let drained = tokio::time::timeout(door.config.shutdown_timeout, door.tasks.wait()).await;
        if drained.is_err() {
            tracing::warn!(left = door.tasks.len(), "cutting off connections");
            door.cut.cancel();
            door.tasks.wait().await;
        }
    }
}

/// Whether only this one connection failed, before it was accepted.
fn is_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
