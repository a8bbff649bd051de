//! A link that a task of its own serves: that of a request or a call.

use std::sync::Arc;

use futures::StreamExt;
use portside_wire::connection::{LinkNumber, SendError};
use portside_wire::frame::Frame;
use portside_worker::link::CloseReason;
use portside_worker::request::ByteStream;
use tokio::sync::{Notify, mpsc};

use crate::convert::PIECE_BYTES;
use crate::line::{Heard, Line, Listener};

/// What comes on the link, for the task. It is bounded by the link's window.
pub(crate) type Inbound = mpsc::UnboundedReceiver<Heard>;

/// Hears what comes on the link for a task.
pub(crate) struct ForTask {
    heard: mpsc::UnboundedSender<Heard>,
    room: Arc<Notify>,
}

impl ForTask {
    pub fn new() -> (Self, Inbound, Arc<Notify>) {
        let (heard, inbound) = mpsc::unbounded_channel();
        let room = Arc::<Notify>::default();
        let listener = Self {
            heard,
            room: room.clone(),
        };
        (listener, inbound, room)
    }
}

impl Listener for ForTask {
    fn hear(&self, heard: Heard) {
        match heard {
            Heard::Room => self.room.notify_one(),
            // A task that is over needs nothing.
            heard => drop(self.heard.send(heard)),
        }
    }
}

/// Sends on the link. One at a time waits for room.
pub(crate) struct Sender {
    pub line: Arc<Line>,
    pub link: LinkNumber,
    pub room: Arc<Notify>,
}

impl Sender {
    /// Sends a frame, when there is room.
    ///
    /// # Errors
    /// It is too long, or the link is over.
    pub async fn send(&self, frame: Frame) -> Result<(), SendError> {
        loop {
            match self.line.send(self.link, frame.clone()) {
                Err(SendError::Full) => self.room.notified().await,
                sent => return sent,
            }
        }
    }

    /// Sends a body to its end, in pieces.
    pub async fn send_body(&self, mut body: ByteStream) {
        let end = loop {
            match body.next().await {
                Some(Ok(mut bytes)) => {
                    while !bytes.is_empty() {
                        let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
                        if self.send(Frame::Chunk(piece)).await.is_err() {
                            return; // the link is over
                        }
                    }
                }
                Some(Err(error)) => break Frame::Abort(error),
                None => break Frame::End,
            }
        };
        let _ = self.send(end).await;
    }

    /// Closes the link behind what was sent.
    pub fn close(&self, reason: CloseReason) {
        self.line.close(self.link, reason);
    }
}
