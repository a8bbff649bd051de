//! What is to be sent on a link, and waits for room.

use std::collections::VecDeque;
use std::sync::Arc;

use portside_exchange::credit::Place;
use portside_wire::connection::{LinkNumber, SendError};
use portside_wire::frame::Frame;
use portside_worker::link::CloseReason;

use crate::line::Line;

/// Frames in order, each with its place in the sender's credit until it is sent; and the close behind them. All of it waits
/// until the link is taken.
pub(crate) struct Outgoing {
    line: Arc<Line>,
    link: LinkNumber,
    taken: bool,
    waiting: VecDeque<(Frame, Option<Place>)>,
    close: Option<CloseReason>,
}

impl Outgoing {
    pub fn new(line: Arc<Line>, link: LinkNumber) -> Self {
        Self {
            line,
            link,
            taken: false,
            waiting: VecDeque::new(),
            close: None,
        }
    }

    /// The link is taken. Returns the same as [`Outgoing::send`].
    pub fn taken(&mut self) -> Option<SendError> {
        self.taken = true;
        self.flush()
    }

    /// Sends a frame, when there is room. Nothing goes behind a close. Returns why the last was left out that is longer than
    /// what the other pod takes, if one is.
    pub fn send(&mut self, frame: Frame, place: Option<Place>) -> Option<SendError> {
        if self.close.is_some() {
            return None;
        }
        self.waiting.push_back((frame, place));
        self.flush()
    }

    /// Closes the link behind what waits.
    pub fn close(&mut self, reason: CloseReason) {
        self.close.get_or_insert(reason);
        self.flush();
    }

    /// Sends what there is room for; returns the same as [`Outgoing::send`].
    pub fn flush(&mut self) -> Option<SendError> {
        if !self.taken {
            return None;
        }
        let mut too_long = None;
        while let Some((frame, _)) = self.waiting.front() {
            match self.line.send(self.link, frame.clone()) {
                Ok(()) => {}
                Err(SendError::Full) => return too_long,
                Err(error @ SendError::TooLong { .. }) => too_long = Some(error),
                // The link is over, of which the listener hears.
                Err(SendError::Gone | SendError::NotAccepted) => self.waiting.clear(),
            }
            self.waiting.pop_front();
        }
        if let Some(reason) = self.close {
            self.line.close(self.link, reason);
        }
        too_long
    }
}
