//! A request to, or a call of, a worker of another pod, in the pod of its caller.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use portside_core::ids::WorkerKey;
use portside_core::ownership::members::KeyFingerprint;
use portside_exchange::Delivery;
use portside_wire::connection::OpenError;
use portside_wire::frame::{self, Refusal};
use portside_worker::bond::{Bond, Elsewhere};
use portside_worker::event::Incoming;
use portside_worker::later::Later;
use portside_worker::link::{
    CloseReason, Failure, FailureCode, Frame, Kind, LinkEnd, Opening, Receive, Rejected,
};
use portside_worker::request::ByteStream;
use tokio::sync::{Notify, mpsc};

use crate::convert;
use crate::later::Turn;
use crate::line::{Heard, Line, Listener, place};
use crate::places::At;
use crate::router::Router;
use crate::task::{ForTask, Inbound, Sender};

/// What the caller has to say besides, on its way to the task of the call.
struct Caller {
    said: mpsc::UnboundedSender<Incoming>,
    offered: Weak<Offered>,
}

impl Receive for Caller {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        if let (Incoming::Closed { reason, .. }, Some(offered)) =
            (&incoming, self.offered.upgrade())
        {
            // Not at once: whoever says so may hold the connection's lock.
            let (router, reason) = (offered.router.clone(), *reason);
            router.spawn(async move { offered.withdraw(reason) });
        }
        let sent = self.said.send(incoming);
        sent.map_err(|mpsc::error::SendError(incoming)| Rejected::Closed(incoming))
    }
}

/// A call as it is sent.
struct Call {
    wire: frame::Opening,
    body: Option<ByteStream>,
    bond: Option<Bond>,
    end: LinkEnd,
}

impl Call {
    fn new(at: &At, to: &WorkerKey, opening: Opening) -> Self {
        let Opening {
            kind,
            name,
            bond,
            request,
            reconnected,
            end,
        } = opening;
        let (kind, body) = match kind {
            Kind::Port => (frame::Kind::Port, None),
            Kind::Fetch(request) => {
                let (request, body) = convert::request_out(*request);
                (frame::Kind::Fetch(Box::new(request)), body)
            }
            Kind::Rpc(push) => (frame::Kind::Rpc(push), None),
            Kind::Scheduled(scheduled) => (frame::Kind::Scheduled(*scheduled), None),
            Kind::Adopt(kept) => (frame::Kind::Adopt(*kept), None),
            Kind::Evaluate(_) => unreachable!("the router refuses it"),
        };
        let reached = bond.as_ref().and_then(Bond::elsewhere);
        let reached = reached.filter(|it| it.process == process(&at.line));
        let wire = frame::Opening {
            to: to.clone(),
            epoch: at.epoch,
            kind,
            name,
            reached: reached.map(|it| it.number),
            request,
            reconnected,
        };
        Self {
            wire,
            body,
            bond,
            end,
        }
    }

    /// As it was before: nothing of it has run.
    fn into_opening(self) -> Opening {
        let body = self.body;
        let follows = || body.unwrap_or_else(|| Box::pin(futures::stream::empty()));
        Opening {
            kind: match self.wire.kind {
                frame::Kind::Port => Kind::Port,
                frame::Kind::Fetch(request) => {
                    Kind::Fetch(Box::new(convert::request_in(*request, follows)))
                }
                frame::Kind::Rpc(push) => Kind::Rpc(push),
                frame::Kind::Scheduled(scheduled) => Kind::Scheduled(Box::new(scheduled)),
                frame::Kind::Adopt(kept) => Kind::Adopt(Box::new(kept)),
            },
            name: self.wire.name,
            bond: self.bond,
            request: self.wire.request,
            reconnected: self.wire.reconnected,
            end: self.end,
        }
    }
}

/// The process at the other end.
fn process(line: &Line) -> KeyFingerprint {
    KeyFingerprint(line.links().peer().0)
}

/// The caller has lost the instance that it has reached, if it is that which failed.
fn may_lose(bond: Option<&Bond>, failure: &Failure) {
    if let (FailureCode::Reset, Some(bond)) = (failure.code, bond) {
        bond.lose(failure);
    }
}

/// Calls the worker at that place. What the caller says besides comes by `later`.
///
/// # Errors
/// The connection does not take it; the opening comes back.
pub(crate) fn open(
    at: &At,
    router: &Arc<Router>,
    to: &WorkerKey,
    opening: Opening,
    turn: Turn,
    later: &Arc<Later>,
) -> Result<(), (OpenError, Opening)> {
    let call = Call::new(at, to, opening);
    let (wire, mut call) = (call.wire.clone(), Some(call));
    router.offers(turn, &at.line);
    let sent = at.line.open(wire, |link| {
        let (for_task, inbound, room) = ForTask::new();
        let (said, incoming) = mpsc::unbounded_channel();
        let line = at.line.clone();
        let offered = Arc::new(Offered {
            router: router.clone(),
            turn,
            later: later.clone(),
            call: Mutex::new(call.take().map(|call| {
                let sender = Sender { line, link, room };
                (call, sender, inbound, incoming)
            })),
            for_task,
        });
        let caller = Caller {
            said,
            offered: Arc::downgrade(&offered),
        };
        later.reached(Some(Arc::new(caller)));
        offered
    });
    match (sent, call) {
        (Err(error), Some(call)) => {
            router.settled(turn);
            Err((error, call.into_opening()))
        }
        _ => Ok(()),
    }
}

/// A call that the other pod has not taken yet; from then on a task of its own serves it.
struct Offered {
    router: Arc<Router>,
    turn: Turn,
    later: Arc<Later>,
    call: Mutex<Option<(Call, Sender, Inbound, Said)>>,
    for_task: ForTask,
}

/// What the caller says besides.
type Said = mpsc::UnboundedReceiver<Incoming>;

impl Offered {
    fn take(&self) -> Option<(Call, Sender, Inbound, Said)> {
        self.call
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The caller does not want it any more. If it is taken by now, whoever serves it hears that, too.
    fn withdraw(&self, reason: CloseReason) {
        if let Some((_call, sender, ..)) = self.take() {
            sender.close(reason);
            self.router.settled(self.turn);
        }
    }
}

impl Listener for Offered {
    fn hear(&self, heard: Heard) {
        let is_first = matches!(
            heard,
            Heard::Accepted | Heard::Refused(_) | Heard::Closed(_)
        );
        let offered = is_first.then(|| self.take());
        let Some((call, sender, inbound, mut said)) = offered.flatten() else {
            return self.for_task.hear(heard);
        };
        match heard {
            Heard::Refused(Refusal::NotOwner { .. }) => {
                self.router.misdirected(self.turn.shard, call.wire.epoch);
                let to = call.wire.to.clone();
                let left = std::iter::from_fn(|| said.try_recv().ok());
                self.later.is_not_reached(left);
                let later = self.later.clone();
                self.router
                    .put_in_line(self.turn, &to, call.into_opening(), later);
            }
            Heard::Refused(Refusal::Failed(failure)) => {
                may_lose(call.bond.as_ref(), &failure);
                call.end.refuse(failure);
            }
            Heard::Closed(reason) => call.end.close(reason),
            _ => self
                .router
                .spawn(run(call, sender, inbound, said, self.later.clone())),
        }
        self.router.settled(self.turn);
    }
}

/// A call from when it is taken to its end. Whoever calls holds `later` weakly.
async fn run(call: Call, sender: Sender, mut inbound: Inbound, mut said: Said, later: Arc<Later>) {
    // It is taken: what it was is not needed any more.
    let Call {
        body, bond, end, ..
    } = call;
    let unread = Notify::new();
    tokio::select! {
        () = listen(&sender, &mut inbound, &end, bond.as_ref(), &unread) => {}
        reason = speak(&sender, &mut said, body, &unread) => sender.close(reason),
    }
    drop(later);
}

/// Gives the caller what comes, until the link is over.
async fn listen(
    sender: &Sender,
    inbound: &mut Inbound,
    end: &LinkEnd,
    bond: Option<&Bond>,
    unread: &Notify,
) {
    while let Some(heard) = inbound.recv().await {
        let (frame, room) = match heard {
            Heard::Frame(frame, room) => (frame, room),
            Heard::Closed(reason) => return end.close(reason),
            Heard::Accepted | Heard::Refused(_) | Heard::Room => continue,
        };
        let frame = match frame {
            frame::Frame::Head(head) => convert::head_in(*head),
            frame::Frame::Resolve(value) => Frame::Resolve(value.into()),
            frame::Frame::Ran(ran) => Frame::Ran(ran),
            frame::Frame::Chunk(data) => Frame::Chunk {
                data,
                place: place(room),
            },
            frame::Frame::End => Frame::End,
            frame::Frame::Abort(error) => Frame::Abort(error),
            frame::Frame::Socket(message) => Frame::Socket(Delivery::placed(message, place(room))),
            frame::Frame::Failed(failure) => {
                may_lose(bond, &failure);
                Frame::Failed(failure)
            }
            frame::Frame::Reached(number) => {
                if let Some(bond) = bond {
                    let process = process(&sender.line);
                    bond.bind_elsewhere(Elsewhere { process, number });
                }
                continue;
            }
            frame::Frame::Unread => {
                unread.notify_one();
                continue;
            }
            // Nothing else comes on a call's link.
            _ => continue,
        };
        if end.send(frame).is_err() {
            return sender.close(CloseReason::Closed);
        }
    }
}

/// Sends the request's body, and what the caller says besides, until it is gone.
async fn speak(
    sender: &Sender,
    said: &mut Said,
    body: Option<ByteStream>,
    unread: &Notify,
) -> CloseReason {
    let upload = async {
        if let Some(body) = body {
            tokio::select! {
                () = sender.send_body(body) => {}
                () = unread.notified() => {}
            }
        }
        std::future::pending::<()>().await;
    };
    let talk = async {
        while let Some(incoming) = said.recv().await {
            match incoming {
                Incoming::Closed { reason, .. } => return reason,
                Incoming::Frame {
                    frame: Frame::Socket(delivery),
                    ..
                } => {
                    // Its place is free when it is sent.
                    let message = frame::Frame::Socket(delivery.message.clone());
                    let _ = sender.send(message).await;
                }
                _ => {}
            }
        }
        CloseReason::Closed
    };
    tokio::select! {
        () = upload => CloseReason::Closed,
        reason = talk => reason,
    }
}
