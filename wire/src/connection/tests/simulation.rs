//! Two sides that keep the rules, under whatever the applications, the network and time do.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::Refusal;
use crate::frame::tests::refusal;
use crate::limits::Amount;

/// Around each limit, and each border between pieces.
const SIZES: [usize; 9] = [
    0, 10, 4_000, 5_000, 65_000, 70_000, 150_000, 240_000, 260_000,
];

#[derive(Debug, Clone)]
enum Op {
    Open,
    Accept(usize),
    Refuse(usize, Refusal),
    /// A message on this link, of this size.
    Message(usize, usize),
    /// The same message on each link.
    Broadcast(usize),
    End(usize),
    Close(usize),
    /// So many of the frames that are held, from this one on, are taken.
    Take(usize, usize),
    Transmit(usize),
    Deliver(usize),
    Time(u64),
    Cut,
}

fn op() -> impl Strategy<Value = Op> {
    let link = 0_usize..8;
    prop_oneof![
        3 => Just(Op::Open),
        4 => link.clone().prop_map(Op::Accept),
        1 => (link.clone(), refusal()).prop_map(|(link, refusal)| Op::Refuse(link, refusal)),
        10 => (link.clone(), 0..SIZES.len()).prop_map(|(link, size)| Op::Message(link, SIZES[size])),
        3 => (0..SIZES.len()).prop_map(|size| Op::Broadcast(SIZES[size])),
        2 => link.clone().prop_map(Op::End),
        1 => link.prop_map(Op::Close),
        6 => (0_usize..9, 1_usize..5).prop_map(|(from, count)| Op::Take(from, count)),
        9 => (1_usize..200_000).prop_map(Op::Transmit),
        9 => (1_usize..200_000).prop_map(Op::Deliver),
        2 => (1_u64..900).prop_map(Op::Time),
    ]
}

/// What one side's application knows of a link.
#[derive(Default, Debug)]
struct Known {
    sent: u64,
    received: u64,
    /// It may not be answered yet, or has been.
    offered: bool,
    over: bool,
    /// It has closed the link itself.
    closed: bool,
    refused: bool,
    wants_room: bool,
}

struct World {
    pair: Pair,
    buffers: [BytesMut; 2],
    known: [BTreeMap<LinkNumber, Known>; 2],
    held: [Vec<Held>; 2],
    cut: bool,
}

/// The number of a message on its link, and as many bytes as shall be.
fn numbered(number: u64, size: usize) -> Frame {
    let mut data = number.to_be_bytes().to_vec();
    data.resize(8 + size, 7);
    message(data)
}

impl World {
    fn new() -> Self {
        Self {
            pair: Pair::new(NARROW),
            buffers: Default::default(),
            known: Default::default(),
            held: Default::default(),
            cut: false,
        }
    }

    fn link(&self, side: usize, index: usize) -> Option<LinkNumber> {
        let live = self.known[side].iter().filter(|(_, known)| !known.over);
        live.map(|(number, _)| *number).nth(index)
    }

    fn apply(&mut self, side: usize, op: Op) {
        match op {
            Op::Open => match self.pair.sides[side].open(opening(1)) {
                Ok(link) => {
                    let before = self.known[side].insert(link, Known::default());
                    assert!(before.is_none(), "each link has its own number");
                }
                Err(OpenError::TooMany { limit }) => assert_eq!(limit, NARROW.links),
                Err(error) => assert!(self.cut, "{error}"),
            },
            Op::Accept(index) => self.answer(side, index, None),
            Op::Refuse(index, refusal) => self.answer(side, index, Some(refusal)),
            Op::Message(index, size) => {
                if let Some(link) = self.link(side, index) {
                    self.send(side, link, size);
                }
            }
            Op::Broadcast(size) => {
                let links: Vec<_> = self.known[side].keys().copied().collect();
                links
                    .into_iter()
                    .for_each(|link| self.send(side, link, size));
            }
            Op::End(index) => {
                if let Some(link) = self.link(side, index) {
                    let sent = self.pair.sides[side].send(link, Frame::End);
                    assert!(matches!(sent, Ok(()) | Err(SendError::NotAccepted)));
                }
            }
            Op::Close(index) => {
                if let Some(link) = self.link(side, index) {
                    self.close(side, link);
                }
            }
            Op::Take(from, count) => {
                for _ in 0..count {
                    if from < self.held[side].len() {
                        let held = self.held[side].remove(from);
                        self.pair.sides[side].taken(held);
                    }
                }
            }
            Op::Transmit(budget) => self.pair.transmit(side, budget),
            Op::Deliver(bytes) => self.deliver(side, bytes),
            Op::Time(ms) => {
                self.pair.now += Duration::from_millis(ms);
                let now = self.pair.now;
                // Both still hear of each other: the network stays within the silence.
                for side in [DIALER, LISTENER] {
                    self.pair.sides[side].tick(now);
                    self.pair.transmit(side, 1);
                    self.deliver(side, usize::MAX);
                }
            }
            Op::Cut => {
                self.cut = true;
                let broken = Ending::Broken("cut".into());
                self.pair
                    .sides
                    .iter_mut()
                    .for_each(|side| side.fail(broken.clone()));
            }
        }
        self.hear();
    }

    fn answer(&mut self, side: usize, index: usize, refusal: Option<Refusal>) {
        let offered = self.known[side]
            .iter_mut()
            .filter(|(_, known)| known.offered && !known.over);
        let Some((&link, known)) = offered.into_iter().nth(index % 3) else {
            return;
        };
        known.offered = false;
        match refusal {
            None => self.pair.sides[side].accept(link, accepted(1)),
            Some(refusal) => {
                (known.over, known.refused) = (true, true);
                self.pair.sides[side].refuse(link, refusal);
            }
        }
    }

    fn close(&mut self, side: usize, link: LinkNumber) {
        self.pair.sides[side].close(link, CloseReason::Closed);
        let known = self.known[side].get_mut(&link).unwrap();
        (known.over, known.closed) = (true, true);
    }

    fn send(&mut self, side: usize, link: LinkNumber, size: usize) {
        let known = self.known[side].get_mut(&link).unwrap();
        match self.pair.sides[side].send(link, numbered(known.sent, size)) {
            Ok(()) => {
                assert!(!known.over && !known.offered);
                known.sent += 1;
            }
            Err(SendError::Full) => known.wants_room = true,
            Err(SendError::TooLong { size, limit }) => assert!(size > 250_000 && limit == 250_000),
            Err(SendError::NotAccepted) => assert!(known.offered),
            Err(SendError::Gone) => assert!(known.over),
        }
    }

    fn deliver(&mut self, from: usize, bytes: usize) {
        self.pair.deliver(from, bytes, &mut self.buffers[from]);
        self.hear();
    }

    /// Checks what must always hold, and what each side hears.
    fn hear(&mut self) {
        for side in [DIALER, LISTENER] {
            self.check_limits(side);
            for event in self.pair.events(side) {
                self.event(side, event);
            }
        }
    }

    fn check_limits(&self, side: usize) {
        let connection = &self.pair.sides[side];
        let ending = connection.ending();
        assert!(self.cut || ending.is_none(), "{ending:?}");
        assert!(connection.receiving.held <= NARROW.bytes);
        assert!(connection.sending.unacknowledged <= NARROW.bytes);
        assert!(connection.opened_here <= NARROW.links && connection.opened_there <= NARROW.links);
        for link in connection.links.values() {
            for amount in [link.held, link.unacknowledged] {
                assert!(amount.messages <= NARROW.window.messages);
                assert!(amount.messages <= 1 || amount.bytes <= NARROW.window.bytes);
            }
        }
    }

    fn event(&mut self, side: usize, event: Event) {
        let known = &mut self.known[side];
        match event {
            Event::Opened { link, held, .. } => {
                let offered = true;
                let state = Known {
                    offered,
                    ..Known::default()
                };
                assert!(known.insert(link, state).is_none(), "it is opened once");
                self.held[side].push(held);
            }
            Event::Accepted { link, .. } => {
                let known = known.get_mut(&link).unwrap();
                assert!(!known.over && known.received == 0, "first it is accepted");
            }
            Event::Refused { link, .. } => {
                let known = known.get_mut(&link).unwrap();
                assert!(!known.over && known.received == 0);
                (known.over, known.refused) = (true, true);
            }
            Event::Frame { link, frame, held } => {
                let known = known.get_mut(&link).unwrap();
                assert!(!known.over, "nothing comes after the end");
                if let Frame::Message { data, .. } = frame {
                    let number = u64::from_be_bytes(data[..8].try_into().unwrap());
                    assert_eq!(number, known.received, "each once, in order");
                    assert!(data[8..].iter().all(|byte| *byte == 7));
                    known.received += 1;
                }
                self.held[side].push(held);
            }
            Event::Room { link } => {
                let known = known.get_mut(&link).unwrap();
                assert!(!known.over && known.wants_room, "somebody asked for it");
                known.wants_room = false;
            }
            Event::Closed { link, reason } => {
                let known = known.get_mut(&link).unwrap();
                assert!(!known.over, "a link ends once");
                assert_eq!(reason == CloseReason::Lost, self.cut);
                known.over = true;
            }
        }
    }

    /// Everybody accepts, takes and hears everything.
    fn calm_down(&mut self) {
        let mut quiet = 0;
        for _round in 0..10_000 {
            self.pair.now += Duration::from_millis(10);
            for side in [DIALER, LISTENER] {
                (0..8).for_each(|_| self.answer(side, 0, None));
                let held = std::mem::take(&mut self.held[side]);
                held.into_iter()
                    .for_each(|held| self.pair.sides[side].taken(held));
                self.pair.transmit(side, 100_000);
            }
            let is_quiet = self.pair.wires.iter().all(BytesMut::is_empty);
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet > 3 {
                return;
            }
            for side in [DIALER, LISTENER] {
                self.deliver(side, usize::MAX);
            }
        }
        panic!("it never ends");
    }

    /// Nobody has anything to do: what was sent is there, and nothing is kept of what is over.
    fn check_the_end(&mut self) {
        for side in [DIALER, LISTENER] {
            for (link, sender) in &self.known[side] {
                let Some(receiver) = self.known[1 - side].get(link) else {
                    assert!(sender.over || self.cut, "it arrived");
                    continue;
                };
                assert!(receiver.received <= sender.sent);
                assert_eq!(sender.over, receiver.over, "both know of the end");
                // Who closes a link sends what it has said before, if the other listens until then.
                let heard_all =
                    !(receiver.closed || receiver.refused || sender.refused || self.cut);
                if heard_all && (sender.closed || !sender.over) {
                    assert_eq!(receiver.received, sender.sent, "all of it arrived");
                }
                assert!(!sender.wants_room || sender.over, "room was announced");
            }
        }
        for side in &self.pair.sides {
            if self.cut {
                assert!(side.links.is_empty());
            } else {
                assert_eq!(side.links.len(), side.opened_here + side.opened_there);
                assert!(
                    side.links.values().all(|link| link.close.is_none()),
                    "nothing is left"
                );
                assert_eq!((side.receiving.held, side.sending.unacknowledged), (0, 0));
                assert!(
                    side.links
                        .values()
                        .all(|link| link.unacknowledged == Amount::default())
                );
            }
        }
    }
}

fn run(ops: Vec<(usize, Op)>, cut: bool) {
    let mut world = World::new();
    let middle = ops.len() / 2;
    for (at, (side, op)) in ops.into_iter().enumerate() {
        world.apply(side, op);
        if cut && at == middle {
            world.apply(DIALER, Op::Cut);
        }
    }
    if world.cut {
        let mut links = world.known.iter().flat_map(BTreeMap::values);
        assert!(
            links.all(|link| link.over),
            "each link ends with the connection"
        );
    } else {
        world.calm_down();
    }
    world.check_the_end();
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_links_keep_their_promises(
        ops in vec((0_usize..2, op()), 0..200),
        cut in prop::bool::weighted(0.2),
    ) {
        run(ops, cut);
    }
}
