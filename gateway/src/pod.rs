//! One sidecar pod.

use std::sync::Arc;

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
}

impl Pod {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, metrics: &Metrics) -> Self {
        Self {
            http: Arc::new(Pool::new(endpoint.http, &metrics.connections)),
            endpoint,
            doubt: Notify::new(),
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
