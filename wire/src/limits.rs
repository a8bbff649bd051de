//! What a connection allows: each side tells the other, counts what it gets, and cuts off who goes beyond it.

use std::time::Duration;

use portside_exchange::credit::Window;

/// Bytes of a frame that travel at once: a longer one is cut in pieces, between which other links have their turn.
pub const PIECE_BYTES: usize = 64 << 10;

/// Counted for each frame beside its bytes, for what it takes in memory however short it is.
pub const FRAME_OVERHEAD: usize = 64;

/// A link on which nothing is on its way may send one frame of this size, overhead included, outside of the connection's
/// window: who reads slowly keeps others from sending much, but not from being heard. So small that it is bearable for as
/// many links as there may be.
pub const FREE_BYTES: usize = 4 << 10;

/// What one side of a connection allows the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Links that the other side may have opened at a time.
    pub links: usize,
    /// The longest frame, in bytes.
    pub frame_bytes: usize,
    /// What may be on its way on each link. Bytes are those of frames, with [`FRAME_OVERHEAD`] for each.
    pub window: Window,
    /// Bytes that may be on their way on all links together, [`FREE_BYTES`] of each link aside.
    pub bytes: usize,
    /// From the first byte to the moment at which links can be opened.
    pub handshake: Duration,
    /// Who has heard nothing for this long asks whether the other side is there.
    pub keep_alive: Duration,
    /// Who has heard nothing for this long, or got rid of nothing that it has to say, gives the connection up.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The ports of some thousand workers, each with several callers.
            links: 64 << 10,
            // The longest message, and its names and headers.
            frame_bytes: 33 << 20,
            // As a port has by default.
            window: Window {
                messages: 1_000,
                bytes: 16 << 20,
            },
            // As all the sockets of a process have.
            bytes: 64 << 20,
            handshake: Duration::from_secs(5),
            keep_alive: Duration::from_secs(1),
            // About as long as others take to find a pod dead.
            silence: Duration::from_secs(4),
        }
    }
}

/// Messages and bytes on their way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub messages: usize,
    pub bytes: usize,
}

impl Amount {
    /// Whether a message of so many bytes fits into the window beside it. One alone always does.
    pub fn has_room(self, bytes: usize, window: Window) -> bool {
        self.messages == 0
            || (self.messages < window.messages && self.bytes.saturating_add(bytes) <= window.bytes)
    }

    pub fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    /// Takes an amount away, if it is a part of this one.
    #[must_use]
    pub fn take(&mut self, part: Self) -> bool {
        let messages = self.messages.checked_sub(part.messages);
        let (Some(messages), Some(bytes)) = (messages, self.bytes.checked_sub(part.bytes)) else {
            return false;
        };
        *self = Self { messages, bytes };
        true
    }
}
