//! The output gate: nothing leaves an instance before the writes it could reveal are durable.

use std::collections::VecDeque;

use portside_exchange::Message;

use crate::event::{PortId, SocketId};

/// Something that leaves the instance.
pub enum Output {
    /// A message on a port.
    Message {
        /// The sending end.
        port: PortId,
        /// A structured clone.
        data: Vec<u8>,
    },
    /// The end of a port.
    ClosePort {
        /// This end.
        port: PortId,
    },
    /// A message on a WebSocket.
    Socket {
        /// The socket.
        socket: SocketId,
        /// The message; a close is the last.
        message: Message,
    },
}

/// Numbers the writes and holds back the outputs that follow them, in order.
#[derive(Default)]
pub struct Gate {
    issued: u64,
    durable: u64,
    waiting: VecDeque<(u64, Output)>,
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

    /// Passes an output on, or holds it back.
    pub fn admit(&mut self, output: Output) -> Option<Output> {
        if self.is_clear() && self.waiting.is_empty() {
            return Some(output);
        }
        self.waiting.push_back((self.issued, output));
        None
    }

    /// Writes up to `seq` are durable.
    pub fn settle(&mut self, seq: u64) {
        self.durable = self.durable.max(seq);
    }

    /// The next output that may leave now.
    pub fn release(&mut self) -> Option<Output> {
        if self.waiting.front()?.0 > self.durable {
            return None;
        }
        self.waiting.pop_front().map(|(_, output)| output)
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

    fn close(port: u64) -> Output {
        Output::ClosePort { port: PortId(port) }
    }

    fn released(gate: &mut Gate) -> Vec<u64> {
        std::iter::from_fn(|| gate.release())
            .map(|output| match output {
                Output::ClosePort { port } => port.0,
                _ => unreachable!("only closes here"),
            })
            .collect()
    }

    #[test]
    fn outputs_wait_for_the_writes_before_them_only() {
        let mut gate = Gate::default();
        assert!(gate.admit(close(0)).is_some());
        assert_eq!(gate.write(true), 1);
        assert_eq!(gate.write(false), 1);
        assert!(gate.admit(close(1)).is_none());
        assert_eq!(gate.write(true), 2);
        assert!(gate.admit(close(2)).is_none());
        assert!(released(&mut gate).is_empty());
        gate.settle(1);
        assert!(gate.admit(close(3)).is_none(), "never overtakes");
        assert_eq!(released(&mut gate), [1]);
        gate.settle(2);
        assert_eq!(released(&mut gate), [2, 3]);
        assert!(gate.admit(close(4)).is_some());
    }
}
