//! From a request to its answer: who asks, whether they may, and what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use portside_admin::Readiness;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use crate::access::{Asked, Authority, Peer, Reviews, User};
use crate::answer::{self, Answer};
use crate::metrics::Metrics;
use crate::replicas::{Question, Replicas, START};
use crate::route::{Document, Route, Target, verb};
use crate::status::Refusal;
use crate::workers::{self, Workers};
use crate::{discovery, openapi, query};

/// The largest body that is read: a value of a key, in JSON.
const MOST_BYTES: usize = 16 << 20;
/// The largest that says how something is to be deleted.
const MOST_OPTIONS: usize = 64 << 10;
/// What all bodies that are read or asked about at a time may have, in KiB, and how long one may take to come.
const ALL_KIB: usize = 64 << 10;
const COMES: Duration = Duration::from_secs(20);

/// What answers requests.
pub struct Service {
    /// By what the cluster's API server is known.
    pub authority: watch::Receiver<Option<Authority>>,
    /// Who may do what.
    pub reviews: Reviews,
    /// The workers.
    pub workers: Arc<Workers>,
    /// The other replicas.
    pub replicas: Replicas,
    /// What is waited for.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Metrics,
    /// Room for bodies.
    pub bodies: Bodies,
}

/// The memory that requests' bodies may take, all together.
pub struct Bodies(Semaphore);

impl Default for Bodies {
    fn default() -> Self {
        Self(Semaphore::new(ALL_KIB))
    }
}

impl Bodies {
    /// Reads a body, if the method has one. It counts until what comes with it is dropped.
    async fn read(
        &self,
        method: &Method,
        body: Incoming,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Refusal> {
        let most = match *method {
            Method::PUT | Method::POST => MOST_BYTES,
            Method::DELETE => MOST_OPTIONS,
            _ => return Ok((Bytes::new(), None)),
        };
        let declared = body.size_hint().upper();
        let bytes = declared.map_or(most, |it| usize::try_from(it).unwrap_or(most).min(most));
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let reading = async {
            // It is never closed.
            let room = self.0.acquire_many(kib).await.ok();
            let collected = Limited::new(body, most).collect().await;
            let collected = collected.map_err(|error| {
                let most = most >> 10;
                Refusal::too_large(format!(
                    "the body did not arrive, or is larger than {most} KiB: {error}"
                ))
            })?;
            Ok((collected.to_bytes(), room))
        };
        let late =
            || Refusal::too_many("the body has not come in time, or there are too many others");
        timeout(COMES, reading).await.map_err(|_| late())?
    }
}

impl Service {
    /// Answers a request, which comes from `peer`.
    pub async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let answered = match Route::parse(&path) {
            Some(Route::Live) => Ok(answer::text(StatusCode::OK, "ok".to_owned())),
            Some(Route::Ready) => Ok(self.ready()),
            Some(Route::Document(document)) => self.document(document, peer, &request),
            Some(Route::Workers(target)) => {
                let begun = Instant::now();
                let query = request.uri().query().unwrap_or_default();
                let verb = verb(request.method(), &target, query::watches(query));
                let answered = self.about(&target, verb, peer, request).await;
                let mut answered = answered.unwrap_or_else(Answer::from);
                if matches!(peer, Peer::Replica) {
                    let start = HeaderValue::from(self.workers.start());
                    answered.headers_mut().insert(START, start);
                }
                let code = answered.status().as_u16();
                self.metrics
                    .answered(verb.unwrap_or("other"), code, begun.elapsed());
                return answered;
            }
            // Who is not known learns nothing.
            None => self
                .user(peer, &request)
                .and_then(|_| Err(Refusal::no_path(&path))),
        };
        answered.unwrap_or_else(Answer::from)
    }

    fn ready(&self) -> Answer {
        let missing = self.readiness.missing();
        if missing.is_empty() {
            return answer::text(StatusCode::OK, "ok".to_owned());
        }
        let text: String = missing
            .iter()
            .map(|it| format!("waiting for {it}\n"))
            .collect();
        answer::text(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    fn authority(&self) -> Result<Authority, Refusal> {
        let authority = self.authority.borrow().clone();
        authority.ok_or_else(|| {
            Refusal::unauthorized("it is not known yet by what the cluster's API server is known")
        })
    }

    fn user(&self, peer: &Peer, request: &Request<Incoming>) -> Result<User, Refusal> {
        let (authority, headers) = (self.authority()?, request.headers());
        match peer {
            Peer::Proxy(certificate) => authority.user(Some(certificate), headers),
            Peer::Replica => authority.told(headers),
            Peer::Anybody => authority.user(None, headers),
        }
    }

    /// Documents tell nothing of workers, so whoever is known may read them. They are asked for all the time, and in a cluster that is in trouble, too.
    fn document(
        &self,
        document: Document,
        peer: &Peer,
        request: &Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        self.user(peer, request)?;
        if request.method() != Method::GET {
            let method = request.method().as_str();
            return Err(Refusal::not_allowed(method, request.uri().path()));
        }
        let aggregated = discovery::is_aggregated_asked(accept(request));
        Ok(match document {
            Document::Groups if aggregated => {
                let body = answer::full(discovery::aggregated().to_string());
                answer::with_type(discovery::AGGREGATED_TYPE, body)
            }
            Document::Groups => answer::json(&discovery::groups()),
            Document::Group => answer::json(&discovery::group()),
            Document::Resources => answer::json(&discovery::resources()),
            Document::OpenApi3Index => answer::json(&openapi::v3_index()),
            Document::OpenApi3 => answer::json(&openapi::v3()),
            Document::OpenApi2 => answer::json(&openapi::v2()),
        })
    }

    async fn about(
        &self,
        target: &Target,
        verb: Option<&'static str>,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let user = self.user(peer, &request)?;
        let method = request.method().clone();
        let uri = request.uri().clone();
        let verb = verb.ok_or_else(|| Refusal::not_allowed(method.as_str(), uri.path()))?;
        let asked = Asked::new(user.clone(), verb, target);
        self.reviews.check(asked).await?;
        if let Some(answer) = self.of_another(peer, &user, target, &request).await? {
            return Ok(answer);
        }
        let accept = accept(&request).to_owned();
        let (body, _room) = self.bodies.read(&method, request.into_body()).await?;
        let request = workers::Request {
            method: &method,
            target,
            query: uri.query().unwrap_or_default(),
            accept: &accept,
            body,
        };
        self.workers.answer(request).await
    }
}

impl Service {
    /// The answer of the replica whose `resourceVersion` a request goes on from; nothing if this one is to answer, as it does what
    /// no replica knows any more.
    async fn of_another(
        &self,
        peer: &Peer,
        user: &User,
        target: &Target,
        request: &Request<Incoming>,
    ) -> Result<Option<Answer>, Refusal> {
        let query = request.uri().query().unwrap_or_default();
        let is_collection = target.name.is_none() && *request.method() == Method::GET;
        let version = is_collection
            .then(|| query::goes_on_from(query, target.namespace.as_deref()))
            .flatten();
        let Some(version) = version.filter(|it| !self.workers.counts(*it)) else {
            return Ok(None);
        };
        if matches!(peer, Peer::Replica) {
            // What was passed on once is not passed on again.
            let message = "this resourceVersion is not of this replica";
            return Err(Refusal::misdirected(message));
        }
        let question = Question {
            uri: request.uri(),
            accept: accept(request),
            user: &self.authority()?.tell(user)?,
            version,
            watches: query::watches(query),
        };
        self.replicas.answer(&question).await
    }
}

fn accept(request: &Request<Incoming>) -> &str {
    let accept = request.headers().get(ACCEPT);
    accept.and_then(|it| it.to_str().ok()).unwrap_or_default()
}
