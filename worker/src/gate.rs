//! The output gate: nothing leaves an instance before the writes it could reveal are durable, nor while another process
//! might own the worker.

use std::collections::VecDeque;

use portside_core::ids::WorkerKey;
use portside_exchange::Delivery;

use crate::hibernation::SocketId;
use crate::host::RequestName;
use crate::link::{CloseReason, Frame, LinkId};

/// Something that leaves the instance.
pub enum Output {
    /// A port is opened.
    Open {
        /// This end.
        link: LinkId,
        /// To whom.
        to: WorkerKey,
        /// In the course of which request.
        request: Option<RequestName>,
    },
    /// A frame on a link.
    Frame {
        /// This end.
        link: LinkId,
        /// The frame.
        frame: Frame,
    },
    /// The end of a link.
    Close {
        /// This end.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// A message to the client of a hibernatable WebSocket.
    Hibernatable {
        /// Which one.
        socket: SocketId,
        /// The message; a close is the last.
        delivery: Delivery,
    },
    /// What leaves by other ways than links, as the step that lets it go: an outgoing `fetch`, what a `new WebSocket(…)`
    /// sends. The step must not use the instance. If the instance ends before, it is dropped.
    Other(Box<dyn FnOnce()>),
}

impl Output {
    fn size(&self) -> usize {
        match self {
            Self::Frame { frame, .. } => frame.size(),
            Self::Hibernatable { delivery, .. } => delivery.message.len(),
            // Those who send by other ways count what they have waiting themselves.
            Self::Open { .. } | Self::Close { .. } | Self::Other(_) => 0,
        }
    }
}

/// Bytes of outputs that may wait for one instance's writes or its lease.
pub const WAITING_BYTES: usize = 64 << 20;

/// Numbers the writes and holds back the outputs that follow them, in order.
#[derive(Default)]
pub struct Gate {
    issued: u64,
    durable: u64,
    waiting: VecDeque<(u64, Output)>,
    waiting_bytes: usize,
    /// Safety mechanisms that tests take out, to see that they are missed.
    #[cfg(feature = "testing")]
    pub(crate) without: crate::Without,
}

impl Gate {
    /// A write was issued; returns the number of its commit, which all writes of a turn share.
    pub fn write(&mut self, first_of_turn: bool) -> u64 {
        self.issued += u64::from(first_of_turn);
        self.issued
    }

    /// The number of the newest write.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// Whether every issued write is durable.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.durable == self.issued
    }

    /// Whether the writes up to `seq` are durable.
    #[must_use]
    pub fn is_durable(&self, seq: u64) -> bool {
        seq <= self.durable
    }

    /// Whether an output that is made now leaves at once; `leased` says that the lease covers this moment.
    #[must_use]
    pub fn is_open(&self, leased: bool) -> bool {
        #[cfg(feature = "testing")]
        if self.without.output_gate {
            return leased || self.without.lease_in_gate;
        }
        self.is_clear() && self.waiting.is_empty() && self.covers(leased)
    }

    fn covers(&self, leased: bool) -> bool {
        #[cfg(feature = "testing")]
        if self.without.lease_in_gate {
            return true;
        }
        leased
    }

    /// Whether a message of so many bytes can be sent now: it leaves at once, or there is room for it to wait.
    #[must_use]
    pub fn has_room(&self, bytes: usize, leased: bool) -> bool {
        self.is_open(leased) || self.waiting_bytes + bytes <= WAITING_BYTES
    }

    /// Passes an output on, or holds it back.
    pub fn admit(&mut self, output: Output, leased: bool) -> Option<Output> {
        if self.is_open(leased) {
            return Some(output);
        }
        self.waiting_bytes += output.size();
        self.waiting.push_back((self.issued, output));
        None
    }

    /// Writes up to `seq` are durable.
    pub fn settle(&mut self, seq: u64) {
        self.durable = self.durable.max(seq);
    }

    /// The next output that may leave now.
    pub fn release(&mut self, leased: bool) -> Option<Output> {
        if !self.covers(leased) || self.waiting.front()?.0 > self.durable {
            return None;
        }
        let (_, output) = self.waiting.pop_front()?;
        self.waiting_bytes -= output.size();
        Some(output)
    }

    /// The links on which an answer is held back that begins.
    pub fn held_answers(&self) -> impl Iterator<Item = LinkId> {
        self.waiting.iter().filter_map(|(_, output)| match output {
            Output::Frame { link, frame } if frame.is_answer() => Some(*link),
            _ => None,
        })
    }

    /// Whether outputs are held back.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(link: u64) -> Output {
        Output::Close {
            link: LinkId(link),
            reason: CloseReason::Closed,
        }
    }

    fn released(gate: &mut Gate, leased: bool) -> Vec<u64> {
        std::iter::from_fn(|| gate.release(leased))
            .map(|output| match output {
                Output::Close { link, .. } => link.0,
                _ => unreachable!("only closes here"),
            })
            .collect()
    }

    #[test]
    fn outputs_wait_for_the_writes_before_them_only() {
        let mut gate = Gate::default();
        assert!(gate.admit(close(0), true).is_some());
        assert_eq!(gate.write(true), 1);
        assert_eq!(gate.write(false), 1);
        assert!(gate.admit(close(1), true).is_none());
        assert_eq!(gate.write(true), 2);
        assert!(gate.admit(close(2), true).is_none());
        assert!(released(&mut gate, true).is_empty());
        gate.settle(1);
        assert!(gate.admit(close(3), true).is_none(), "never overtakes");
        assert_eq!(released(&mut gate, true), [1]);
        gate.settle(2);
        assert_eq!(released(&mut gate, true), [2, 3]);
        assert!(gate.admit(close(4), true).is_some());
    }

    #[test]
    fn what_waits_is_bounded_until_it_leaves() {
        let mut gate = Gate::default();
        assert!(gate.has_room(WAITING_BYTES + 1, true), "it does not wait");
        gate.write(true);
        assert!(!gate.has_room(WAITING_BYTES + 1, true));
        let data = vec![0; WAITING_BYTES];
        let place = std::sync::Arc::new(portside_exchange::credit::Credit::default()).take(0);
        let frame = Frame::Message {
            data,
            place,
            request: None,
        };
        let link = LinkId(0);
        assert!(gate.admit(Output::Frame { link, frame }, true).is_none());
        assert!(!gate.has_room(1, true));
        gate.settle(1);
        assert!(gate.release(true).is_some());
        gate.write(true);
        assert!(gate.has_room(1, true));
    }

    #[test]
    fn outputs_wait_for_the_lease() {
        let mut gate = Gate::default();
        assert!(gate.admit(close(1), false).is_none());
        assert!(gate.admit(close(2), true).is_none(), "never overtakes");
        assert!(released(&mut gate, false).is_empty());
        assert_eq!(released(&mut gate, true), [1, 2]);
        gate.write(true);
        assert!(gate.admit(close(3), true).is_none());
        gate.settle(1);
        assert!(released(&mut gate, false).is_empty(), "durable, too late");
    }
}
