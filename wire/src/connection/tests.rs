mod liars;
mod simulation;
mod single;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use portside_core::ids::{Epoch, WorkerKey};
use portside_exchange::credit::Window;

use super::*;
use crate::frame::{Accepted, Frame, Kind, Opening};

/// So narrow that all of them are met often.
const NARROW: Limits = Limits {
    links: 6,
    frame_bytes: 250_000,
    window: Window {
        messages: 3,
        bytes: 200_000,
    },
    bytes: 300_000,
    handshake: Duration::from_secs(5),
    keep_alive: Duration::from_secs(1),
    silence: Duration::from_secs(4),
};

fn opening(epoch: u64) -> Opening {
    Opening {
        to: WorkerKey::new("a.js", "x").unwrap(),
        epoch: Epoch(epoch),
        kind: Kind::Port,
        name: None,
        reached: None,
        request: None,
        reconnected: false,
    }
}

fn accepted(epoch: u64) -> Accepted {
    Accepted {
        epoch: Epoch(epoch),
    }
}

fn message(data: impl Into<Bytes>) -> Frame {
    Frame::Message {
        data: data.into(),
        request: None,
    }
}

/// Two sides, and what is on its way between them.
struct Pair {
    now: Duration,
    sides: [Connection; 2],
    /// What each side has sent and the other not received.
    wires: [BytesMut; 2],
}

const DIALER: usize = 0;
const LISTENER: usize = 1;

impl Pair {
    fn unacquainted(limits: Limits) -> Self {
        let now = Duration::ZERO;
        let side = |side| Connection::new(side, limits, now);
        Self {
            now,
            sides: [side(Side::Dialer), side(Side::Listener)],
            wires: Default::default(),
        }
    }

    fn new(limits: Limits) -> Self {
        let mut pair = Self::unacquainted(limits);
        pair.settle();
        assert!(pair.sides.iter().all(Connection::is_ready));
        pair
    }

    fn transmit(&mut self, side: usize, budget: usize) {
        let out = &mut self.wires[side];
        let budget = out.len() + budget;
        self.sides[side].transmit(self.now, budget, out);
    }

    /// The other side receives the first `bytes` of what this one has sent.
    fn deliver(&mut self, from: usize, bytes: usize, buffer: &mut BytesMut) {
        let wire = &mut self.wires[from];
        buffer.extend_from_slice(&wire.split_to(bytes.min(wire.len())));
        self.sides[1 - from].receive(self.now, buffer);
    }

    /// Everything that either side has to say is said and heard.
    fn settle(&mut self) {
        loop {
            self.now += Duration::from_millis(10);
            for side in [DIALER, LISTENER] {
                self.transmit(side, usize::MAX / 2);
            }
            if self.wires.iter().all(BytesMut::is_empty) {
                return;
            }
            for side in [DIALER, LISTENER] {
                let mut all = std::mem::take(&mut self.wires[side]);
                self.sides[1 - side].receive(self.now, &mut all);
                assert!(all.is_empty(), "only whole records are sent");
            }
        }
    }

    fn events(&mut self, side: usize) -> Vec<Event> {
        self.sides[side].take_events().into()
    }

    /// A link that the dialer opened and the listener accepted, without anything else on its way.
    fn open(&mut self) -> LinkNumber {
        let link = self.sides[DIALER].open(opening(1)).unwrap();
        self.settle();
        match self.events(LISTENER).pop() {
            Some(Event::Opened { held, .. }) => self.sides[LISTENER].taken(held),
            event => panic!("{event:?}"),
        }
        self.sides[LISTENER].accept(link, accepted(1));
        self.settle();
        let [Event::Accepted { .. }] = self.events(DIALER)[..] else {
            panic!("it was accepted");
        };
        link
    }
}
