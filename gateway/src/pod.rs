//! One sidecar pod.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::topology::Endpoint;

/// A pod, and the kept connections to it.
pub struct Pod {
    /// Who and where it is.
    pub endpoint: Endpoint,
    /// For requests.
    pub http: Arc<Pool>,
    doubt: Notify,
    requests: AtomicUsize,
    sockets: AtomicUsize,
}

/// What a request is weighed against: WebSockets stay for long and mostly do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One that gets a response.
    Request,
    /// One that asks for a WebSocket, and the WebSocket.
    Socket,
}

/// A request that a pod has, until it is dropped: when its response, or its WebSocket, has ended.
pub struct InFlight {
    pod: Arc<Pod>,
    kind: Kind,
}

impl Pod {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, metrics: &Metrics) -> Self {
        Self {
            http: Arc::new(Pool::new(endpoint.http, &metrics.connections)),
            endpoint,
            doubt: Notify::new(),
            requests: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
        }
    }

    /// How many of a kind it has from this gateway.
    #[must_use]
    pub fn load(&self, kind: Kind) -> usize {
        self.count(kind).load(Ordering::Relaxed)
    }

    fn count(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Request => &self.requests,
            Kind::Socket => &self.sockets,
        }
    }

    /// What the pod said of itself proved wrong: it is to be asked again now.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits for the next [`Pod::doubt`].
    pub async fn doubted(&self) {
        self.doubt.notified().await;
    }
}

impl InFlight {
    /// The pod gets one more.
    #[must_use]
    pub fn new(pod: &Arc<Pod>, kind: Kind) -> Self {
        pod.count(kind).fetch_add(1, Ordering::Relaxed);
        Self {
            pod: Arc::clone(pod),
            kind,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.pod.count(self.kind).fetch_sub(1, Ordering::Relaxed);
    }
}
