//! Sends a request to a pod that answers the class's requests, again where that is safe, until there is a response.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use hyper::ext::ReasonPhrase;
use portside_core::backoff::Backoff;
use portside_core::ownership::gateway::SERVING;
use portside_crds::sidecar::{HOLDS, HOLDS_HEADER, STATE_HEADER, State};
use portside_exchange::envelope::OVERHEAD_BYTES;
use portside_exchange::{Body, Request, Response};
use portside_websocket::client::Handshake;
use tokio::time::{Instant, sleep, timeout_at};

use crate::access::Record;
use crate::class::{Class, Hold, Target};
use crate::download;
use crate::gateway::Gateway;
use crate::headers;
use crate::held::{Asked, Held};
use crate::metrics::{Cause, Metrics};
use crate::pod::Kind;
use crate::pool::Answer;
use crate::refusal::Refusal;
use crate::replay::Replay;
use crate::retry::{self, Attempted, Failure, Next};
use crate::websocket::{self, Bridge, Connection};

/// Pauses before a request is sent again to a pod that is said to be active all the same.
const BACKOFF: Backoff = Backoff {
    first_ms: 10,
    max_ms: 1000,
};

/// A request on its way.
pub(crate) struct Outbound {
    method: Method,
    path: Uri,
    headers: HeaderMap,
    body: Replay,
    /// Our WebSocket handshake, if it is one.
    handshake: Option<Handshake>,
    idempotent: bool,
}

/// How one attempt ended without a response to pass on.
enum Outcome {
    Failed(Failure),
    TimedOut,
    /// Nothing was sent: some of the body is gone.
    BodyGone,
}

impl Gateway {
    /// The response, or why there is none. Either has the record, which ends with the response.
    pub(crate) async fn forward(
        &self,
        class: &Arc<Class>,
        request: Request,
        target: &Uri,
        deadline: Instant,
        mut record: Record,
    ) -> Result<Response, (Refusal, Record)> {
        let mut headers = request.headers;
        headers::forwarded(&mut headers);
        // Of one with a body nothing would be left to send again.
        let may_be_held = request.websocket && matches!(request.body, Body::Empty);
        let asked = may_be_held.then(|| Asked::new(&request.method, target, &headers));
        let body = Replay::new(request.body, &class.replays);
        let mut outbound = Outbound::new(request.method, headers, body, target);
        if asked.is_some() {
            let holds = HeaderValue::from_static(HOLDS);
            outbound.headers.insert(HOLDS_HEADER, holds);
        }
        let outbound = outbound.with_handshake(request.websocket);
        let tried = &mut record.pod;
        let sent = outbound.send(class, &self.hold, &self.metrics, deadline, tried);
        match sent.await {
            Ok((target, answer)) => {
                let opened = outbound.opened_by(&answer.response);
                self.pass_on(class, target, answer, opened, asked, record)
                    .await
            }
            Err(refusal) => Err((refusal, record)),
        }
    }

    async fn pass_on(
        &self,
        class: &Arc<Class>,
        target: Target,
        mut answer: Answer,
        opened: bool,
        asked: Option<Asked>,
        mut record: Record,
    ) -> Result<Response, (Refusal, Record)> {
        let status = answer.response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            record.status = Some(status.as_u16());
            let headers = answer.response.headers().clone();
            let reason = answer.response.extensions().get::<ReasonPhrase>();
            let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
            return Ok(Response {
                status,
                reason: reason.unwrap_or_default(),
                headers,
                body: download::body(answer, target.overtaken, target.in_flight, record),
                socket: None,
            });
        }
        let way = headers::take_way(answer.response.headers_mut());
        if !opened {
            return Err((Refusal::Unreachable, record));
        }
        // Of what is held, the envelope comes on top.
        let overhead = way.map_or(0, |_| OVERHEAD_BYTES);
        let max_message_bytes = self.settings.max_message_bytes + overhead;
        let upgraded = websocket::upgrade(answer.response, max_message_bytes).await;
        let Ok((headers, upstream)) = upgraded else {
            return Err((Refusal::Lost, record));
        };
        record.status = Some(status.as_u16());
        let connection = Connection::new(upstream, target);
        let socket = match (way, asked) {
            (Some(way), Some(asked)) => {
                let (held, socket) = Held::new(self, class, asked, way, record);
                self.tasks.spawn(held.run(connection));
                socket
            }
            _ => {
                let (bridge, socket) = Bridge::new(connection, record, &self.metrics);
                self.tasks.spawn(bridge.run());
                socket
            }
        };
        Ok(Response {
            status,
            reason: Bytes::new(),
            headers,
            body: Body::Empty,
            socket: Some(socket),
        })
    }
}

impl Outbound {
    pub(crate) fn new(method: Method, headers: HeaderMap, body: Replay, target: &Uri) -> Self {
        let path = target.path_and_query().cloned();
        Self {
            idempotent: retry::is_idempotent(&method),
            method,
            path: path.map_or_else(Uri::default, Uri::from),
            headers,
            body,
            handshake: None,
        }
    }

    /// Sends it until a pod has answered, and again where that is safe. `tried` is the pod that it was sent to last.
    ///
    /// # Errors
    /// No pod did until `deadline`, or it must not be sent again.
    pub(crate) async fn send(
        &self,
        class: &Class,
        hold: &Hold,
        metrics: &Metrics,
        deadline: Instant,
        tried: &mut Option<String>,
    ) -> Result<(Target, Answer), Refusal> {
        let ticket = class.ticket();
        let mut wish = class.wish(self.path.path(), self.kind());
        let mut risked = false;
        let mut failures = 0;
        loop {
            let target = class.target(ticket, &wish, deadline, hold).await?;
            *tried = Some(target.pod.endpoint.pod.clone());
            let failure = match self.attempt(class, &target, risked).await {
                Ok(mut answer) => {
                    let owner = headers::take_owner(answer.response.headers_mut());
                    if let Some(owner) = owner.filter(|_| target.term == SERVING) {
                        class.learn(wish.path, owner);
                    }
                    return Ok((target, answer));
                }
                Err(Outcome::BodyGone) => return Err(Refusal::BodyTooLong),
                Err(Outcome::TimedOut) => return Err(Refusal::TimedOut),
                Err(Outcome::Failed(failure)) => failure,
            };
            self.body.stop();
            let attempted = Attempted {
                idempotent: self.idempotent,
                repeatable: self.body.is_repeatable(),
                risked,
            };
            if self.body.is_broken() {
                return Err(Refusal::BodyIncomplete);
            }
            match retry::after(failure, attempted) {
                Next::Again => {}
                Next::Risk => risked = true,
                Next::BodyGone => return Err(Refusal::BodyTooLong),
                Next::GiveUp => return Err(Refusal::Lost),
            }
            let cause = match failure {
                Failure::Misdirected => Cause::Misdirected,
                Failure::Unsent => Cause::Unsent,
                Failure::Broken { .. } | Failure::Overtaken => Cause::Broken,
            };
            metrics.retried(cause);
            if cause == Cause::Unsent {
                target.pod.doubt();
            }
            let pause = Duration::from_millis(BACKOFF.delay_ms(failures));
            if Instant::now() + pause >= deadline && cause != Cause::Broken {
                return Err(match cause {
                    Cause::Misdirected => Refusal::Starting,
                    Cause::Unsent | Cause::Broken => Refusal::Unreachable,
                });
            }
            // The first time, only what would find the same pod again has to pause.
            let pauses = failures > 0 || class.would_repeat(&target);
            wish.avoid(&target.pod.endpoint);
            drop(target);
            if pauses {
                sleep(pause).await;
            }
            failures += 1;
        }
    }

    pub(crate) fn with_handshake(mut self, websocket: bool) -> Self {
        if websocket {
            // The client's protocols stay; compression costs more than it saves between gateway and pod.
            self.handshake = Handshake::offer(&mut self.headers, &[], false).ok();
        } else {
            self.headers.remove(header::UPGRADE);
        }
        self
    }

    /// Whether a response with status 101 opens the WebSocket that was asked for.
    pub(crate) fn opened_by<B>(&self, response: &http::Response<B>) -> bool {
        let handshake = self.handshake.as_ref();
        handshake.is_some_and(|asked| asked.check_but_protocol(response).is_ok())
    }

    fn kind(&self) -> Kind {
        match self.handshake {
            Some(_) => Kind::Socket,
            None => Kind::Request,
        }
    }

    /// Sends it once. `fresh`: on a connection of its own.
    async fn attempt(
        &self,
        class: &Class,
        target: &Target,
        fresh: bool,
    ) -> Result<Answer, Outcome> {
        let Some(upload) = self.body.attempt() else {
            return Err(Outcome::BodyGone);
        };
        let mut request = http::Request::new(upload);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        let sending = target.pod.http.send(request, fresh);
        let sent = tokio::select! {
            sent = self.in_time(target.timeout, sending) => sent,
            () = target.overtaken.cancelled() => return Err(Outcome::Failed(Failure::Overtaken)),
        };
        let answer = match sent {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => {
                tracing::debug!(class = %class.key, %error, "attempt failed");
                return Err(Outcome::Failed(error.failure));
            }
            None => return Err(Outcome::TimedOut),
        };
        if let Some(state) = misdirected(&answer) {
            class.refuted(target, state);
            return Err(Outcome::Failed(Failure::Misdirected));
        }
        self.body.settle();
        Ok(answer)
    }

    /// Nothing if it takes longer than `patience` after the last byte of the body.
    async fn in_time<T>(&self, patience: Duration, sending: impl Future<Output = T>) -> Option<T> {
        let mut sending = pin!(sending);
        loop {
            let deadline = self.body.moved() + patience;
            match timeout_at(deadline, &mut sending).await {
                Ok(sent) => return Some(sent),
                Err(_) if self.body.moved() + patience > deadline => {}
                Err(_) => return None,
            }
        }
    }
}

/// The state of a pod that has refused the request because it is not one to answer it. One that only later versions know
/// counts as not answering, either.
fn misdirected(answer: &Answer) -> Option<State> {
    if answer.response.status() != StatusCode::MISDIRECTED_REQUEST {
        return None;
    }
    let state = answer.response.headers().get(STATE_HEADER)?;
    let known = state.to_str().ok().and_then(|state| state.parse().ok());
    Some(known.unwrap_or(State::Standby))
}
