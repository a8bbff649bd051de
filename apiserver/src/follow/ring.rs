//! What has happened of late, in order and numbered: from what watches are served.
//!
//! A number is a `resourceVersion`. Numbers of one start of this process are above those of the start before, and no other process's, so it is seen
//! when somebody comes with another's. Every number belongs to one event.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use portside_manage::{State, Worker};
use uuid::Uuid;

use crate::object::Class;

/// How many events of a class are kept: one in which much happens takes no place from the others.
const KEPT: usize = 10_000;
/// What those of all classes may take together. Of the one whose events take most the oldest make room.
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
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Its number.
    pub version: u64,
    /// Of which class.
    pub class: Arc<Class>,
    /// What.
    pub what: What,
}

/// What followed is not known any more, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired;

/// What has happened after a number.
#[derive(Debug, PartialEq, Eq)]
pub struct News {
    /// In order.
    pub events: Vec<Arc<Happened>>,
    /// After which number to ask for more.
    pub to: u64,
}

/// The last events of each class.
#[derive(Debug)]
pub struct Ring {
    /// The first number of this start.
    first: u64,
    /// The number of the last event.
    last: u64,
    /// By their numbers; those that are forgotten are left out now and then.
    kept: VecDeque<(u64, Option<Arc<Happened>>)>,
    /// How many of these are forgotten.
    holes: usize,
    /// By their uids; those of which nothing is kept are not among them.
    classes: HashMap<Uuid, OfClass>,
    /// What all take.
    taken: usize,
    /// The last number of which something is forgotten, and the last that is forgotten of a class that is not among these.
    forgotten: u64,
    forgotten_of_others: u64,
}

/// What is kept of a class.
#[derive(Debug)]
struct OfClass {
    class: Arc<Class>,
    versions: VecDeque<u64>,
    taken: usize,
    /// The number of the last event that is forgotten.
    forgotten: u64,
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
            holes: 0,
            classes: HashMap::new(),
            taken: 0,
            forgotten: first,
            forgotten_of_others: first,
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

    /// A number after all that has happened: who looks from now on sees more than before.
    pub fn begin(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Adds what happens to a class.
    pub fn push(&mut self, class: &Arc<Class>, what: What) {
        let version = self.begin();
        let event = Happened {
            version,
            class: Arc::clone(class),
            what,
        };
        let takes = event.takes();
        self.taken += takes;
        self.kept.push_back((version, Some(Arc::new(event))));
        let first = self.first;
        let of_class = self.classes.entry(class.uid).or_insert_with(|| OfClass {
            class: Arc::clone(class),
            versions: VecDeque::new(),
            taken: 0,
            forgotten: first,
        });
        of_class.versions.push_back(version);
        of_class.taken += takes;
        if of_class.versions.len() > KEPT {
            self.forget(class.uid);
        }
        while self.taken > MOST {
            let most = self.classes.iter().max_by_key(|(_, it)| it.taken);
            let Some(uid) = most.map(|(uid, _)| *uid) else {
                break;
            };
            self.forget(uid);
        }
    }

    /// Forgets the oldest event of a class.
    fn forget(&mut self, uid: Uuid) {
        let Entry::Occupied(mut entry) = self.classes.entry(uid) else {
            return;
        };
        let of_class = entry.get_mut();
        let Some(version) = of_class.versions.pop_front() else {
            return;
        };
        let place = self.kept.binary_search_by_key(&version, |it| it.0);
        let event = place.ok().and_then(|it| self.kept[it].1.take());
        let takes = event.map_or(0, |it| it.takes());
        of_class.taken -= takes;
        of_class.forgotten = version;
        self.taken -= takes;
        self.forgotten = self.forgotten.max(version);
        if of_class.versions.is_empty() {
            entry.remove();
            self.forgotten_of_others = self.forgotten_of_others.max(version);
        }
        self.holes += 1;
        if self.holes * 2 > self.kept.len() {
            self.kept.retain(|it| it.1.is_some());
            self.holes = 0;
        }
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

    /// At most `limit` events after one, of classes that are wanted.
    ///
    /// # Errors
    ///
    /// Some of them are not kept any more.
    pub fn after(
        &self,
        version: u64,
        limit: usize,
        is_wanted: impl Fn(&Class) -> bool,
    ) -> Result<News, Expired> {
        if version > self.last || self.has_forgotten(version, &is_wanted) {
            return Err(Expired);
        }
        let from = self.kept.partition_point(|it| it.0 <= version);
        let kept = self.kept.range(from..).filter_map(|it| it.1.as_ref());
        let wanted = kept.filter(|it| is_wanted(&it.class));
        let events: Vec<Arc<Happened>> = wanted.take(limit).cloned().collect();
        let last = events.last().filter(|_| events.len() == limit);
        let to = last.map_or(self.last, |it| it.version);
        Ok(News { events, to })
    }

    /// Whether anything after a number is forgotten of classes that are wanted.
    fn has_forgotten(&self, version: u64, is_wanted: impl Fn(&Class) -> bool) -> bool {
        if version >= self.forgotten {
            return false;
        }
        let mut forgotten = self.classes.values().filter(|it| version < it.forgotten);
        version < self.forgotten_of_others || forgotten.any(|it| is_wanted(&it.class))
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
            What::Gap => 0,
        };
        // Beside itself: where it is in the order of all, and of its class.
        size_of::<Self>() + worker + 64
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
                worker.usage = None;
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
            ring.push(&Arc::new(sample::class()), What::Gap);
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
            before.push(&Arc::new(sample::class()), What::Gap);
        }
        assert!(Ring::new(1_001).last() > before.last());
    }

    #[test]
    fn what_is_forgotten_is_told() {
        let ring = ring(KEPT + 5);
        let first = 1_000 << COUNT_BITS;
        let after = |version| ring.after(version, 1, |_| true);
        assert_eq!(after(first + 4), Err(Expired));
        let news = after(first + 5).unwrap();
        assert_eq!((news.events[0].version, news.to), (first + 6, first + 6));
        assert_eq!(after(ring.last()).unwrap().events, []);
        assert_eq!(after(ring.last() + 1), Err(Expired));
    }

    fn class(number: u128) -> Arc<Class> {
        let uid = Uuid::from_u128(number);
        Arc::new(Class {
            uid,
            ..sample::class()
        })
    }

    /// Of a class, after a number.
    fn seen(ring: &Ring, of: &Class, version: u64) -> Option<Vec<u64>> {
        let news = ring.after(version, usize::MAX, |it| it == of).ok()?;
        assert_eq!(news.to, ring.last());
        Some(news.events.iter().map(|it| it.version).collect())
    }

    fn long() -> What {
        let mut worker = sample::worker();
        worker.address = "a".repeat(Worker::MOST_TEXT / 2);
        What::Change {
            was: Was::Absent,
            worker: Arc::new(worker),
            gone: false,
        }
    }

    #[test]
    fn a_class_in_which_much_happens_leaves_others_their_events() {
        let mut ring = ring(0);
        let (begun, quiet, busy) = (ring.last(), class(1), class(2));
        ring.push(&quiet, What::Gap);
        for _ in 0..KEPT * 3 {
            ring.push(&busy, What::Gap);
        }
        ring.push(&quiet, What::Gap);
        let expected = vec![begun + 1, ring.last()];
        assert_eq!(seen(&ring, &quiet, begun), Some(expected));
        assert_eq!(seen(&ring, &busy, begun), None);
        let kept = seen(&ring, &busy, ring.last() - 1 - KEPT as u64);
        assert_eq!(kept.map(|it| it.len()), Some(KEPT));
        assert!(ring.kept.len() < KEPT * 3);
        assert_eq!(ring.after(begun, 1, |_| true), Err(Expired));
    }

    #[test]
    fn what_is_long_is_forgotten_earlier() {
        let mut ring = ring(0);
        let (begun, quiet, busy) = (ring.last(), class(1), class(2));
        ring.push(&quiet, long());
        for _ in 0..KEPT {
            ring.push(&busy, long());
        }
        assert_eq!(seen(&ring, &quiet, begun), Some(vec![begun + 1]));
        let kept = ring.classes[&busy.uid].versions.len();
        let texts = kept * Worker::MOST_TEXT / 2;
        assert!((MOST / 2..MOST).contains(&texts), "{kept}");
        assert_eq!(seen(&ring, &busy, begun), None);
        let oldest = ring.last() - kept as u64;
        assert_eq!(seen(&ring, &busy, oldest).map(|it| it.len()), Some(kept));
        let there = ring.kept.iter().filter_map(|it| it.1.as_ref());
        let taken: usize = there.map(|it| it.takes()).sum();
        assert_eq!(ring.taken, taken);
    }

    #[test]
    fn what_is_forgotten_of_a_class_of_which_nothing_is_left_is_told() {
        let mut ring = ring(0);
        let (begun, gone) = (ring.last(), class(1));
        ring.push(&gone, What::Gap);
        ring.forget(gone.uid);
        assert!(ring.classes.is_empty());
        assert_eq!(seen(&ring, &gone, begun), None);
        assert_eq!(seen(&ring, &gone, begun + 1), Some(vec![]));
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
            let class = Arc::new(sample::class());
            let mut at = ring.last();
            let mut seen = vec![];
            let mut expired = false;
            for (pushed, read) in steps {
                for _ in 0..pushed {
                    ring.push(&class, What::Gap);
                }
                let behind = usize::try_from(ring.last() - at).unwrap();
                match ring.after(ring.parse(&at.to_string()).unwrap(), read, |_| true) {
                    Ok(news) => {
                        prop_assert!(behind <= KEPT);
                        prop_assert_eq!(news.events.len(), read.min(behind));
                        seen.extend(news.events.iter().map(|it| it.version));
                        at = news.to;
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
