//! What a store counts of itself, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a store has counted since it was opened, and what it has now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measures {
    /// Calls that the database refused, or did not answer.
    pub failed: u64,
    /// Calls of which this version cannot read the answer.
    pub incompatible: u64,
    /// Its connections, by what they are for. None where nobody has to wait for one.
    pub connections: Vec<ConnectionMeasures>,
}

impl Measures {
    /// The errors of both.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        let mut connections = self.connections;
        connections.extend(other.connections);
        Self {
            failed: self.failed + other.failed,
            incompatible: self.incompatible + other.incompatible,
            connections,
        }
    }
}

/// The connections for one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionMeasures {
    /// What they are for, in one word.
    pub purpose: &'static str,
    /// How many are open.
    pub open: u32,
    /// How many of those nobody uses.
    pub idle: u32,
    /// How many there may be.
    pub limit: u32,
    /// How often one was asked for.
    pub asked: u64,
    /// How long those who asked have waited, all together.
    pub waited: Duration,
}

/// How long is waited for something: two numbers that only grow.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Waits {
    /// Somebody waits until what this returns is dropped, be it for having given up.
    pub fn begin(&self) -> Waiting<'_> {
        Waiting {
            waits: self,
            since: Instant::now(),
        }
    }

    /// How often, and how long all together.
    pub fn so_far(&self) -> (u64, Duration) {
        let micros = self.micros.load(Ordering::Relaxed);
        let count = self.count.load(Ordering::Relaxed);
        (count, Duration::from_micros(micros))
    }
}

/// Somebody who waits.
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.waits.micros.fetch_add(micros, Ordering::Relaxed);
        self.waits.count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_has_waited_too() {
        let waits = Waits::default();
        let waiting = waits.begin();
        assert_eq!(waits.so_far(), (0, Duration::ZERO), "it waits still");
        std::thread::sleep(Duration::from_millis(2));
        drop(waiting);
        drop(waits.begin());
        let (count, waited) = waits.so_far();
        assert_eq!(count, 2);
        assert!(waited >= Duration::from_millis(2), "{waited:?}");
    }

    #[test]
    fn errors_of_two_parts_are_added() {
        let one = Measures {
            failed: 2,
            incompatible: 1,
            connections: vec![],
        };
        let both = one.clone().and(one);
        assert_eq!((both.failed, both.incompatible), (4, 2));
    }
}
