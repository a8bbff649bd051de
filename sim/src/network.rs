//! Time, messages and what goes wrong with them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::calls::Calls;
use crate::mechanism::Mechanism;
use crate::random::Random;
use crate::world::Happening;

/// Microseconds since the beginning, as nobody inside can measure them.
pub(crate) type Time = u64;

pub(crate) const MS: Time = 1_000;

/// Who can be cut off from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Pod(usize),
    Gateway(usize),
    Store,
    Clients,
}

/// How often things go wrong, chosen by the seed.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    /// Of a thousand messages, so many are slow, and so many are lost with their connection.
    pub slow: u64,
    pub lost: u64,
    /// Of a thousand turns, so many are killed.
    pub killed: u64,
    /// At least so often something breaks, in milliseconds.
    pub interval_ms: u64,
    /// Whether clocks differ by what real ones may, or by anything.
    pub wild_clocks: bool,
    /// Nothing fails after this time.
    pub until: Time,
}

/// What there is besides the processes.
pub(crate) struct Network {
    pub now: Time,
    pub random: Random,
    pub faults: Faults,
    pub without: Option<Mechanism>,
    /// Workers are objects.
    pub has_objects: bool,
    /// How often a message on a socket found an object asleep.
    pub woken: u64,
    /// Pods share the shards.
    pub is_shared: bool,
    /// How often a pod asked another one something for a request.
    pub passed: u64,
    /// When, its number, and where it is among the `happenings`.
    queue: BinaryHeap<Reverse<(Time, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    /// Places there that are free.
    free: Vec<usize>,
    queued: u64,
    digest: u64,
    partitions: Vec<(Node, Node, Time)>,
    trace: Option<Vec<String>>,
    pub calls: Calls,
}

impl Network {
    pub fn new(
        random: Random,
        faults: Faults,
        (has_objects, is_shared): (bool, bool),
        without: Option<Mechanism>,
        traced: bool,
    ) -> Self {
        Self {
            now: 0,
            random,
            faults,
            without,
            has_objects,
            woken: 0,
            is_shared,
            passed: 0,
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            free: Vec::new(),
            queued: 0,
            digest: 0,
            partitions: Vec::new(),
            trace: traced.then(Vec::new),
            calls: Calls::default(),
        }
    }

    pub fn is_without(&self, mechanism: Mechanism) -> bool {
        self.without == Some(mechanism)
    }

    pub fn at(&mut self, time: Time, happening: Happening) {
        self.queued += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.happenings.push(None);
            self.happenings.len() - 1
        });
        self.happenings[place] = Some(happening);
        let time = time.max(self.now);
        self.queue.push(Reverse((time, self.queued, place)));
    }

    pub fn after(&mut self, delay: Time, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    /// What happens next; time goes on to it.
    pub fn next(&mut self) -> Option<Happening> {
        let Reverse((time, number, place)) = self.queue.pop()?;
        self.now = time;
        // Each delay is drawn when something happens: what happens otherwise is followed by other times.
        self.digest = (self.digest ^ time ^ number << 32).wrapping_mul(0x0000_0100_0000_01b3);
        self.free.push(place);
        self.happenings[place].take()
    }

    /// Tells what happened until now from anything else.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn is_calm(&self) -> bool {
        self.now >= self.faults.until
    }

    /// Whether something goes wrong that does so `per_mille` times of a thousand.
    pub fn fails(&mut self, per_mille: u64) -> bool {
        !self.is_calm() && self.random.chance(per_mille)
    }

    /// What decides between pods that could all be sent a request; where one is active nothing is drawn.
    pub fn choice(&mut self) -> u64 {
        match self.is_shared {
            true => self.random.next(),
            false => 0,
        }
    }

    /// How long a message takes; `None` if it is lost.
    pub fn hop(&mut self, from: Node, to: Node) -> Option<Time> {
        let mut delay = self.random.within(200, 2 * MS);
        let free = self.free_at(from, to);
        if free > self.now {
            // What is sent again arrives when the way is free, or the connection was given up by then.
            delay += free - self.now;
            return self.random.chance(500).then_some(delay);
        }
        let (slow, lost) = (self.faults.slow, self.faults.lost);
        if self.fails(lost) {
            return None;
        }
        if self.fails(slow) {
            let most = [20, 200, 2_000][self.random.index(3)];
            delay += self.random.within(1, most) * MS;
        }
        Some(delay)
    }

    /// When nothing cuts these two off from each other.
    pub fn free_at(&mut self, from: Node, to: Node) -> Time {
        let now = self.now;
        self.partitions.retain(|(.., until)| *until > now);
        let cuts = self.partitions.iter();
        let between = cuts.filter(|(a, b, _)| (*a, *b) == (from, to) || (*a, *b) == (to, from));
        between.map(|(.., until)| *until).max().unwrap_or(now)
    }

    /// Sends a message, unless it is lost.
    pub fn send(&mut self, from: Node, to: Node, happening: Happening) {
        if let Some(delay) = self.hop(from, to) {
            self.after(delay, happening);
        }
    }

    pub fn cut(&mut self, a: Node, b: Node, until: Time) {
        self.partitions.push((a, b, until));
    }

    pub fn trace(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} ms  {}", self.now as f64 / 1e3, text()));
        }
    }

    pub fn into_trace(self) -> Vec<String> {
        self.trace.unwrap_or_default()
    }
}

/// How fast the clocks of a run go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speed {
    /// As quartz does: 200 ppm too fast or too slow at most.
    Honest,
    /// As clocks whose time is being corrected: up to a tenth too fast or too slow.
    Corrected,
    /// As nothing that anybody should rely on.
    Wild,
}

/// A machine's clock: whoever reads it never sees it step back, and it goes at its own speed.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    offset: Time,
    /// Of a million real microseconds it counts so many.
    rate: u64,
}

impl Clock {
    pub fn new(random: &mut Random, speed: Speed) -> Self {
        let rate = match speed {
            Speed::Honest => random.within(999_800, 1_000_200),
            Speed::Corrected => match random.index(4) {
                0 => 900_000,
                1 => 1_100_000,
                _ => random.within(900_000, 1_100_000),
            },
            Speed::Wild => [250_000, 1_000_000, 2_000_000][random.index(3)],
        };
        Self {
            offset: random.within(100_000 * MS, 1_000_000 * MS),
            rate,
        }
    }

    /// What it shows, in milliseconds.
    pub fn ms(&self, now: Time) -> u64 {
        self.us(now) / MS
    }

    /// What it shows, in microseconds.
    pub fn us(&self, now: Time) -> u64 {
        self.offset + (u128::from(now) * u128::from(self.rate) / 1_000_000) as u64
    }

    /// How long until it shows `ms`.
    pub fn until(&self, now: Time, ms: u64) -> Time {
        self.until_us(now, ms * MS)
    }

    /// How long until it shows so many microseconds.
    pub fn until_us(&self, now: Time, us: u64) -> Time {
        let left = us.saturating_sub(self.us(now));
        (u128::from(left) * 1_000_000 / u128::from(self.rate)) as u64 + 1
    }

    pub fn jump(&mut self, by: Time) {
        self.offset += by;
    }

    /// It stands still for this long.
    pub fn stop(&mut self, for_long: Time) {
        self.offset -= (u128::from(for_long) * u128::from(self.rate) / 1_000_000) as u64;
    }
}
