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

/// How long responses may take to end once requests are answered and shards handed over. What is left of
/// [`sidecar::SECONDS_AFTER_REQUESTS`] then is for the last words to gateways and to the database.
const STREAM: Duration = Duration::from_secs(3);

/// How long requests may take while a pod drains that has all workers: clients' other requests wait meanwhile.
const ALONE: Duration = Duration::from_secs(10);

/// How long a pod may take to drain. What follows takes [`sidecar::SECONDS_AFTER_REQUESTS`] at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainLimits {
    /// For requests, and crons' runs, to be answered. What takes longer finds its instance gone.
    pub answer: Duration,
    /// For the shards to be handed over to other pods: seconds, unless many workers have handlers that take long. Without another pod
    /// there is nobody to have them.
    pub hand_over: Duration,
}

impl Default for DrainLimits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            hand_over: Duration::from_secs(25),
        }
    }
}

impl DrainLimits {
    /// Of a pod that is killed so long after it was asked to end, and whose requests may take that long: they get the whole time, as far
    /// as that goes.
    #[must_use]
    pub fn within(grace: Duration, request: Duration) -> Self {
        let afterwards = Duration::from_secs(sidecar::SECONDS_AFTER_REQUESTS.into());
        // What follows rarely takes as long as it may: with little time in all, most of it need not be set aside.
        let left = grace.saturating_sub(afterwards).max(grace / 3);
        let Self { answer, hand_over } = Self::default();
        Self {
            answer: request.max(answer).min(left),
            hand_over: hand_over.min(left),
        }
    }
}

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

    /// Requests that have no answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.now()
    }

    /// The application.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Takes no more requests, nor what crons are due, and returns when those it has taken are answered to their end and its shards are
    /// others', or after these times.
    pub async fn drain(&self, limits: DrainLimits) {
        self.ownership.drain();
        let answer = match self.ownership.is_sharing() {
            true => limits.answer,
            false => limits.answer.min(ALONE),
        };
        let answered = timeout(answer, self.unanswered.none());
        let handed_over = async {
            let Some(router) = self.app.router() else {
                return;
            };
            let all = async {
                self.ownership.handed_over().await;
                router.nobody_waits().await;
            };
            if timeout(limits.hand_over, all).await.is_err() {
                tracing::warn!("some shards were not handed over in time: they are given up");
            }
        };
        let drained = async { tokio::join!(self.app.drain(answer), self.app.depart()) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_get_their_time_as_far_as_the_pod_has_it() {
        let limits = |grace, request| {
            let seconds = Duration::from_secs;
            let limits = DrainLimits::within(seconds(grace), seconds(request));
            (limits.answer.as_secs(), limits.hand_over.as_secs())
        };
        // As it is by default.
        assert_eq!(limits(90, 60), (60, 25));
        // Long requests, in a pod that has the time, and in one that has not.
        assert_eq!(limits(330, 300), (300, 25));
        assert_eq!(limits(60, 300), (30, 25));
        // Crons' runs may take longer than requests.
        assert_eq!(limits(60, 1), (10, 25));
        assert_eq!(limits(45, 60), (15, 15));
        assert_eq!(limits(15, 60), (5, 5));
    }
}
