//! A connection to another pod, as the links on it use it.

use std::sync::Arc;

use portside_exchange::credit::{Credit, Place};
use portside_wire::connection::{Held, LinkNumber, OpenError, SendError};
use portside_wire::frame::{Accepted, Frame, Opening, Refusal};
use portside_worker::link::CloseReason;

/// A connection to another pod. Every method returns at once, and calls no [`Listener`]'s.
pub trait Line: Send + Sync + 'static {
    /// Opens a link. `listen` is called once for who hears what comes on it, unless it cannot be opened. Links that one
    /// thread opens are opened in that order.
    ///
    /// # Errors
    /// [`OpenError`]: nothing of it is sent.
    fn open(
        &self,
        opening: Opening,
        listen: &mut dyn FnMut(LinkNumber) -> Arc<dyn Listener>,
    ) -> Result<(), OpenError>;

    /// Takes a link that the other side has opened; what comes on it from now on is heard by the listener.
    fn accept(&self, link: LinkNumber, accepted: Accepted, listener: Arc<dyn Listener>);

    /// Refuses a link that the other side has opened, of which no code has run. That ends it.
    fn refuse(&self, link: LinkNumber, refusal: Refusal);

    /// Sends a frame.
    ///
    /// # Errors
    /// [`SendError`]: nothing of it is sent. Of room after [`SendError::Full`] the listener hears.
    fn send(&self, link: LinkNumber, frame: Frame) -> Result<(), SendError>;

    /// Closes a link behind what was sent on it. Nothing more is heard of it.
    fn close(&self, link: LinkNumber, reason: CloseReason);

    /// Something received needs no room any more.
    fn taken(&self, held: Held);
}

/// What comes on a link.
pub enum Heard {
    /// The owner has taken it.
    Accepted(Accepted),
    /// It was not taken. Nothing follows.
    Refused(Refusal),
    /// Something was sent.
    Frame(Frame, Held),
    /// There is room again.
    Room,
    /// The link is over. Nothing follows.
    Closed(CloseReason),
}

/// Hears what comes on one link, in order.
pub trait Listener: Send + Sync + 'static {
    /// Takes it, at once.
    fn hear(&self, heard: Heard);
}

/// Room that something received takes on the line, until this is dropped.
pub(crate) struct Room {
    line: Arc<dyn Line>,
    held: Option<Held>,
}

impl Room {
    pub fn new(line: Arc<dyn Line>, held: Held) -> Self {
        let held = Some(held);
        Self { line, held }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.line.taken(held);
        }
    }
}

/// A place in nobody's credit, with which this guard is dropped.
pub(crate) fn place(guard: impl Send + Sync + 'static) -> Place {
    Arc::<Credit>::default().take(0).with(guard)
}
