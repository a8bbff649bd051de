//! An application as a pod of a cluster runs it: ready as a standby, active when the shards are its own, and gone
//! without having dropped anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderValue;
use portside_core::ids::PodId;
use portside_crds::sidecar::{self, State};
use portside_exchange::{Application, Body, FetchError, Request, Response};
use tokio::time::timeout;

use crate::app::App;
use crate::count::Count;
use crate::metrics::Metrics;
use crate::ownership::{Ownership, Role};

/// How long requests, and crons' runs, may take to be answered once the pod drains, and responses to end after that. What takes longer
/// finds its instance gone. Clients' other requests wait meanwhile.
const ANSWER: Duration = Duration::from_secs(10);
const STREAM: Duration = Duration::from_secs(3);

/// How long it may take to hand the shards over to other pods once the pod drains: seconds, unless many workers have handlers that take
/// long. Without another pod there is nobody to have them. With all that follows it fits into the minute that a pod has in a cluster.
const HAND_OVER: Duration = Duration::from_secs(30);

/// An application that answers only while this pod is the active one.
///
/// What it refuses it has not run: whoever sent it may send it to another pod.
pub struct Pod {
    name: String,
    app: Arc<App>,
    ownership: Arc<Ownership>,
    metrics: Metrics,
    /// Requests that are in `app` and have no answer yet.
    unanswered: Count,
    /// Responses whose bodies have not ended.
    streaming: Count,
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
            unanswered: Count::default(),
            streaming: Count::default(),
        })
    }

    /// What it says of itself, to the gateways.
    #[must_use]
    pub fn ownership(&self) -> sidecar::Ownership {
        let (state, term) = match *self.ownership.role().borrow() {
            Role::Standby => (State::Standby, 0),
            Role::Active { .. } if self.ownership.is_kept_out() => (State::Standby, 0),
            Role::Active { .. } if self.ownership.is_sharing() => (State::Serving, 0),
            Role::Active { term } => (State::Active, term),
            Role::Draining | Role::Over => (State::Draining, 0),
        };
        sidecar::Ownership {
            pod: self.name.clone(),
            state,
            term,
            incarnation: Some(incarnation(self.ownership.pod())),
            renewals: Some(self.ownership.renewals()),
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

    /// Takes no more requests, nor what crons are due, and returns when those it has taken are answered to their end, or some
    /// seconds later.
    pub async fn drain(&self) {
        self.ownership.drain();
        let answered = timeout(ANSWER, self.unanswered.none());
        let handed_over = async {
            let Some(router) = self.app.router() else {
                return;
            };
            let all = async {
                self.ownership.handed_over().await;
                router.nobody_waits().await;
            };
            if timeout(HAND_OVER, all).await.is_err() {
                tracing::warn!("some shards were not handed over in time: they are given up");
            }
        };
        let drained = async { tokio::join!(self.app.drain(ANSWER), self.app.depart()) };
        let (answered, _, ()) = tokio::join!(answered, drained, handed_over);
        if self.ownership.is_sharing() {
            self.app.depart_kept().await;
        }
        if answered.is_err() {
            tracing::warn!("some requests were not answered in time");
        }
        if timeout(STREAM, self.streaming.none()).await.is_err() {
            tracing::info!("some responses had not ended");
        }
    }

    async fn answer(&self, request: Request) -> Result<Response, FetchError> {
        // Counted before the role is read: a drain that begins in between waits for this one.
        let _unanswered = self.unanswered.one();
        if !self.ownership.is_active() {
            return Ok(self.misdirected());
        }
        let began = Instant::now();
        let uses = self.app.look_what_it_uses(&request);
        let answer = match request.headers.get(sidecar::OFFERS_HEADER) {
            Some(kept) => match BASE64_STANDARD.decode(kept) {
                Ok(kept) => self.app.adopt(kept.into()).await,
                Err(error) => Err(FetchError::Failed(error.to_string())),
            },
            None => self.app.fetch(request).await,
        };
        let mut answer = match answer {
            Err(FetchError::ShuttingDown) => return Ok(self.misdirected()),
            answer => answer,
        };
        self.metrics.answered(&answer, began.elapsed());
        if let Ok(response) = &mut answer {
            // Only a pod says these: the gateway would send the request again, or others to where it is told.
            response.headers.remove(sidecar::STATE_HEADER);
            response.headers.remove(sidecar::OWNER_HEADER);
            let owner = uses.and_then(|uses| self.app.owner(uses.first()?));
            let owner = owner.and_then(|pod| HeaderValue::from_str(&incarnation(pod)).ok());
            if let Some(owner) = owner {
                response.headers.insert(sidecar::OWNER_HEADER, owner);
            }
            self.streaming.one().until_sent(response);
        }
        answer
    }

    /// 421 (RFC 9110 section 15.5.20), with the reason for the gateway.
    fn misdirected(&self) -> Response {
        let state = match self.ownership().state {
            // Its lease has expired this moment.
            State::Active | State::Serving => State::Standby,
            state => state,
        };
        self.metrics.misdirected();
        let mut headers = http::HeaderMap::new();
        headers.insert(
            sidecar::STATE_HEADER,
            HeaderValue::from_static(state.as_str()),
        );
        Response {
            status: http::StatusCode::MISDIRECTED_REQUEST,
            reason: Default::default(),
            headers,
            body: Body::Empty,
            socket: None,
        }
    }
}

fn incarnation(pod: PodId) -> String {
    format!("{:032x}", pod.0)
}

impl Application for Pod {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        self.answer(request).boxed()
    }
}
