//! What a connection sends, and in which order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;

use super::link::Line;
use super::{Connection, Ending, Held, LinkNumber};
use crate::frame::Encoded;
use crate::limits::{Amount, FRAME_OVERHEAD, PIECE_BYTES};
use crate::record::{First, Grant, Hello, MAX_NAMED, MAX_REASON, Record, put_data, put_record};

/// Credit is granted at the latest this long after it was taken, if nothing else is sent before.
const CREDIT_DELAY: Duration = Duration::from_millis(5);

/// Grants in one record.
const GRANTS: usize = 1024;

#[derive(Default)]
pub(super) struct Sending {
    /// Links that have something to say, each once.
    pub ready: VecDeque<LinkNumber>,
    /// Links whose next frame has no room in the connection's window, the one that waits longest first; and some that do not
    /// wait any more.
    pub waiting: VecDeque<LinkNumber>,
    /// Bytes that are on their way in the connection's window.
    pub unacknowledged: usize,
    said_hello: bool,
    goodbye: Option<Record>,
    pub ping: bool,
    pub pong: bool,
    /// Pings without an answer yet.
    pub asked: u32,
    /// Links of which something was taken, each once.
    grants: Vec<LinkNumber>,
    /// Of the connection's window, what was taken since the last grant.
    pub taken: usize,
    /// Half of some window waits to be granted.
    urgent: bool,
    /// When grants are sent at the latest.
    credit_due: Option<Duration>,
    /// Links that are named together; kept for its memory.
    named: Vec<LinkNumber>,
}

impl Sending {
    pub fn say_goodbye(&mut self, ending: &Ending) {
        let reason = match ending {
            Ending::Ended => None,
            Ending::Violated(_) | Ending::Version { .. } | Ending::Silent(_) | Ending::Stuck(_) => {
                let mut reason = ending.to_string();
                reason.truncate(reason.floor_char_boundary(MAX_REASON));
                Some(reason)
            }
            // There is nobody to tell.
            Ending::Left | Ending::Blamed(_) | Ending::Broken(_) => return,
        };
        self.goodbye = Some(Record::Bye(reason));
    }

    fn has_grants(&self) -> bool {
        !self.grants.is_empty() || self.taken > 0
    }
}

/// How a frame may be sent.
enum Admission {
    /// It has its credit.
    Admitted { free: bool },
    /// The link has none: a grant will let it go on.
    LinkFull,
    /// The connection has no room.
    ConnectionFull,
}

impl Connection {
    /// Whether [`Connection::transmit`] should be called, though no deadline is over.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        let sending = &self.sending;
        !sending.said_hello
            || sending.goodbye.is_some()
            || sending.ping
            || sending.pong
            || (self.ending.is_none()
                && (!sending.ready.is_empty()
                    || sending.urgent
                    || (sending.has_grants() && sending.credit_due.is_none())))
    }

    /// Appends what is to be sent now, until `out` has `budget` bytes or somewhat more.
    pub fn transmit(&mut self, now: Duration, budget: usize, out: &mut BytesMut) {
        if !self.sending.said_hello {
            self.sending.said_hello = true;
            put_record(&Record::Hello(Hello::new(&self.limits)), out);
        }
        if let Some(goodbye) = self.sending.goodbye.take() {
            put_record(&goodbye, out);
        }
        if self.ending.is_some() {
            return;
        }
        if std::mem::take(&mut self.sending.pong) {
            put_record(&Record::Pong, out);
        }
        if std::mem::take(&mut self.sending.ping) {
            self.sending.asked += 1;
            put_record(&Record::Ping, out);
        }
        let before = out.len();
        while out.len() < budget
            && let Some(number) = self.sending.ready.pop_front()
        {
            self.take_turn(number, out);
        }
        self.grant(now, out.len() > before, out);
    }

    /// Something that was received is not in anybody's way any more: the other side may send as much again.
    pub fn taken(&mut self, held: Held) {
        let Held {
            link,
            size,
            begins,
            free,
        } = held;
        if !free {
            self.sending.taken += size;
            self.sending.urgent |= self.sending.taken * 4 >= self.limits.bytes;
        }
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        if begins || state.close_sent {
            return; // it is in no window, or nobody counts any more
        }
        if state.taken == Amount::default() {
            self.sending.grants.push(link);
        }
        state.taken.add(size);
        let window = self.limits.window;
        self.sending.urgent |=
            state.taken.messages * 4 >= window.messages || state.taken.bytes * 4 >= window.bytes;
    }

    /// When [`Connection::transmit`] is to be called at the latest, if something waits that is not urgent.
    #[must_use]
    pub fn send_deadline(&self) -> Option<Duration> {
        self.sending.credit_due
    }

    /// Grants what was taken: with other things that are sent, when it is much, or when it is time.
    fn grant(&mut self, now: Duration, something_is_sent: bool, out: &mut BytesMut) {
        if !self.sending.has_grants() {
            return;
        }
        let due = *self.sending.credit_due.get_or_insert(now + CREDIT_DELAY);
        if now < due && !something_is_sent && !self.sending.urgent {
            return;
        }
        self.sending.credit_due = None;
        self.sending.urgent = false;
        let mut bytes = std::mem::take(&mut self.sending.taken);
        self.receiving.held -= bytes;
        let links = std::mem::take(&mut self.sending.grants);
        let mut grants: Vec<_> = links
            .into_iter()
            .filter_map(|link| self.give(link))
            .collect();
        while bytes > 0 || !grants.is_empty() {
            let rest = grants.split_off(grants.len().min(GRANTS));
            put_record(&Record::Credit { bytes, grants }, out);
            (bytes, grants) = (0, rest);
        }
    }

    fn give(&mut self, link: LinkNumber) -> Option<Grant> {
        let state = self.links.get_mut(&link)?;
        let Amount { messages, bytes } = std::mem::take(&mut state.taken);
        if state.close_sent {
            return None;
        }
        let was_held = state.held.take(Amount { messages, bytes });
        debug_assert!(was_held, "what is taken was held");
        Some(Grant {
            link,
            messages,
            bytes,
        })
    }

    /// A link sends one piece, or its close.
    fn take_turn(&mut self, number: LinkNumber, out: &mut BytesMut) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        if link.line != Line::Ready {
            return;
        }
        link.line = Line::Nowhere;
        let Some(length) = link.front().map(Encoded::len) else {
            return self.send_close(number, out);
        };
        let free = match self.admit(number) {
            Admission::Admitted { free } => free,
            Admission::LinkFull => return,
            Admission::ConnectionFull => return self.wait(number),
        };
        if length <= PIECE_BYTES {
            self.send_whole(number, First { length, free }, out);
        } else {
            self.send_piece(number, First { length, free }, out);
        }
    }

    fn wait(&mut self, number: LinkNumber) {
        // Links that are closed stay in line until their turn comes, but never more of them than there are others.
        if self.sending.waiting.len() > 2 * self.links.len() {
            let links = &self.links;
            self.sending.waiting.retain(|number| {
                let link = links.get(number);
                link.is_some_and(|link| link.line == Line::Waiting)
            });
        }
        if let Some(link) = self.links.get_mut(&number) {
            link.line = Line::Waiting;
            self.sending.waiting.push_back(number);
        }
    }

    /// The frame at the front of a link gets its credit, if that is there.
    fn admit(&mut self, number: LinkNumber) -> Admission {
        let (Some(peer), Some(link)) = (&self.peer, self.links.get_mut(&number)) else {
            return Admission::LinkFull;
        };
        if let Some(free) = link.admitted {
            return Admission::Admitted { free };
        }
        let Some(size) = link.front().map(|frame| frame.len() + FRAME_OVERHEAD) else {
            return Admission::LinkFull;
        };
        if !link.may_be_sent(size, peer.window) {
            return Admission::LinkFull;
        }
        let free = link.may_be_free(size);
        if !free {
            // Who comes later does not overtake who waits.
            if !self.sending.waiting.is_empty() || self.sending.unacknowledged + size > peer.bytes {
                return Admission::ConnectionFull;
            }
            self.sending.unacknowledged += size;
        }
        link.admit(size, free);
        Admission::Admitted { free }
    }

    /// The connection's window has room again: whoever waits gets it, in order.
    pub(super) fn admit_waiting(&mut self) {
        let mut waiting = std::mem::take(&mut self.sending.waiting);
        while let Some(number) = waiting.front().copied() {
            let line = self.links.get(&number).map(|link| link.line);
            if line == Some(Line::Waiting) {
                if let Admission::ConnectionFull = self.admit(number) {
                    break;
                }
                if let Some(link) = self.links.get_mut(&number) {
                    link.line = Line::Ready;
                    self.sending.ready.push_back(number);
                }
            }
            waiting.pop_front();
        }
        self.sending.waiting = waiting;
    }

    /// A whole frame. If those that come next are the same, as in a broadcast, they go with it.
    fn send_whole(&mut self, number: LinkNumber, first: First, out: &mut BytesMut) {
        let mut named = std::mem::take(&mut self.sending.named);
        named.push(number);
        while named.len() < MAX_NAMED
            && let Some(next) = self.sending.ready.front().copied()
            && self.is_same(number, next)
            && let Admission::Admitted { free } = self.admit(next)
            && free == first.free
        {
            self.sending.ready.pop_front();
            named.push(next);
        }
        if let Some(frame) = self.links.get(&number).and_then(|link| link.front()) {
            put_data(&named, Some(first), out, |out| {
                frame.write_piece(0, PIECE_BYTES, out);
            });
        }
        for number in named.drain(..) {
            if let Some(link) = self.links.get_mut(&number) {
                link.line = Line::Nowhere;
                link.pop();
            }
            self.line_up(number);
        }
        self.sending.named = named;
    }

    fn is_same(&self, one: LinkNumber, other: LinkNumber) -> bool {
        let frame = |number| self.links.get(&number)?.front();
        let in_line = self.links.get(&other).map(|link| link.line) == Some(Line::Ready);
        in_line && frame(one).is_some() && frame(one) == frame(other)
    }

    fn send_piece(&mut self, number: LinkNumber, first: First, out: &mut BytesMut) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        let (start, mut sent) = (link.written, 0);
        if let Some(frame) = link.front() {
            put_data(&[number], (start == 0).then_some(first), out, |out| {
                sent = frame.write_piece(start, PIECE_BYTES, out);
            });
        }
        link.written += sent;
        if link.written == first.length {
            link.pop();
        }
        self.line_up(number);
    }

    fn send_close(&mut self, number: LinkNumber, out: &mut BytesMut) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        if let Some(reason) = link.close
            && !link.close_sent
        {
            link.close_sent = true;
            let link = number;
            put_record(&Record::Close { link, reason }, out);
        }
        self.forget_if_over(number);
    }
}
