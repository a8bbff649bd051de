//! What a connection does with what it receives, and with time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use portside_worker::link::CloseReason;

use super::link::{Line, Link, Partial, Phase};
use super::{Connection, Ending, Event, Held, LinkNumber, Side, Violation};
use crate::frame::{Accepted, Item, Refusal, decode};
use crate::limits::{Amount, FRAME_OVERHEAD, FREE_BYTES};
use crate::primitives::Malformed;
use crate::record::{self, First, Grant, Hello, Record, VERSIONS};

/// Records that say nothing of links, in a time in which one is enough.
const CHATTER: u32 = 1000;

pub(super) struct Receiving {
    /// Bytes received in the connection's window and not granted anew.
    pub held: usize,
    heard: Duration,
    /// Whether this side has asked since whether the other is there.
    asked: bool,
    /// Records without content, and since when they are counted.
    chatter: u32,
    chatter_since: Duration,
}

impl Receiving {
    pub fn new(now: Duration) -> Self {
        Self {
            held: 0,
            heard: now,
            asked: false,
            chatter: 0,
            chatter_since: now,
        }
    }
}

type Result = std::result::Result<(), Violation>;

impl Connection {
    /// Takes the records that are whole from the front of what was received.
    pub fn receive(&mut self, now: Duration, bytes: &mut BytesMut) {
        self.receiving.heard = now;
        self.receiving.asked = false;
        while self.ending.is_none() {
            let outcome = match record::next(bytes) {
                Ok(Some(record)) => self.record(record, now),
                Ok(None) => return,
                Err(malformed) => Err(malformed.into()),
            };
            if let Err(violation) = outcome {
                self.fail(Ending::Violated(violation));
            }
        }
        bytes.clear(); // nobody reads it
    }

    /// Lets time pass: asks whether the other side is there, or gives it up.
    pub fn tick(&mut self, now: Duration) {
        let quiet = now.saturating_sub(self.receiving.heard);
        if quiet >= self.limits.silence {
            self.fail(Ending::Silent(quiet));
        } else if quiet >= self.limits.keep_alive && !self.receiving.asked && self.is_ready() {
            self.receiving.asked = true;
            self.sending.ping = true;
        }
    }

    /// When [`Connection::tick`] is to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let wait = match self.receiving.asked || !self.is_ready() {
            true => self.limits.silence,
            false => self.limits.keep_alive,
        };
        self.receiving.heard + wait
    }

    fn record(&mut self, record: Record, now: Duration) -> Result {
        if self.peer.is_none() && !matches!(record, Record::Hello(_) | Record::Bye(_)) {
            return Err(Violation::Unexpected("it did not say hello"));
        }
        match record {
            Record::Hello(hello) => self.hello(hello),
            Record::Data {
                links,
                first,
                piece,
            } => self.data(&links, first, &piece),
            Record::Credit { bytes, grants } => self.credit(bytes, &grants),
            Record::Close { link, reason } => self.closed(link, reason),
            Record::Ping => {
                self.sending.pong = true;
                self.chatter(now)
            }
            Record::Pong => {
                let asked = self.sending.asked.checked_sub(1);
                self.sending.asked = asked.ok_or(Violation::Unexpected("nobody asked"))?;
                Ok(())
            }
            Record::Bye(reason) => {
                self.fail(reason.map_or(Ending::Left, Ending::Blamed));
                Ok(())
            }
            Record::Skipped => self.chatter(now),
        }
    }

    fn hello(&mut self, hello: Hello) -> Result {
        if self.peer.is_some() {
            return Err(Violation::Unexpected("it said hello twice"));
        }
        let Hello {
            lowest, highest, ..
        } = hello;
        if highest.min(VERSIONS.1) < lowest.max(VERSIONS.0) {
            self.fail(Ending::Version { lowest, highest });
        } else {
            self.peer = Some(hello);
        }
        Ok(())
    }

    fn chatter(&mut self, now: Duration) -> Result {
        let receiving = &mut self.receiving;
        if now.saturating_sub(receiving.chatter_since) >= self.limits.keep_alive {
            (receiving.chatter, receiving.chatter_since) = (0, now);
        }
        receiving.chatter += 1;
        let bearable = receiving.chatter <= CHATTER;
        bearable
            .then_some(())
            .ok_or(Violation::Excess("it says nothing, too often"))
    }

    fn credit(&mut self, bytes: usize, grants: &[Grant]) -> Result {
        const LIE: Violation = Violation::Unexpected("it took what was not sent");
        let sending = &mut self.sending;
        sending.unacknowledged = sending.unacknowledged.checked_sub(bytes).ok_or(LIE)?;
        if bytes == 0 && grants.is_empty() {
            return Err(LIE);
        }
        if bytes > 0 {
            self.admit_waiting();
        }
        let Some(window) = self.peer.as_ref().map(|peer| peer.window) else {
            return Err(LIE);
        };
        for &Grant {
            link: number,
            messages,
            bytes,
        } in grants
        {
            let link = self.links.get_mut(&number).ok_or(LIE)?;
            let sent = messages > 0 && link.unacknowledged.take(Amount { messages, bytes });
            if !sent || link.closed_there {
                return Err(LIE);
            }
            if link.wants_room && link.close.is_none() && link.has_room(FRAME_OVERHEAD, window) {
                link.wants_room = false;
                self.events.push_back(Event::Room { link: number });
            }
            self.line_up(number);
        }
        Ok(())
    }

    /// The other side sends nothing more on the link, and reads nothing more.
    fn closed(&mut self, number: LinkNumber, reason: CloseReason) -> Result {
        let link = self.links.get_mut(&number);
        let Some(link) = link.filter(|link| !link.closed_there) else {
            return Err(Violation::Unexpected("it closed a link that it has not"));
        };
        link.closed_there = true;
        if let Some(partial) = link.partial.take()
            && !partial.first.free
        {
            self.sending.taken += partial.first.length + FRAME_OVERHEAD;
        }
        let is_news = link.is_known();
        self.over(number, CloseReason::Closed);
        if is_news {
            let link = number;
            self.events.push_back(Event::Closed { link, reason });
        }
        self.forget_if_over(number);
        Ok(())
    }

    /// Neither the application nor the other side wants anything more of the link: it is closed, and what was to be sent is
    /// not.
    fn over(&mut self, number: LinkNumber, reason: CloseReason) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        link.close.get_or_insert(reason);
        let reserved = link.abandon();
        if reserved > 0 {
            self.sending.unacknowledged -= reserved;
            self.admit_waiting();
        }
        if let Some(link) = self.links.get_mut(&number)
            && link.line == Line::Waiting
        {
            link.line = Line::Nowhere; // a close needs no room
        }
        self.line_up(number);
    }

    fn data(&mut self, links: &[LinkNumber], first: Option<First>, piece: &Bytes) -> Result {
        let is_whole = first.is_some_and(|first| first.length == piece.len());
        if links.len() > 1 && !is_whole {
            return Err(Violation::Unexpected(
                "a part of a frame is for several links",
            ));
        }
        // A copy: a short frame that waits long must not keep all that was received with it.
        let whole = is_whole.then(|| Bytes::copy_from_slice(piece));
        for &link in links {
            if let Some(first) = first {
                self.begin(link, first)?;
            }
            match &whole {
                Some(frame) => self.frame(link, first, frame.clone())?,
                None => self.piece(link, first, piece)?,
            }
        }
        Ok(())
    }

    /// A frame begins: is there room for all of it?
    fn begin(&mut self, number: LinkNumber, first: First) -> Result {
        if !self.links.contains_key(&number) {
            self.arrive(number)?;
        }
        let Some(link) = self.links.get_mut(&number) else {
            return Ok(());
        };
        if link.closed_there {
            return Err(Violation::Unexpected(
                "it sends on a link that it has closed",
            ));
        }
        if link.partial.is_some() {
            return Err(Violation::Unexpected("a frame begins within another"));
        }
        if first.length > self.limits.frame_bytes {
            return Err(Violation::Excess("a frame is too long"));
        }
        let size = first.length + FRAME_OVERHEAD;
        let begins = link.phase.begins();
        if !begins && !link.held.has_room(size, self.limits.window) {
            return Err(Violation::Excess(
                "more is sent on a link than its window allows",
            ));
        }
        if first.free && (size > FREE_BYTES || !(begins || link.held.messages == 0)) {
            return Err(Violation::Excess(
                "a frame is outside of the connection's window",
            ));
        }
        if !first.free && self.receiving.held + size > self.limits.bytes {
            return Err(Violation::Excess(
                "more is sent than the connection's window allows",
            ));
        }
        if !begins {
            link.held.add(size);
        }
        if !first.free {
            self.receiving.held += size;
        }
        Ok(())
    }

    /// The other side opens a link.
    fn arrive(&mut self, number: LinkNumber) -> Result {
        let others = match self.side {
            Side::Dialer => 1,
            Side::Listener => 0,
        };
        if number.0 % 2 != others {
            return Err(Violation::Unexpected(
                "it sends on a link that is not there",
            ));
        }
        if self.opened_there >= self.limits.links {
            return Err(Violation::Excess("it opens too many links"));
        }
        self.opened_there += 1;
        self.links.insert(number, Link::new(false, Phase::Arriving));
        Ok(())
    }

    fn piece(&mut self, number: LinkNumber, first: Option<First>, piece: &[u8]) -> Result {
        const LOST: Violation = Violation::Unexpected("a piece belongs to no frame");
        let link = self.links.get_mut(&number).ok_or(LOST)?;
        if let Some(first) = first {
            let bytes = BytesMut::new();
            link.partial = Some(Partial { first, bytes });
        }
        let partial = link.partial.as_mut().ok_or(LOST)?;
        if piece.is_empty() {
            return Err(Malformed("a piece is empty").into());
        }
        partial.bytes.extend_from_slice(piece);
        match partial.bytes.len().cmp(&partial.first.length) {
            std::cmp::Ordering::Less => Ok(()),
            std::cmp::Ordering::Greater => Err(Malformed("a frame is longer than it said").into()),
            std::cmp::Ordering::Equal => {
                let (first, frame) = (partial.first, partial.bytes.split().freeze());
                link.partial = None;
                self.frame(number, Some(first), frame)
            }
        }
    }

    /// All of a frame is there.
    fn frame(&mut self, number: LinkNumber, first: Option<First>, bytes: Bytes) -> Result {
        let Some(link) = self.links.get_mut(&number) else {
            return Ok(());
        };
        let held = Held {
            link: number,
            size: bytes.len() + FRAME_OVERHEAD,
            begins: link.phase.begins(),
            free: first.is_some_and(|first| first.free),
        };
        let item = decode(bytes)?;
        let event = match (item, link.phase) {
            (Item::Open(opening), Phase::Arriving) => {
                link.phase = Phase::Offered;
                let link = number;
                Event::Opened {
                    link,
                    opening,
                    held,
                }
            }
            (Item::Accept(accepted), Phase::Opening(epoch)) => {
                link.phase = Phase::Open;
                let is_news = link.is_known();
                self.taken(held);
                if is_news {
                    self.accepted(number, accepted, accepted.epoch >= epoch);
                }
                return Ok(());
            }
            (Item::Refuse(refusal), Phase::Opening(_)) => {
                link.phase = Phase::Open;
                self.taken(held);
                self.refused(number, refusal);
                return Ok(());
            }
            (Item::Frame(frame), Phase::Offered | Phase::Open) if link.is_known() => {
                let link = number;
                Event::Frame { link, frame, held }
            }
            (Item::Frame(_), Phase::Offered | Phase::Open)
            | (Item::Skipped, Phase::Opening(_) | Phase::Offered | Phase::Open) => {
                self.taken(held);
                return Ok(());
            }
            _ => return Err(Violation::Unexpected("a frame at the wrong time")),
        };
        self.events.push_back(event);
        Ok(())
    }

    /// An owner of an epoch that is over, as the opener knows, is no owner: what it has done counts, what it says does not.
    fn accepted(&mut self, link: LinkNumber, accepted: Accepted, is_of_now: bool) {
        if is_of_now {
            self.events.push_back(Event::Accepted { link, accepted });
        } else {
            let reason = CloseReason::Lost;
            self.over(link, reason);
            self.events.push_back(Event::Closed { link, reason });
        }
    }

    fn refused(&mut self, link: LinkNumber, refusal: Refusal) {
        let is_news = self.links.get(&link).is_some_and(Link::is_known);
        self.over(link, CloseReason::Closed);
        if is_news {
            self.events.push_back(Event::Refused { link, refusal });
        }
    }
}
