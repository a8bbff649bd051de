//! A client's WebSocket that outlives the pod that has it: what the two say passes here, and when the pod leaves or is lost, the
//! WebSocket is opened again at another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use portside_core::backoff::Backoff;
use portside_crds::sidecar::{HOLDS, HOLDS_HEADER, OFFERS_HEADER, RECONNECTED_HEADER};
use portside_exchange::credit::Credit;
use portside_exchange::envelope::{Envelope, OVERHEAD_BYTES};
use portside_exchange::shared_window::SharedWindow;
use portside_exchange::{Body, Delivery, Message, Outbox, REQUEST_ID, Socket};
use portside_websocket::{Reader, Writer, code};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::access::Record;
use crate::class::{Class, Hold};
use crate::forward::Outbound;
use crate::gateway::Gateway;
use crate::headers;
use crate::metrics::{Counted, Metrics};
use crate::refusal::Refusal;
use crate::replay::Replay;
use crate::unheard::Unheard;
use crate::websocket::{self, CLOSE_TIMEOUT, Connection, Io, MAX_PINGS, Unread, Upstream, gone};

/// Client's messages that may wait until they are heard; `SocketSender` bounds their bytes.
const WINDOW: usize = 64;
/// How long it may take to open a WebSocket again: longer than a pod drains for whose end another waits, and than it takes to find
/// one dead and to take over what it had.
const REOPENING: Duration = Duration::from_secs(30);
/// How often it is looked whether there is a pod. Nobody waits for one as requests do: those have few places for that.
const LOOK: Duration = Duration::from_millis(100);
/// How many pods may be lost with the request that opens a WebSocket again, one after the other: it may be what ends them.
const MAX_LOST: u32 = 2;
/// A connection that lasts for as long is none of a row of failures.
const STABLE: Duration = Duration::from_secs(5);
/// Pauses before a WebSocket is opened again after a failure.
const BACKOFF: Backoff = Backoff {
    first_ms: 20,
    max_ms: 1000,
};

/// How a WebSocket is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the request that opened it, which the application answers anew.
    Reopened,
    /// By what its pod has said of it, without the application.
    Kept,
}

/// What the client has asked for, to be asked for again.
pub(crate) struct Asked {
    method: Method,
    target: Uri,
    headers: HeaderMap,
}

impl Asked {
    /// The headers are those for a pod, without ours.
    pub(crate) fn new(method: &Method, target: &Uri, headers: &HeaderMap) -> Self {
        Self {
            method: method.clone(),
            target: target.clone(),
            headers: headers.clone(),
        }
    }

    /// The same request once more; or one that brings what is kept.
    fn again(&self, class: &Class, kept: Option<&Bytes>) -> Outbound {
        let mut headers = match kept {
            None => self.headers.clone(),
            Some(_) => [header::HOST, REQUEST_ID]
                .into_iter()
                .filter_map(|name| Some((name.clone(), self.headers.get(&name)?.clone())))
                .collect(),
        };
        headers.insert(HOLDS_HEADER, HeaderValue::from_static(HOLDS));
        match kept {
            None => headers.insert(RECONNECTED_HEADER, HeaderValue::from_static("1")),
            Some(kept) => HeaderValue::try_from(BASE64_STANDARD.encode(kept))
                .ok()
                .and_then(|kept| headers.insert(OFFERS_HEADER, kept)),
        };
        let body = Replay::new(Body::Empty, &class.replays);
        let outbound = Outbound::new(self.method.clone(), headers, body, &self.target);
        outbound.with_handshake(true)
    }
}

/// A WebSocket that is held.
pub(crate) struct Held {
    asked: Asked,
    way: Way,
    class: Arc<Class>,
    hold: Arc<Hold>,
    metrics: Metrics,
    max_message_bytes: usize,
    outbox: Outbox,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    shared: Shared,
    record: Record,
    _open: Counted,
}

/// What both directions know.
#[derive(Default)]
struct Shared {
    unheard: Mutex<Unheard>,
    /// Something was heard.
    hears: Notify,
    /// What the pod has said last that is to be kept.
    kept: Mutex<Option<Bytes>>,
    /// What waits for the client, from whichever pod it came.
    credit: Arc<Credit>,
}

impl Shared {
    fn unheard(&self) -> MutexGuard<'_, Unheard> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a connection to a pod ended.
enum End {
    /// The application has closed the WebSocket.
    Closed(Message),
    /// Nobody needs the WebSocket any more.
    Over,
    /// The pod has left, and what was heard is known.
    Left,
    /// The pod is gone.
    Lost,
}

/// Connections that ended before their time, one after the other.
#[derive(Default)]
struct Failures {
    count: u32,
    /// Those of them with whose pods the request was lost.
    lost: u32,
    since: Option<Instant>,
}

impl Held {
    /// One that a pod has just accepted, and the end for the front door.
    pub(crate) fn new(
        gateway: &Gateway,
        class: &Arc<Class>,
        asked: Asked,
        way: Way,
        record: Record,
    ) -> (Self, Socket) {
        let (outbox, deliveries, socket) = websocket::ends(WINDOW);
        let held = Self {
            asked,
            way,
            class: class.clone(),
            hold: gateway.hold.clone(),
            metrics: gateway.metrics.clone(),
            max_message_bytes: gateway.settings.max_message_bytes,
            outbox,
            deliveries,
            shared: Shared::default(),
            record,
            _open: Counted::new(&gateway.metrics.websockets),
        };
        (held, socket)
    }

    /// Carries messages until either side is done, or there is nobody any more who would have the WebSocket.
    pub(crate) async fn run(mut self, mut connection: Connection) {
        let mut failures = Failures::default();
        loop {
            let began = Instant::now();
            let end = self.carry(connection).await;
            let is_known = match end {
                End::Closed(message) => return self.outbox.send(message),
                End::Over => return,
                End::Left => true,
                End::Lost => false,
            };
            if began.elapsed() >= STABLE {
                failures = Failures::default();
            }
            // Who leaves in order may do so as often as it likes, but not without a pause.
            if is_known {
                failures.since = None;
            }
            {
                let mut unheard = self.shared.unheard();
                unheard.begins_anew(is_known);
                // The code of a server instance has been told that it is over.
                if unheard.is_over() && (self.way == Way::Reopened || unheard.is_empty()) {
                    return;
                }
            }
            connection = match self.reopened(&mut failures).await {
                Some(connection) => connection,
                None if self.shared.unheard().is_over() => return,
                None => return self.outbox.send(gone()),
            };
            self.metrics.reopened.inc();
        }
    }

    /// Carries messages over one connection.
    async fn carry(&mut self, connection: Connection) -> End {
        let Connection {
            upstream:
                Upstream {
                    mut reader,
                    mut writer,
                },
            overtaken,
            in_flight: _in_flight,
        } = connection;
        let (ping, mut pings) = mpsc::channel(MAX_PINGS);
        let (shared, bytes) = (&self.shared, &mut self.record.bytes);
        let end = tokio::select! {
            end = to_client(&mut reader, &self.outbox, shared, ping, bytes) => end,
            end = to_pod(&mut self.deliveries, &mut pings, &mut writer, shared) => end,
            () = overtaken.cancelled() => End::Lost,
        };
        if let End::Closed(message) = &end {
            self.outbox.send(message.clone());
            let answer = Envelope::Message(message.clone()).seal();
            websocket::answer_close(answer, &mut reader, &mut writer).await;
            return End::Over;
        }
        end
    }

    /// Opens the WebSocket at another pod. Nothing if none takes it in time, or the client does not need it any more.
    async fn reopened(&mut self, failures: &mut Failures) -> Option<Connection> {
        let deadline = *failures.since.get_or_insert_with(Instant::now) + REOPENING;
        let kept = self.shared.kept().clone();
        if self.way == Way::Kept && kept.is_none() {
            return None; // the pod has not said what it is
        }
        let opening = Opening {
            asked: &self.asked,
            way: self.way,
            kept: kept.as_ref(),
            class: &self.class,
            hold: &self.hold,
            metrics: &self.metrics,
            max_message_bytes: self.max_message_bytes,
        };
        let pod = &mut self.record.pod;
        let left = client_leaves(&mut self.deliveries, &self.shared, self.way);
        tokio::select! {
            connection = opening.until(deadline, failures, pod) => connection,
            () = left => None,
        }
    }
}

/// What is needed to open a WebSocket again.
struct Opening<'a> {
    asked: &'a Asked,
    way: Way,
    kept: Option<&'a Bytes>,
    class: &'a Class,
    hold: &'a Hold,
    metrics: &'a Metrics,
    max_message_bytes: usize,
}

impl Opening<'_> {
    async fn until(
        &self,
        deadline: Instant,
        failures: &mut Failures,
        pod: &mut Option<String>,
    ) -> Option<Connection> {
        let attempts = async {
            loop {
                if failures.count > 0 {
                    sleep(Duration::from_millis(BACKOFF.delay_ms(failures.count - 1))).await;
                }
                failures.count += 1;
                match self.once(deadline, pod).await {
                    Ok(connection) => return Some(connection),
                    Err(Next::Again) => {}
                    Err(Next::Lost) => {
                        failures.lost += 1;
                        if failures.lost == MAX_LOST {
                            return None;
                        }
                    }
                    Err(Next::GiveUp) => return None,
                }
            }
        };
        timeout_at(deadline, attempts).await.ok().flatten()
    }

    async fn once(&self, deadline: Instant, pod: &mut Option<String>) -> Result<Connection, Next> {
        while !self.class.is_served() {
            sleep(LOOK).await;
        }
        // So many at a time: there may be thousands that had one pod.
        let _place = self.class.reopens().await;
        let outbound = self.asked.again(self.class, self.kept);
        let sent = outbound.send(self.class, self.hold, self.metrics, deadline, pod);
        let (target, mut answer) = sent.await.map_err(|refusal| match refusal {
            Refusal::NoRoute | Refusal::Suspended | Refusal::Starting => Next::GiveUp,
            Refusal::Lost => Next::Lost,
            _ => Next::Again,
        })?;
        let status = answer.response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            // What the application itself answers is final. Of what is kept for an object a pod has only its own word.
            let is_final = self.way == Way::Reopened || status.is_client_error();
            return Err(if is_final { Next::GiveUp } else { Next::Again });
        }
        let way = headers::take_way(answer.response.headers_mut());
        let opened = outbound.opened_by(&answer.response);
        if way != Some(self.way) || !opened {
            return Err(Next::GiveUp);
        }
        let upgraded =
            websocket::upgrade(answer.response, self.max_message_bytes + OVERHEAD_BYTES).await;
        let (_, upstream) = upgraded.map_err(|_| Next::Again)?;
        Ok(Connection::new(upstream, target))
    }
}

/// What follows from a failure.
enum Next {
    Again,
    /// It may not be asked again often.
    Lost,
    GiveUp,
}

/// Takes what the client says while nobody hears it, and returns when it is gone and nobody needs to know.
async fn client_leaves(
    deliveries: &mut mpsc::UnboundedReceiver<Delivery>,
    shared: &Shared,
    way: Way,
) {
    while let Some(delivery) = deliveries.recv().await {
        let mut unheard = shared.unheard();
        unheard.push(delivery);
        if unheard.is_over() && way == Way::Reopened {
            return;
        }
    }
    std::future::pending().await
}

async fn to_client(
    reader: &mut Reader<ReadHalf<Io>>,
    outbox: &Outbox,
    shared: &Shared,
    ping: mpsc::Sender<Bytes>,
    bytes: &mut u64,
) -> End {
    let window = SharedWindow::of_process();
    loop {
        let message = match websocket::next(reader, &ping).await {
            Ok(message) => message,
            Err(Unread::TooLong(close)) => return End::Closed(close),
            Err(Unread::Lost) => return End::Lost,
        };
        let message = match Envelope::open(message) {
            Ok(Envelope::Message(message)) => message,
            Ok(Envelope::Heard(messages)) => {
                if shared.unheard().heard(messages).is_err() {
                    return End::Lost;
                }
                shared.hears.notify_one();
                continue;
            }
            Ok(Envelope::State(state)) => {
                // Not a part of all that was read with it, which would stay as well.
                *shared.kept() = Some(Bytes::copy_from_slice(&state));
                continue;
            }
            Ok(Envelope::Left(messages)) => {
                return match shared.unheard().heard(messages) {
                    Ok(()) => End::Left,
                    Err(_) => End::Lost,
                };
            }
            // Only pods are told to depart.
            Ok(Envelope::Depart { .. }) | Err(_) => return End::Lost,
        };
        *bytes += message.len() as u64;
        if let Message::Close { code, .. } = message {
            // An application whose connection breaks off, and a pod that says what cannot be said.
            let is_sayable = code == code::NONE || code::may_be_sent(code);
            return End::Closed(if is_sayable { message } else { gone() });
        }
        websocket::pass_on(message, outbox, &shared.credit, &window).await;
    }
}

async fn to_pod(
    deliveries: &mut mpsc::UnboundedReceiver<Delivery>,
    pings: &mut mpsc::Receiver<Bytes>,
    writer: &mut Writer<WriteHalf<Io>>,
    shared: &Shared,
) -> End {
    loop {
        let next = shared.unheard().next();
        if let Some(message) = next {
            let is_lost = matches!(
                message,
                Message::Close {
                    code: code::LOST,
                    ..
                }
            );
            let is_last = matches!(message, Message::Close { .. });
            let sealed = Envelope::Message(message).seal();
            if writer.message(sealed).await.is_err() {
                // The reader sees what happened, and perhaps what was said before.
                return std::future::pending().await;
            }
            if is_last {
                // The application answers, and may have more to say before; but not to a client that is gone.
                let heard = async {
                    while !(is_lost && shared.unheard().is_empty()) {
                        shared.hears.notified().await;
                    }
                };
                let _ = timeout(CLOSE_TIMEOUT, heard).await;
                return End::Over;
            }
            continue;
        }
        tokio::select! {
            biased;
            Some(payload) = pings.recv() => {
                if writer.pong(&payload).await.is_err() {
                    return std::future::pending().await;
                }
            }
            delivery = deliveries.recv() => match delivery {
                Some(delivery) => shared.unheard().push(delivery),
                // A close is the last thing that comes, and was told.
                None => return std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use portside_core::ownership::gateway::Claim;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::class::tests::class;

    #[tokio::test]
    async fn whoever_waits_for_a_place_is_told_in_time_that_nobody_takes_it() {
        let (class, endpoint, metrics) = class();
        class.heard(&endpoint, None, Claim::Active(7));
        let mut places = Vec::new();
        for _ in 0..crate::class::REOPENING {
            places.push(class.reopens().await);
        }
        let opening = Opening {
            asked: &Asked::new(&Method::GET, &Uri::from_static("/"), &HeaderMap::new()),
            way: Way::Reopened,
            kept: None,
            class: &class,
            hold: &Hold::new(metrics.clone(), CancellationToken::new()),
            metrics: &metrics,
            max_message_bytes: 1,
        };
        let deadline = Instant::now() + Duration::from_millis(50);
        let (mut failures, mut pod) = (Failures::default(), None);
        let opened = opening.until(deadline, &mut failures, &mut pod);
        let opened = timeout(Duration::from_secs(10), opened).await;
        assert!(opened.expect("it waits for ever").is_none());
    }
}
