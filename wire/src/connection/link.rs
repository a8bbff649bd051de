//! One side of a link.

use std::collections::VecDeque;

use bytes::BytesMut;
use portside_core::ids::Epoch;
use portside_exchange::credit::Window;
use portside_worker::link::CloseReason;

use crate::frame::Encoded;
use crate::limits::{Amount, FRAME_OVERHEAD, FREE_BYTES};
use crate::record::First;

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// This side opened it, in this epoch as far as it knew, and waits for an answer.
    Opening(Epoch),
    /// The other side is about to open it.
    Arriving,
    /// The other side opened it and waits for an answer.
    Offered,
    /// It was answered.
    Open,
}

/// Where a link waits to be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It has nothing to say, or no credit of its own.
    Nowhere,
    /// Its turn will come.
    Ready,
    /// For room in the connection's window.
    Waiting,
}

/// A frame of which some pieces have arrived.
pub(super) struct Partial {
    pub first: First,
    pub bytes: BytesMut,
}

pub(super) struct Link {
    pub opened_here: bool,
    pub phase: Phase,
    /// What is to be sent. The first of all, which opens or answers, has no place in the link's window: so a message that
    /// is longer than the window may follow it at once.
    queue: VecDeque<Encoded>,
    /// The first of all is sent.
    begun: bool,
    queued_bytes: usize,
    /// How the frame at the front is sent, once it has its credit; whether outside of the connection's window.
    pub admitted: Option<bool>,
    /// How much of it is sent.
    pub written: usize,
    /// Admitted, and not granted anew.
    pub unacknowledged: Amount,
    pub line: Line,
    /// The application was told that there is no room.
    pub wants_room: bool,
    pub partial: Option<Partial>,
    /// Received, and not granted anew.
    pub held: Amount,
    /// Of that, what the application has taken since.
    pub taken: Amount,
    /// This side has closed it, or was told by the other that it is over.
    pub close: Option<CloseReason>,
    pub close_sent: bool,
    pub closed_there: bool,
}

impl Phase {
    /// Whether the next frame of the other side opens or answers the link.
    pub fn begins(self) -> bool {
        matches!(self, Self::Opening(_) | Self::Arriving)
    }
}

impl Link {
    pub fn new(opened_here: bool, phase: Phase) -> Self {
        Self {
            opened_here,
            phase,
            queue: VecDeque::new(),
            begun: false,
            queued_bytes: 0,
            admitted: None,
            written: 0,
            unacknowledged: Amount::default(),
            line: Line::Nowhere,
            wants_room: false,
            partial: None,
            held: Amount::default(),
            taken: Amount::default(),
            close: None,
            close_sent: false,
            closed_there: false,
        }
    }

    /// Whether the application knows of it, and not of its end.
    pub fn is_known(&self) -> bool {
        self.close.is_none() && self.phase != Phase::Arriving
    }

    pub fn queue(&mut self, frame: Encoded) {
        self.queued_bytes += frame.len() + FRAME_OVERHEAD;
        self.queue.push_back(frame);
    }

    pub fn front(&self) -> Option<&Encoded> {
        self.queue.front()
    }

    /// Whether the frame at the front, of this size, has room in the window.
    pub fn may_be_sent(&self, size: usize, window: Window) -> bool {
        !self.begun || self.unacknowledged.has_room(size, window)
    }

    /// Whether the frame at the front, of this size, may be outside of the connection's window.
    pub fn may_be_free(&self, size: usize) -> bool {
        size <= FREE_BYTES && (!self.begun || self.unacknowledged.messages == 0)
    }

    /// The frame at the front gets its credit: from now on it counts as on its way.
    pub fn admit(&mut self, size: usize, free: bool) {
        if self.begun {
            self.unacknowledged.add(size);
        }
        self.admitted = Some(free);
    }

    /// The frame at the front is sent.
    pub fn pop(&mut self) {
        self.begun = true;
        self.written = 0;
        self.admitted = None;
        if let Some(frame) = self.queue.pop_front() {
            self.queued_bytes -= frame.len() + FRAME_OVERHEAD;
        }
    }

    /// Nobody will read what is left to be sent. Returns the bytes that had a place in the connection's window and will
    /// not be sent.
    pub fn abandon(&mut self) -> usize {
        let reserved = match (self.admitted.take(), self.queue.front()) {
            (Some(false), Some(front)) if self.written == 0 => front.len() + FRAME_OVERHEAD,
            _ => 0,
        };
        self.queue.clear();
        (self.queued_bytes, self.written) = (0, 0);
        reserved
    }

    /// Whether another frame of `size` fits into the window beside what is on its way and what waits to be.
    pub fn has_room(&self, size: usize, window: Window) -> bool {
        let mut ahead = self.unacknowledged;
        ahead.messages += self.queue.len();
        ahead.bytes += self.queued_bytes;
        // What opens or answers does not count; what is admitted does already.
        if (!self.begun || self.admitted.is_some())
            && let Some(front) = self.queue.front()
        {
            ahead.messages -= 1;
            ahead.bytes -= front.len() + FRAME_OVERHEAD;
        }
        ahead.has_room(size, window)
    }

    pub fn has_something_to_say(&self) -> bool {
        !self.queue.is_empty() || (self.close.is_some() && !self.close_sent)
    }
}
