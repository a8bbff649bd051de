//! An application as a pod of a cluster runs it: ready as a standby, active when the shards are its own, and gone
//! without having dropped anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use portside_crds::sidecar::{self, State};
use portside_exchange::{Application, Body, FetchError, Request, Response};
use tokio::sync::watch;

use crate::app::App;
use crate::metrics::Metrics;
use crate::ownership::{Ownership, Role};

/// How long requests may take to be answered once the pod drains. Longer ones find their instance gone.
const ANSWER: Duration = Duration::from_secs(10);

/// An application that answers only while this pod is the active one.
///
/// What it refuses it has not run: whoever sent it may send it to another pod.
pub struct Pod {
    name: String,
    app: Arc<App>,
    ownership: Arc<Ownership>,
    metrics: Metrics,
    /// Requests that are in `app` and have no answer yet.
    unanswered: watch::Sender<usize>,
}

impl Pod {
    /// A pod called `name` that runs `app` while `ownership`, the one the application was started with, allows it.
    #[must_use]
    pub fn new(
        name: String,
        app: Arc<App>,
        ownership: Arc<Ownership>,
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            app,
            ownership,
            metrics,
            unanswered: watch::Sender::new(0),
        })
    }

    /// What it says of itself, to the gateways.
    #[must_use]
    pub fn ownership(&self) -> sidecar::Ownership {
        let (state, term) = match *self.ownership.role().borrow() {
            Role::Standby => (State::Standby, 0),
            Role::Active { term } => (State::Active, term),
            Role::Draining | Role::Over => (State::Draining, 0),
        };
        sidecar::Ownership {
            pod: self.name.clone(),
            state,
            term,
        }
    }

    /// Returns when [`Pod::ownership`] is something else than `known`.
    pub async fn ownership_other_than(&self, known: (State, u64)) {
        let mut role = self.ownership.role();
        loop {
            role.borrow_and_update();
            let now = self.ownership();
            if (now.state, now.term) != known {
                return;
            }
            if role.changed().await.is_err() {
                return;
            }
        }
    }

    /// The application.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Takes no more requests, and returns when those it has taken are answered, or ten seconds later.
    pub async fn drain(&self) {
        self.ownership.drain();
        let mut unanswered = self.unanswered.subscribe();
        let all = unanswered.wait_for(|requests| *requests == 0);
        if tokio::time::timeout(ANSWER, all).await.is_err() {
            tracing::warn!("some requests were not answered in time");
        }
    }

    async fn answer(&self, request: Request) -> Result<Response, FetchError> {
        // Counted before the role is read: a drain that begins in between waits for this one.
        let _unanswered = Unanswered::new(&self.unanswered);
        if !self.ownership.is_active() {
            return Ok(self.misdirected());
        }
        let began = Instant::now();
        let answer = match self.app.fetch(request).await {
            Err(FetchError::ShuttingDown) => return Ok(self.misdirected()),
            answer => answer,
        };
        self.metrics.answered(&answer, began.elapsed());
        answer
    }

    /// 421 (RFC 9110 section 15.5.20), with the reason for the gateway.
    fn misdirected(&self) -> Response {
        let state = match self.ownership().state {
            // Its lease has expired this moment.
            State::Active => State::Standby,
            state => state,
        };
        self.metrics.misdirected();
        let mut headers = http::HeaderMap::new();
        headers.insert(
            sidecar::STATE_HEADER,
            http::HeaderValue::from_static(state.as_str()),
        );
        Response {
            status: http::StatusCode::MISDIRECTED_REQUEST,
            headers,
            body: Body::Empty,
            socket: None,
        }
    }
}

impl Application for Pod {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        self.answer(request).boxed()
    }
}

/// One request that has no answer yet, while it exists.
struct Unanswered<'a>(&'a watch::Sender<usize>);

impl<'a> Unanswered<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
