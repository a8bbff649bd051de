//! What every process of Portside in a cluster tells its operators: a log, and on a port of its own probes and metrics.
//!
//! `GET /livez` is 200 while the process runs its tasks. `GET /readyz` is 200 when nothing is being waited for, else 503
//! with one line for each thing that is. `GET /metrics` is OpenMetrics text. A process adds routes of its own.

mod address;
mod files;
mod later;
mod log;
mod panics;
mod signals;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use address::listen_address;
pub use files::raise_open_files;
pub use later::Later;
pub use log::{LogArgs, WrongFilter};
pub use panics::count_panics;
pub use signals::asked_to_end;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// What a process waits for before it is ready. Cloning gives another handle of the same.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

impl Readiness {
    /// Not ready until each of `what` is [`Readiness::done`].
    #[must_use]
    pub fn waiting_for(what: impl IntoIterator<Item = &'static str>) -> Self {
        Self(Arc::new(Mutex::new(what.into_iter().collect())))
    }

    /// Not ready, for one reason more. Nothing changes if it is known already.
    pub fn wait_for(&self, what: &'static str) {
        self.lock().insert(what);
    }

    /// This is no longer waited for.
    pub fn done(&self, what: &'static str) {
        self.lock().remove(what);
    }

    /// What is waited for, in alphabetical order; empty when ready.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The admin port, listening but not yet answering.
pub struct Admin {
    listener: TcpListener,
    router: Router,
}

impl Admin {
    /// Starts to listen.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed to us.
    pub async fn bind(
        address: SocketAddr,
        readiness: Readiness,
        metrics: Registry,
    ) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            router: probes(readiness).merge(self::metrics(metrics)),
        })
    }

    /// Starts to listen when there is nothing to tell but probes. The rest is answered from when [`Later::is`] has it, and until then
    /// with 503.
    ///
    /// # Errors
    /// As [`Admin::bind`].
    pub async fn bind_early(
        address: SocketAddr,
        readiness: Readiness,
    ) -> std::io::Result<(Self, Later)> {
        let later = Later::default();
        let admin = Self {
            listener: TcpListener::bind(address).await?,
            router: probes(readiness).merge(later.routes()),
        };
        Ok((admin, later))
    }

    /// Adds routes of the process's own.
    #[must_use]
    pub fn with(mut self, routes: Router) -> Self {
        self.router = self.router.merge(routes);
        self
    }

    /// The address, with the port that was really taken.
    ///
    /// # Errors
    /// The system does not know it.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the process ends: a process that drains is still to be observed.
    pub async fn run(self) {
        if let Err(error) = axum::serve(self.listener, self.router).await {
            tracing::error!(%error, "the admin port is closed");
        }
    }
}

fn probes(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready).with_state(readiness))
}

fn metrics(registry: Registry) -> Router {
    Router::new().route("/metrics", get(encode).with_state(Arc::new(registry)))
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let missing = readiness.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let lines: String = missing
        .iter()
        .map(|what| format!("waiting for {what}\n"))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn encode(State(registry): State<Arc<Registry>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
