//! A connection without its I/O: what it does with what both sides say, and when.
//!
//! What must hold, whatever the other side does:
//! - frames of a link arrive in order and once, as long as the link lives;
//! - each link ends once, with one event, and is silent afterwards ([`Event::Refused`], [`Event::Closed`], or nothing if
//!   this side closed it);
//! - what is received and not [taken](Connection::taken) stays within the [limits](crate::limits::Limits), and so does what
//!   this side sends, within those of the other;
//! - a link that waits, for credit or for its application, keeps no other from its turn.
//!
//! A close is answered with a close, and then both sides forget the link: so nothing is ever late.

mod link;
mod receive;
#[cfg(test)]
mod tests;
mod transmit;

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::HashMap;
use portside_worker::link::CloseReason;

use self::link::{Line, Link, Phase};
use self::receive::Receiving;
use self::transmit::Sending;
use crate::frame::{Accepted, Encoded, Frame, Item, Opening, Refusal};
use crate::limits::{FRAME_OVERHEAD, Limits};
use crate::primitives::Malformed;
use crate::record::Hello;

/// A link on its connection. The lowest bit is 0 if the dialing side opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkNumber(pub u64);

/// Which side of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It made the connection.
    Dialer,
    /// It was called.
    Listener,
}

/// What happened on a connection. `H` is what holds a place in the windows for what was received.
#[derive(Debug, PartialEq)]
pub enum Event<H = Held> {
    /// The other side opened a link. It is to be accepted, refused or closed.
    Opened {
        /// Which one from now on.
        link: LinkNumber,
        /// Whom to, and what for.
        opening: Box<Opening>,
        /// To be [taken](Connection::taken).
        held: H,
    },
    /// The other side has taken a link of this side's.
    Accepted {
        /// Which one.
        link: LinkNumber,
        /// By whom.
        accepted: Accepted,
    },
    /// A link of this side's was not taken: nothing has run because of it, and it is over.
    Refused {
        /// Which one.
        link: LinkNumber,
        /// Why.
        refusal: Refusal,
    },
    /// Something was sent on a link.
    Frame {
        /// Which one.
        link: LinkNumber,
        /// What.
        frame: Frame,
        /// To be [taken](Connection::taken).
        held: H,
    },
    /// A link for which [`SendError::Full`] was answered has room again, though perhaps not for a long frame.
    Room {
        /// Which one.
        link: LinkNumber,
    },
    /// The other side closed a link, or the connection is gone: the link is over.
    Closed {
        /// Which one.
        link: LinkNumber,
        /// Why.
        reason: CloseReason,
    },
}

impl<H> Event<H> {
    /// The same, with something else that holds the place.
    pub(crate) fn map<I>(self, hold: impl FnOnce(H) -> I) -> Event<I> {
        match self {
            Self::Opened {
                link,
                opening,
                held,
            } => Event::Opened {
                link,
                opening,
                held: hold(held),
            },
            Self::Frame { link, frame, held } => Event::Frame {
                link,
                frame,
                held: hold(held),
            },
            Self::Accepted { link, accepted } => Event::Accepted { link, accepted },
            Self::Refused { link, refusal } => Event::Refused { link, refusal },
            Self::Room { link } => Event::Room { link },
            Self::Closed { link, reason } => Event::Closed { link, reason },
        }
    }
}

/// The place of something received in the windows of its link and of the connection, until it is
/// [taken](Connection::taken).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the other side's window stays full until it is taken"]
pub struct Held {
    pub(crate) link: LinkNumber,
    pub(crate) size: usize,
    /// It opens or answers the link, and is outside of its window.
    pub(crate) begins: bool,
    /// It is outside of the connection's window.
    pub(crate) free: bool,
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// This side ended it.
    #[error("this side ended the connection")]
    Ended,
    /// The other side ended it.
    #[error("the other side ended the connection")]
    Left,
    /// The other side ended it, for this side broke a rule in its eyes.
    #[error("the other side ended the connection: {0}")]
    Blamed(String),
    /// The transport failed.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The other side said nothing.
    #[error("nothing was heard from the other side for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The other side took nothing of what this one has to say.
    #[error("the other side took nothing for {} ms", .0.as_millis())]
    Stuck(Duration),
    /// The two sides have no version in common.
    #[error(
        "the other side speaks versions {lowest} to {highest} of the protocol, which this side does not"
    )]
    Version {
        /// The lowest version that the other side speaks.
        lowest: u8,
        /// The highest.
        highest: u8,
    },
    /// The other side broke a rule.
    #[error("the other side broke the protocol: {0}")]
    Violated(Violation),
}

/// A rule that the other side broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It sent what makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It said something at the wrong time.
    #[error("{0}")]
    Unexpected(&'static str),
    /// It sent more than it may.
    #[error("{0}")]
    Excess(&'static str),
}

/// Why a link was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The connection is over, or not ready yet.
    #[error("there is no connection to the pod")]
    Gone,
    /// The other side takes no more links.
    #[error("there are {limit} links to the pod already, which is the limit")]
    TooMany {
        /// How many it takes.
        limit: usize,
    },
    /// It is too long to be sent.
    #[error("what opens the link has {size} bytes, and the limit is {limit}")]
    TooLong {
        /// Its bytes on the way.
        size: usize,
        /// How many the other side takes.
        limit: usize,
    },
    /// Too many names lead to what is called.
    #[error("more than {} names lead to what is called", crate::frame::MAX_NAMES)]
    TooManyNames,
}

/// Why a frame was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The link is over.
    #[error("the link is closed")]
    Gone,
    /// The link was opened by the other side, and is not accepted yet.
    #[error("the link is not accepted yet")]
    NotAccepted,
    /// As much is on its way as the window allows. [`Event::Room`] tells when there is room again.
    #[error("too much is on its way on the link")]
    Full,
    /// It is too long to be sent.
    #[error("the frame has {size} bytes, and the limit is {limit}")]
    TooLong {
        /// Its bytes on the way.
        size: usize,
        /// How many the other side takes.
        limit: usize,
    },
}

/// One side of a connection. Times are since a moment of the caller's choice, and never go back.
pub struct Connection {
    side: Side,
    limits: Limits,
    /// What the other side allows, once it has said so.
    peer: Option<Hello>,
    /// With a quick hash: for each frame its link is looked up several times.
    links: HashMap<LinkNumber, Link>,
    opened_here: usize,
    opened_there: usize,
    next: LinkNumber,
    sending: Sending,
    receiving: Receiving,
    events: VecDeque<Event>,
    ending: Option<Ending>,
}

impl Connection {
    /// A connection whose transport is there.
    #[must_use]
    pub fn new(side: Side, limits: Limits, now: Duration) -> Self {
        Self {
            side,
            limits,
            peer: None,
            links: HashMap::default(),
            opened_here: 0,
            opened_there: 0,
            next: LinkNumber(match side {
                Side::Dialer => 0,
                Side::Listener => 1,
            }),
            sending: Sending::default(),
            receiving: Receiving::new(now),
            events: VecDeque::new(),
            ending: None,
        }
    }

    /// Whether links can be opened.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.peer.is_some() && self.ending.is_none()
    }

    /// Why it is over, if it is.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// All that has happened since, in order.
    pub fn take_events(&mut self) -> VecDeque<Event> {
        std::mem::take(&mut self.events)
    }

    /// Opens a link. Frames may be sent on it at once; none of them counts if it is refused.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed.
    pub fn open(&mut self, opening: Opening) -> Result<LinkNumber, OpenError> {
        let Some(peer) = self.peer.as_ref().filter(|_| self.ending.is_none()) else {
            return Err(OpenError::Gone);
        };
        if self.opened_here >= peer.links {
            return Err(OpenError::TooMany { limit: peer.links });
        }
        if !opening.is_sendable() {
            return Err(OpenError::TooManyNames);
        }
        let phase = Phase::Opening(opening.epoch);
        let frame = Encoded::from(Item::Open(Box::new(opening)));
        let (size, limit) = (frame.len(), longest(peer));
        if size > limit {
            return Err(OpenError::TooLong { size, limit });
        }
        let number = self.next;
        self.next = LinkNumber(number.0 + 2);
        let mut link = Link::new(true, phase);
        link.queue(frame);
        self.links.insert(number, link);
        self.opened_here += 1;
        self.line_up(number);
        Ok(number)
    }

    /// Takes a link that the other side opened. Without effect if the link is over.
    pub fn accept(&mut self, link: LinkNumber, accepted: Accepted) {
        self.answer(link, Item::Accept(accepted));
    }

    /// Refuses a link that the other side opened, of which no code has run; that ends it. Without effect if the link is over.
    pub fn refuse(&mut self, link: LinkNumber, refusal: Refusal) {
        self.answer(link, Item::Refuse(refusal));
    }

    fn answer(&mut self, number: LinkNumber, item: Item) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        if link.phase != Phase::Offered || link.close.is_some() {
            return;
        }
        if let Item::Refuse(_) = &item {
            link.close = Some(CloseReason::Lost);
        }
        link.phase = Phase::Open;
        link.queue(item.into());
        self.line_up(number);
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`SendError`]; nothing has changed.
    pub fn send(&mut self, number: LinkNumber, frame: Frame) -> Result<(), SendError> {
        let (Some(peer), Some(link)) = (&self.peer, self.links.get_mut(&number)) else {
            return Err(SendError::Gone);
        };
        if link.close.is_some() {
            return Err(SendError::Gone);
        }
        if link.phase == Phase::Offered {
            return Err(SendError::NotAccepted);
        }
        let needs_room = frame.needs_room();
        let frame = Encoded::from(Item::Frame(frame));
        let (size, limit) = (frame.len(), longest(peer));
        if size > limit {
            return Err(SendError::TooLong { size, limit });
        }
        if needs_room && !link.has_room(size + FRAME_OVERHEAD, peer.window) {
            link.wants_room = true;
            return Err(SendError::Full);
        }
        link.queue(frame);
        self.line_up(number);
        Ok(())
    }

    /// Closes a link, behind what was sent on it. The application hears nothing more of it.
    pub fn close(&mut self, number: LinkNumber, reason: CloseReason) {
        if let Some(link) = self.links.get_mut(&number)
            && link.close.is_none()
        {
            link.close = Some(reason);
            self.line_up(number);
        }
    }

    /// Ends the connection, and so all links.
    pub fn end(&mut self) {
        self.fail(Ending::Ended);
    }

    /// The connection is over: so is each link of which the application does not know yet that it is.
    pub fn fail(&mut self, ending: Ending) {
        if self.ending.is_some() {
            return;
        }
        self.sending.say_goodbye(&ending);
        self.ending = Some(ending);
        let mut links: Vec<_> = std::mem::take(&mut self.links).into_iter().collect();
        links.sort_unstable_by_key(|(number, _)| *number);
        for (link, state) in links {
            if state.is_known() {
                let reason = CloseReason::Lost;
                self.events.push_back(Event::Closed { link, reason });
            }
        }
    }

    /// Lets a link have its turn, unless it is in line already.
    fn line_up(&mut self, number: LinkNumber) {
        if let Some(link) = self.links.get_mut(&number)
            && link.line == Line::Nowhere
            && link.has_something_to_say()
        {
            link.line = Line::Ready;
            self.sending.ready.push_back(number);
        }
    }

    /// Both sides have closed the link.
    fn forget_if_over(&mut self, number: LinkNumber) {
        let over = self.links.get(&number);
        if over.is_some_and(|link| link.close_sent && link.closed_there)
            && let Some(link) = self.links.remove(&number)
        {
            let count = match link.opened_here {
                true => &mut self.opened_here,
                false => &mut self.opened_there,
            };
            *count -= 1;
        }
    }
}

/// The longest frame that the other side takes.
fn longest(peer: &Hello) -> usize {
    let in_window = peer.bytes.saturating_sub(FRAME_OVERHEAD);
    peer.frame_bytes.min(in_window)
}
