//! A port as its own instance holds it.

use std::collections::VecDeque;
use std::sync::Arc;

use portside_core::ids::WorkerKey;
use portside_exchange::credit::Window;

use crate::event::Incoming;
use crate::gate::Output;
use crate::inbox::{Held, Inbox};
use crate::instance::Instance;
use crate::link::{CloseReason, Frame, LinkEnd, LinkId};

/// Ports whose callers are gone before anybody listened that an instance keeps, with their messages, for whoever listens
/// later. An application may never listen: beyond these, the one that was left first is closed for good.
pub const LEFT_PORTS: usize = 64;

/// What an inbox's limit of bytes is divided by for their messages together: the rest has room for those of others.
const LEFT_DIVISOR: usize = 2;

/// A port, and what nobody listens to yet.
pub struct Port {
    /// How to send on it.
    pub end: LinkEnd,
    listener: Listener,
    /// Messages nobody listens to yet, still counted against the sender and the inbox, and the close that may follow them.
    held: VecDeque<Held>,
    held_bytes: usize,
}

/// Whether the application hears a port's messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// Not yet; its `connect` handler may still be about to.
    Expected,
    /// Not yet, and no handler is about to: it has settled, or the application opened the port itself.
    Missing,
    /// From now on.
    Started,
}

impl Port {
    /// A port that others opened, nobody listens on yet, and a `connect` handler is to be told of.
    #[must_use]
    pub fn new(end: LinkEnd) -> Self {
        Self {
            end,
            listener: Listener::Expected,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Its instance leaves for another place: the other side hears so, with what the application has not heard, and what of
    /// that is in the inbox still.
    pub(crate) fn leave(mut self, waiting: VecDeque<Incoming>) {
        let held = self.take_held().map(Held::take);
        self.end.moved(true, held.chain(waiting).collect());
    }

    /// A port that the application opened itself, and listens on if it likes.
    #[must_use]
    pub fn opened_here(end: LinkEnd) -> Self {
        Self {
            listener: Listener::Missing,
            ..Self::new(end)
        }
    }

    /// Passes an event on, or keeps it until the application listens. A close waits for the messages before it, if there
    /// are any, an error for nothing. What is kept counts in `inbox`, where it was, until somebody listens.
    pub fn admit(&mut self, incoming: Incoming, inbox: &Arc<Inbox>) -> Option<Incoming> {
        let is_failure = matches!(
            incoming,
            Incoming::Frame {
                frame: Frame::Failed(_),
                ..
            }
        );
        let passes = match (&incoming, self.listener) {
            (_, Listener::Started) => true,
            (Incoming::Closed { .. }, _) => self.held.is_empty(),
            _ => is_failure,
        };
        if !passes {
            let held = inbox.hold(incoming);
            self.held_bytes += held.size();
            self.held.push_back(held);
            return None;
        }
        Some(incoming)
    }

    /// The application listens from now on: gives what waited.
    pub fn start(&mut self) -> VecDeque<Incoming> {
        self.listener = Listener::Started;
        self.take_held().map(Held::take).collect()
    }

    /// The `connect` handler has settled.
    pub fn settle(&mut self) {
        if self.listener == Listener::Expected {
            self.listener = Listener::Missing;
        }
    }

    /// Whether the other side is gone, and nobody has listened to what it said before, nor is a `connect` handler about to.
    /// Such a port keeps no instance awake.
    #[must_use]
    pub fn is_left(&self) -> bool {
        let last = self.held.back().and_then(Held::incoming);
        self.listener == Listener::Missing && matches!(last, Some(Incoming::Closed { .. }))
    }

    /// Drops the messages that nobody has listened to; gives the close after them.
    pub fn let_go(&mut self) -> Option<Incoming> {
        self.take_held().next_back().map(Held::take)
    }

    fn take_held(&mut self) -> impl DoubleEndedIterator<Item = Held> + use<> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held).into_iter()
    }
}

/// A message is larger than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message may have at most {limit} bytes, this one has {size}")]
pub struct TooLarge {
    /// The limit, in bytes.
    pub limit: usize,
    /// The message's size, in bytes.
    pub size: usize,
}

impl TooLarge {
    /// Checks a message's size.
    ///
    /// # Errors
    /// It is larger than the limit.
    pub fn check(size: usize, limit: usize) -> Result<(), Self> {
        if size > limit {
            return Err(Self { limit, size });
        }
        Ok(())
    }
}

impl Instance {
    /// Opens a port to a worker; returns this end. That it could not be opened is heard as an event.
    pub fn open_port(&mut self, to: WorkerKey, request: Option<LinkId>) -> LinkId {
        let end = LinkEnd::unopened();
        let link = end.id;
        self.ports.insert(link, Port::opened_here(end));
        let request = self.request_name(request);
        self.emit(Output::Open { link, to, request });
        link
    }

    /// Sends a structured clone on a port, in the course of `request` if that is known; on a port that is closed nothing
    /// happens. `false` means that too much is on its way already.
    ///
    /// # Errors
    /// The message is larger than the limit.
    pub fn post(
        &mut self,
        port: LinkId,
        data: &[u8],
        request: Option<LinkId>,
    ) -> Result<bool, TooLarge> {
        TooLarge::check(data.len(), self.limits.message_bytes)?;
        let Some(open) = self.ports.get(&port) else {
            return Ok(true);
        };
        let window = Window {
            messages: self.limits.port_messages,
            bytes: self.limits.port_bytes,
        };
        if !self.gate_has_room(data.len()) {
            return Ok(false);
        }
        let Some(place) = open.end.credit.take_if_room(data.len(), window) else {
            return Ok(false);
        };
        let frame = Frame::Message {
            data: data.to_vec(),
            place,
            request: self.request_name(request),
        };
        self.emit(Output::Frame { link: port, frame });
        Ok(true)
    }

    /// Closes a port. What was sent before still arrives.
    pub fn close_port(&mut self, port: LinkId) {
        let reason = CloseReason::Closed;
        self.emit(Output::Close { link: port, reason });
    }

    /// The application listens on a port.
    pub fn start_port(&mut self, port: LinkId) {
        if let Some(open) = self.ports.get_mut(&port) {
            self.replay.extend(open.start());
        }
    }

    /// The `connect` handler of a port has settled. Returns whether the port is left: who listens for its close alone is to
    /// [let go](Self::let_port_go) of it.
    pub fn port_settled(&mut self, port: LinkId) -> bool {
        if let Some(open) = self.ports.get_mut(&port) {
            open.settle();
        }
        self.look_whether_left(port)
    }

    /// Drops the messages of a port that is left: its close is heard.
    pub fn let_port_go(&mut self, port: LinkId) {
        if let Some(open) = self.ports.get_mut(&port)
            && open.is_left()
        {
            self.replay.extend(open.let_go());
        }
    }

    /// Counts the port if it is left, and lets go of those that were left first while there are too many, or too many bytes
    /// of messages in them. Returns whether it is left, and was not let go of.
    pub(crate) fn look_whether_left(&mut self, port: LinkId) -> bool {
        let ports = &self.ports;
        let is_left = |port: &LinkId| ports.get(port).is_some_and(Port::is_left);
        if !is_left(&port) {
            return false;
        }
        self.left_ports.retain(is_left);
        self.left_ports.push_back(port);
        let sizes = self.left_ports.iter().filter_map(|port| ports.get(port));
        let mut bytes: usize = sizes.map(|port| port.held_bytes).sum();
        let max_bytes = self.limits.inbox_bytes / LEFT_DIVISOR;
        while (self.left_ports.len() > LEFT_PORTS || bytes > max_bytes)
            && let Some(first) = self.left_ports.pop_front()
        {
            if let Some(port) = self.ports.get_mut(&first) {
                bytes -= port.held_bytes;
                self.replay.extend(port.let_go());
            }
        }
        self.left_ports.back() == Some(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Receive, Rejected};

    fn port() -> Port {
        Port::new(LinkEnd::new(LinkId(1), Arc::new(Inbox::new(10, 100))))
    }

    fn inbox() -> Arc<Inbox> {
        Arc::new(Inbox::new(10, 100))
    }

    fn message(port: &Port) -> Incoming {
        let place = port.end.credit.take(1);
        let frame = Frame::Message {
            data: vec![1],
            place,
            request: None,
        };
        let link = port.end.id;
        Incoming::Frame { link, frame }
    }

    fn close(port: &Port) -> Incoming {
        Incoming::Closed {
            link: port.end.id,
            reason: CloseReason::Closed,
        }
    }

    #[test]
    fn messages_wait_in_their_places_until_the_port_is_started() {
        let (mut port, inbox) = (port(), inbox());
        assert!(port.admit(message(&port), &inbox).is_none());
        assert_eq!(port.end.credit.messages(), 1);
        assert_eq!(port.start().len(), 1);
        assert_eq!(port.end.credit.messages(), 0);
        assert!(port.admit(message(&port), &inbox).is_some());
    }

    #[test]
    fn messages_that_wait_for_a_listener_count_in_the_inbox() {
        let (mut port, inbox) = (port(), Arc::new(Inbox::new(10, 1)));
        assert!(port.admit(message(&port), &inbox).is_none());
        let refused = inbox.receive(message(&port));
        assert!(matches!(refused, Err(Rejected::Full(_))));
        assert_eq!(port.start().len(), 1);
        assert!(inbox.receive(message(&port)).is_ok());
    }

    #[test]
    fn messages_of_a_port_that_is_gone_count_no_more() {
        let (mut port, inbox) = (port(), Arc::new(Inbox::new(10, 1)));
        assert!(port.admit(message(&port), &inbox).is_none());
        let another = message(&port);
        drop(port);
        assert!(inbox.receive(another).is_ok());
    }

    #[test]
    fn a_close_follows_the_messages_before_it_whoever_listens_when() {
        let (mut port, inbox) = (port(), inbox());
        assert!(port.admit(message(&port), &inbox).is_none());
        port.settle();
        assert!(port.admit(close(&port), &inbox).is_none());
        let heard = port.start();
        assert!(matches!(heard[0], Incoming::Frame { .. }));
        assert!(matches!(heard[1], Incoming::Closed { .. }));
    }

    #[test]
    fn who_hears_the_close_alone_hears_it_at_once() {
        let (mut port, inbox) = (self::port(), inbox());
        assert!(port.admit(message(&port), &inbox).is_none());
        port.settle();
        assert!(!port.is_left(), "it is open");
        assert!(port.admit(close(&port), &inbox).is_none());
        assert!(port.is_left(), "it can be let go of");
        assert!(matches!(port.let_go(), Some(Incoming::Closed { .. })));
        assert_eq!(port.end.credit.messages(), 0);

        let mut port = self::port();
        assert!(port.admit(message(&port), &inbox).is_none());
        assert!(port.admit(close(&port), &inbox).is_none());
        port.settle();
        assert!(port.is_left(), "it can be let go of");
        assert!(matches!(port.let_go(), Some(Incoming::Closed { .. })));
    }

    #[test]
    fn a_close_without_messages_before_it_waits_for_nobody() {
        let (mut port, inbox) = (port(), inbox());
        assert!(port.admit(close(&port), &inbox).is_some());
        port.settle();
        assert!(port.admit(close(&port), &inbox).is_some());
    }

    #[test]
    fn a_port_is_left_when_its_caller_is_gone_and_nobody_listened() {
        let (mut port, inbox) = (port(), inbox());
        assert!(port.admit(message(&port), &inbox).is_none());
        assert!(port.admit(close(&port), &inbox).is_none());
        assert!(!port.is_left(), "connect may be about to listen");
        port.settle();
        assert!(port.is_left());
        assert!(port.let_go().is_some());
        assert_eq!(port.end.credit.messages(), 0);
    }
}
