//! Ports: ordered, bounded message channels between two instances.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use deno_core::{OpState, op2, v8};
use deno_error::JsErrorBox;
use portside_core::ids::WorkerKey;

use crate::event::{CloseReason, Event, PortFailure, PortId};
use crate::inbox::{Inbox, Rejected};
use crate::instance::Instance;
use crate::output::Output;
use crate::resolve;

/// One end of a port: where its messages go, and how many are on their way.
pub struct LinkEnd {
    /// This end.
    pub id: PortId,
    /// Reads what this end sends.
    pub peer: Arc<Inbox>,
    outgoing: Arc<Transit>,
    incoming: Arc<Transit>,
}

/// Messages sent in one direction and not yet handed to JavaScript.
#[derive(Default)]
struct Transit {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

static NEXT_LINK: AtomicU64 = AtomicU64::new(0);

impl LinkEnd {
    /// The far end of a new port whose near end is read from `near`. The near end follows with [`LinkEnd::other`].
    #[must_use]
    pub fn far(near: Arc<Inbox>) -> Self {
        let link = NEXT_LINK.fetch_add(1, Ordering::Relaxed);
        Self {
            id: PortId(link * 2 + 1),
            peer: near,
            outgoing: Arc::default(),
            incoming: Arc::default(),
        }
    }

    /// The other end of this port, sending to `peer`.
    fn other(id: PortId, peer: Arc<Inbox>, outgoing: Arc<Transit>, incoming: Arc<Transit>) -> Self {
        Self {
            id: PortId(id.0 ^ 1),
            peer,
            outgoing: incoming,
            incoming: outgoing,
        }
    }

    fn peer_id(&self) -> PortId {
        PortId(self.id.0 ^ 1)
    }

    /// Sends a message; says so if it did not arrive.
    pub fn send(&self, data: Vec<u8>) -> Result<(), Undelivered> {
        let size = data.len();
        match self.peer.push(Event::Message {
            port: self.peer_id(),
            data,
        }) {
            Ok(()) => Ok(()),
            Err(rejected) => {
                self.outgoing.leave(size);
                Err(match rejected {
                    Rejected::Closed(_) => Undelivered::Gone,
                    Rejected::Full(_) => Undelivered::Overloaded,
                })
            }
        }
    }

    /// Tells the other side that this end is gone.
    pub fn close(&self, reason: CloseReason) {
        // A peer that is gone needs no telling.
        let _ = self.peer.push(Event::PortClosed {
            port: self.peer_id(),
            reason,
        });
    }

    /// Tells the other side that there is nobody to talk to.
    pub fn refuse(&self, failure: &PortFailure) {
        self.fail(failure.clone());
        self.close(CloseReason::Lost);
    }

    /// Tells the other side that something it sent did not arrive.
    pub fn fail(&self, failure: PortFailure) {
        let _ = self.peer.push(Event::PortFailed {
            port: self.peer_id(),
            failure,
        });
    }
}

/// Why a message did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelivered {
    /// The receiver ended.
    Gone,
    /// The receiver's inbox is full.
    Overloaded,
}

impl Transit {
    fn enter(&self, size: usize, max_messages: usize, max_bytes: usize) -> bool {
        let messages = self.messages.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        // A message alone always fits: it has a limit of its own.
        if messages >= max_messages || (messages > 0 && bytes + size > max_bytes) {
            return false;
        }
        // Only the sending instance's thread adds, so the check above still holds.
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
        true
    }

    fn leave(&self, size: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// A port as its own instance holds it.
pub struct Port {
    pub(crate) end: LinkEnd,
    listener: Listener,
    /// Messages nobody listens to yet, still counted against the sender, and the close that may follow them.
    held: VecDeque<Event>,
}

/// Whether JavaScript hears a port's messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// Not yet; its handler may still be about to.
    Expected,
    /// Not when its `connect` handler had settled.
    Missing,
    /// From now on.
    Started,
}

impl Port {
    /// A port nobody listens on yet.
    #[must_use]
    pub fn new(end: LinkEnd) -> Self {
        Self {
            end,
            listener: Listener::Expected,
            held: VecDeque::new(),
        }
    }

    /// Passes an event on, or keeps it until JavaScript listens. A close waits for the messages before it, an error
    /// for nothing.
    pub fn admit(&mut self, event: Event) -> Option<Event> {
        let passes = match (&event, self.listener) {
            (Event::PortFailed { .. }, _) | (_, Listener::Started) => true,
            (Event::PortClosed { .. }, Listener::Missing) => true,
            (Event::PortClosed { .. }, Listener::Expected) => self.held.is_empty(),
            _ => false,
        };
        if !passes {
            self.held.push_back(event);
            return None;
        }
        self.taken(&event);
        Some(event)
    }

    /// JavaScript listens from now on: gives what waited.
    pub fn start(&mut self) -> VecDeque<Event> {
        self.listener = Listener::Started;
        let held = std::mem::take(&mut self.held);
        held.iter().for_each(|event| self.taken(event));
        held
    }

    /// The `connect` handler has settled. If nobody listens and the other side is gone, gives the close.
    pub fn settle(&mut self) -> Option<Event> {
        if self.listener == Listener::Expected {
            self.listener = Listener::Missing;
        }
        self.held
            .pop_back_if(|event| matches!(event, Event::PortClosed { .. }))
    }

    fn taken(&self, event: &Event) {
        if let Event::Message { data, .. } = event {
            self.end.incoming.leave(data.len());
        }
    }
}

/// Opens a port to `name` of the script `specifier`, as seen from the calling module.
#[op2(fast)]
#[number]
pub(crate) fn op_port_open(
    state: &mut OpState,
    #[string] script: &str,
    #[string] name: &str,
) -> Result<u64, JsErrorBox> {
    let instance = state.borrow_mut::<Instance>();
    let key =
        WorkerKey::new(script, name).map_err(|error| JsErrorBox::type_error(error.to_string()))?;
    let far = LinkEnd::far(instance.inbox.clone());
    let (far_id, outgoing, incoming) = (far.id, far.outgoing.clone(), far.incoming.clone());
    let id = PortId(far_id.0 ^ 1);
    match instance.host.connect(&key, far) {
        Ok(peer) => {
            let near = LinkEnd::other(far_id, peer, outgoing, incoming);
            instance.ports.insert(id, Port::new(near));
        }
        Err(failure) => {
            // Heard as an event, like a refusal that comes later.
            let _ = instance.inbox.push(Event::PortFailed { port: id, failure });
            let _ = instance.inbox.push(Event::PortClosed {
                port: id,
                reason: CloseReason::Lost,
            });
        }
    }
    Ok(id.0)
}

/// Finds the script a constructor call means; see [`resolve::worker_script`].
#[op2]
#[string]
pub(crate) fn op_worker_script(
    state: &mut OpState,
    scope: &mut v8::PinScope<'_, '_>,
    #[string] specifier: &str,
) -> Result<String, JsErrorBox> {
    let bundle = state.borrow::<Instance>().bundle.clone();
    let referrer = resolve::calling_module(scope);
    resolve::worker_script(&bundle, referrer.as_deref(), specifier).map_err(JsErrorBox::type_error)
}

/// Sends a structured clone. `false` means that the port's queue is full.
#[op2(fast)]
pub(crate) fn op_port_post(
    state: &mut OpState,
    #[number] port: u64,
    #[buffer] data: &[u8],
) -> Result<bool, JsErrorBox> {
    let instance = state.borrow_mut::<Instance>();
    let limits = &instance.limits;
    if data.len() > limits.message_bytes {
        return Err(JsErrorBox::new(
            "DOMExceptionDataCloneError",
            format!(
                "a message may have at most {} bytes, this one has {}",
                limits.message_bytes,
                data.len()
            ),
        ));
    }
    let Some(open) = instance.ports.get(&PortId(port)) else {
        return Ok(true); // closed: a silent no-op
    };
    if !open
        .end
        .outgoing
        .enter(data.len(), limits.port_messages, limits.port_bytes)
    {
        return Ok(false);
    }
    instance.emit(Output::Message {
        port: PortId(port),
        data: data.to_vec(),
    });
    Ok(true)
}

/// Closes a port. What was sent before still arrives.
#[op2(fast)]
pub(crate) fn op_port_close(state: &mut OpState, #[number] port: u64) {
    state
        .borrow_mut::<Instance>()
        .emit(Output::ClosePort { port: PortId(port) });
}

/// JavaScript listens on a port.
#[op2(fast)]
pub(crate) fn op_port_start(state: &mut OpState, #[number] port: u64) {
    let instance = state.borrow_mut::<Instance>();
    if let Some(open) = instance.ports.get_mut(&PortId(port)) {
        let held = open.start();
        instance.replay.extend(held);
    }
}

/// The `connect` handler of a port has settled.
#[op2(fast)]
pub(crate) fn op_port_settled(state: &mut OpState, #[number] port: u64) {
    let instance = state.borrow_mut::<Instance>();
    if let Some(open) = instance.ports.get_mut(&PortId(port)) {
        let closed = open.settle();
        instance.replay.extend(closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_bounded_until_its_messages_are_taken() {
        let transit = Transit::default();
        assert!(transit.enter(6, 2, 10));
        assert!(!transit.enter(5, 2, 10), "bytes");
        assert!(transit.enter(4, 2, 10));
        assert!(!transit.enter(0, 2, 10), "messages");
        transit.leave(6);
        assert!(transit.enter(6, 2, 10));
        assert!(Transit::default().enter(11, 2, 10), "alone");
    }

    #[test]
    fn events_wait_until_the_port_is_started() {
        let inbox = Arc::new(Inbox::new(10, 100));
        let mut port = Port::new(LinkEnd::far(inbox));
        port.end.incoming.enter(1, 10, 10);
        let message = Event::Message {
            port: port.end.id,
            data: vec![1],
        };
        assert!(port.admit(message).is_none());
        assert_eq!(port.end.incoming.messages.load(Ordering::Relaxed), 1);
        assert_eq!(port.start().len(), 1);
        assert_eq!(port.end.incoming.messages.load(Ordering::Relaxed), 0);
        assert!(port.admit(Event::Stop).is_some());
    }

    #[test]
    fn a_close_follows_the_messages_before_it() {
        let inbox = Arc::new(Inbox::new(10, 100));
        let mut port = Port::new(LinkEnd::far(inbox));
        let id = port.end.id;
        let message = || Event::Message {
            port: id,
            data: vec![],
        };
        let close = || Event::PortClosed {
            port: id,
            reason: CloseReason::Closed,
        };
        port.end.incoming.enter(0, 10, 10);
        assert!(port.admit(message()).is_none());
        assert!(port.admit(close()).is_none(), "somebody may listen yet");
        assert!(port.settle().is_some(), "nobody did");
        assert!(port.admit(close()).is_some());
    }
}
