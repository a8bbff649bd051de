//! What isolates have and use, for whoever shows it.

use std::ops::AddAssign;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::isolate::Usage;

/// What isolates have and use, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measures {
    /// How many there are, those that wait ready included.
    pub isolates: usize,
    /// Bytes in their JavaScript heaps, each as of its last collection of garbage, or of its beginning.
    pub heap_bytes: usize,
    /// Bytes that they hold outside of their heaps.
    pub external_bytes: usize,
    /// Processor time of their threads so far.
    pub cpu: Duration,
}

impl AddAssign for Measures {
    fn add_assign(&mut self, other: Self) {
        self.isolates += other.isolates;
        self.heap_bytes += other.heap_bytes;
        self.external_bytes += other.external_bytes;
        self.cpu += other.cpu;
    }
}

/// What one isolate has and uses, as long as it is there.
#[derive(Clone)]
pub struct Gauge(Weak<Usage>);

/// What a [`Gauge`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Bytes in its JavaScript heap, as of its last collection of garbage or its beginning, and those that it holds outside.
    pub memory_bytes: usize,
    /// For how long its JavaScript has run.
    pub ran: Duration,
}

impl Gauge {
    pub(crate) fn new(usage: &Arc<Usage>) -> Self {
        Self(Arc::downgrade(usage))
    }

    /// What it has and has used so far; nothing once it is gone.
    #[must_use]
    pub fn read(&self) -> Option<Reading> {
        let usage = self.0.upgrade()?;
        Some(Reading {
            memory_bytes: usage.heap_bytes() + usage.external_bytes(),
            ran: usage.ran(),
        })
    }
}

/// The isolates of one thread, whoever has them.
#[derive(Default)]
pub struct Isolates(Mutex<Vec<Weak<Usage>>>);

impl Isolates {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Usage>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another one was made.
    pub fn add(&self, usage: &Arc<Usage>) {
        let mut isolates = self.lock();
        // Those that are gone go before there would have to be more room: seldom.
        if isolates.len() == isolates.capacity() {
            isolates.retain(|usage| usage.strong_count() > 0);
        }
        isolates.push(Arc::downgrade(usage));
    }

    /// What they have.
    pub fn measure(&self) -> Measures {
        let mut sum = Measures::default();
        for usage in self.lock().iter().filter_map(Weak::upgrade) {
            sum += Measures {
                isolates: 1,
                heap_bytes: usage.heap_bytes(),
                external_bytes: usage.external_bytes(),
                cpu: Duration::ZERO,
            };
        }
        sum
    }
}
