//! What has happened of late, in order and numbered: from what watches are served.
//!
//! A number is a `resourceVersion`. Numbers of one start of this process are above those of the start before, and no other process's, so it is seen
//! when somebody comes with another's. Every number belongs to one event.

use std::collections::VecDeque;
use std::sync::Arc;

use portside_manage::{State, Worker};

use crate::object::Class;

/// How many events are kept.
const KEPT: usize = 10_000;
/// What they may take together: those of workers with usual names take less.
const MOST: usize = 32 << 20;
/// The bits of a number that count events.
const COUNT_BITS: u32 = 22;

/// What a worker was before it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Was {
    /// Neither stored nor awake.
    Absent,
    /// Stored.
    Asleep,
    /// Awake, in this pod.
    Awake(Option<String>),
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A worker changed.
    Change {
        /// Before.
        was: Was,
        /// Now; of one that is gone, what it was.
        worker: Arc<Worker>,
        /// Whether it is neither stored nor awake any more.
        gone: bool,
    },
    /// Something was missed of the class: who watches it has to look anew.
    Gap,
    /// Nothing, but that who looks from now on sees more than before.
    Begin,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Its number.
    pub version: u64,
    /// Of which class; nothing of [`What::Begin`].
    pub class: Option<Arc<Class>>,
    /// What.
    pub what: What,
}

/// What followed is not known any more, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired;

/// The last events.
#[derive(Debug)]
pub struct Ring {
    /// The first number of this start.
    first: u64,
    /// The number of the last event.
    last: u64,
    kept: VecDeque<Arc<Happened>>,
    /// What these take.
    taken: usize,
}

impl Ring {
    /// Of a process that starts at this time, in milliseconds.
    #[must_use]
    pub fn new(start_ms: u64) -> Self {
        let first = start_ms << COUNT_BITS;
        Self {
            first,
            last: first,
            kept: VecDeque::new(),
            taken: 0,
        }
    }

    /// The time at which this process started, in milliseconds.
    #[must_use]
    pub fn start(&self) -> u64 {
        start_of(self.first)
    }

    /// The number of what happened last.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Adds what happens; returns its number.
    pub fn push(&mut self, class: Option<Arc<Class>>, what: What) -> u64 {
        self.last += 1;
        let version = self.last;
        let event = Happened {
            version,
            class,
            what,
        };
        self.taken += event.takes();
        self.kept.push_back(Arc::new(event));
        while self.kept.len() > KEPT || self.taken > MOST {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.taken -= oldest.takes();
        }
        version
    }

    /// Reads a `resourceVersion` of this process.
    ///
    /// # Errors
    ///
    /// It is of another.
    pub fn parse(&self, text: &str) -> Result<u64, Expired> {
        let version = text.parse().map_err(|_| Expired)?;
        self.counts(version).then_some(version).ok_or(Expired)
    }

    /// Whether a number is of this process.
    #[must_use]
    pub fn counts(&self, version: u64) -> bool {
        (self.first..=self.last).contains(&version)
    }

    /// At most `limit` events after one, the first first.
    ///
    /// # Errors
    ///
    /// Some of them are not kept any more.
    pub fn after(&self, version: u64, limit: usize) -> Result<Vec<Arc<Happened>>, Expired> {
        let oldest = self.last + 1 - self.kept.len() as u64;
        let from = (version + 1).checked_sub(oldest).ok_or(Expired)?;
        let from = usize::try_from(from).map_err(|_| Expired)?;
        if from > self.kept.len() {
            return Err(Expired);
        }
        Ok(self.kept.range(from..).take(limit).cloned().collect())
    }
}

/// The start of the process whose number that is, unless that has counted further than [`COUNT_BITS`] since.
#[must_use]
pub fn start_of(version: u64) -> u64 {
    version >> COUNT_BITS
}

impl Happened {
    /// The bytes that it takes.
    fn takes(&self) -> usize {
        let worker = match &self.what {
            What::Change { worker, .. } => size_of::<Worker>() + worker.text(),
            What::Gap | What::Begin => 0,
        };
        size_of::<Self>() + worker
    }
}

impl Was {
    /// The worker as it was, if there was one.
    #[must_use]
    pub fn worker(&self, now: &Worker) -> Option<Worker> {
        let mut worker = now.clone();
        match self {
            Self::Absent => return None,
            Self::Asleep => {
                worker.state = State::Asleep;
                worker.awake_since = None;
                worker.last_active = None;
                worker.pod = None;
                worker.revision = None;
            }
            Self::Awake(pod) => {
                worker.state = State::Awake;
                worker.pod.clone_from(pod);
            }
        }
        Some(worker)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample;

    fn ring(events: usize) -> Ring {
        let mut ring = Ring::new(1_000);
        for _ in 0..events {
            ring.push(Some(Arc::new(sample::class())), What::Gap);
        }
        ring
    }

    #[test]
    fn numbers_are_of_this_process() {
        let ring = ring(3);
        let first = 1_000 << COUNT_BITS;
        assert_eq!(ring.parse(&first.to_string()), Ok(first));
        assert_eq!(ring.parse(&(first + 3).to_string()), Ok(first + 3));
        for other in [first + 4, first - 1, 0] {
            assert_eq!(ring.parse(&other.to_string()), Err(Expired), "{other}");
        }
        assert_eq!(ring.parse("x"), Err(Expired));
    }

    #[test]
    fn a_process_that_starts_later_has_greater_numbers() {
        let mut before = ring(0);
        for _ in 0..(KEPT * 2) {
            before.push(None, What::Begin);
        }
        assert!(Ring::new(1_001).last() > before.last());
    }

    #[test]
    fn what_is_forgotten_is_told() {
        let ring = ring(KEPT + 5);
        let first = 1_000 << COUNT_BITS;
        assert_eq!(ring.after(first + 4, 1), Err(Expired));
        assert_eq!(ring.after(first + 5, 1).unwrap()[0].version, first + 6);
        assert_eq!(ring.after(ring.last(), 1), Ok(vec![]));
        assert_eq!(ring.after(ring.last() + 1, 1), Err(Expired));
    }

    #[test]
    fn what_is_long_is_forgotten_earlier() {
        let mut ring = ring(1);
        let first = ring.last();
        for number in 0..KEPT {
            let mut worker = sample::worker();
            worker.address = "a".repeat(Worker::MOST_TEXT / 2);
            let what = What::Change {
                was: Was::Absent,
                worker: Arc::new(worker),
                gone: number % 2 == 0,
            };
            ring.push(Some(Arc::new(sample::class())), what);
        }
        let kept = ring.kept.len();
        assert!(
            kept > 1_000 && kept * Worker::MOST_TEXT / 2 < MOST,
            "{kept}"
        );
        assert_eq!(ring.after(first, 1), Err(Expired));
        let oldest = ring.last() - kept as u64;
        assert_eq!(ring.after(oldest, KEPT).map(|it| it.len()), Ok(kept));
        let taken: usize = ring.kept.iter().map(|it| it.takes()).sum();
        assert_eq!(ring.taken, taken);
    }

    #[test]
    fn what_was_is_known_by_what_is() {
        let now = sample::worker();
        assert_eq!(Was::Absent.worker(&now), None);
        let asleep = Was::Asleep.worker(&now).unwrap();
        assert_eq!((asleep.state, asleep.pod), (State::Asleep, None));
        let awake = Was::Awake(Some("b".into())).worker(&now).unwrap();
        assert_eq!(awake.pod.as_deref(), Some("b"));
    }

    proptest! {
        /// Whoever reads, goes away and comes back with the last number sees each event once and in order, or is told that
        /// they cannot.
        #[test]
        fn each_event_is_seen_once_across_reconnects(
            steps in prop::collection::vec((0_usize..4_000, 1_usize..5_000), 1..20),
        ) {
            let mut ring = ring(0);
            let mut at = ring.last();
            let mut seen = vec![];
            let mut expired = false;
            for (pushed, read) in steps {
                for _ in 0..pushed {
                    ring.push(None, What::Begin);
                }
                let behind = usize::try_from(ring.last() - at).unwrap();
                match ring.after(ring.parse(&at.to_string()).unwrap(), read) {
                    Ok(events) => {
                        prop_assert!(behind <= KEPT);
                        prop_assert_eq!(events.len(), read.min(behind));
                        seen.extend(events.iter().map(|it| it.version));
                        at = seen.last().copied().unwrap_or(at);
                    }
                    Err(Expired) => {
                        prop_assert!(behind > KEPT);
                        expired = true;
                        break;
                    }
                }
            }
            let first = 1_000 << COUNT_BITS;
            let expected: Vec<u64> = (first + 1..=at).collect();
            prop_assert_eq!(&seen, &expected);
            prop_assert!(expired || at <= ring.last());
        }
    }
}
