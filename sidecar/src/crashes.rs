//! What fails again and again is started ever more slowly.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use portside_core::backoff::Backoff;

/// 0, 1, 2, 4 … 60 seconds.
const BACKOFF: Backoff = Backoff {
    first_ms: 1_000,
    max_ms: 60_000,
};

/// One that ran for this long after a failure has recovered from it.
const RECOVERED: Duration = Duration::from_secs(60);

/// The recent failures of each, a worker or what else `K` names.
pub struct Crashes<K> {
    recent: Mutex<HashMap<K, Recent>>,
}

struct Recent {
    failures: u32,
    last: Instant,
    until: Instant,
}

impl<K> Default for Crashes<K> {
    fn default() -> Self {
        Self {
            recent: Mutex::default(),
        }
    }
}

impl<K: Clone + Eq + Hash> Crashes<K> {
    /// Counts a failure at `now`; returns for how long it is not started again.
    pub fn record(&self, failed: &K, now: Instant) -> Duration {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, entry| {
            now.duration_since(entry.last.max(entry.until).min(now)) < RECOVERED
        });
        let entry = recent.entry(failed.clone()).or_insert(Recent {
            failures: 0,
            last: now,
            until: now,
        });
        let wait = match entry.failures {
            0 => Duration::ZERO,
            repeated => Duration::from_millis(BACKOFF.delay_ms(repeated - 1)),
        };
        entry.failures += 1;
        entry.last = now;
        entry.until = now + wait;
        wait
    }

    /// For how long from `now` on it is not started; nothing if it may be.
    pub fn waiting(&self, failed: &K, now: Instant) -> Option<Duration> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent
            .get(failed)?
            .until
            .checked_duration_since(now)
            .filter(|wait| !wait.is_zero())
    }

    /// Forgets all failures: the code is new.
    pub fn forget(&self) {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

#[cfg(test)]
mod tests {
    use portside_core::ids::WorkerKey;

    use super::*;

    #[test]
    fn waits_grow_and_are_forgotten() {
        let crashes = Crashes::default();
        let worker = WorkerKey::new("w.js", "a").unwrap();
        let start = Instant::now();
        let mut now = start;
        let mut waits = vec![];
        for _ in 0..9 {
            let wait = crashes.record(&worker, now);
            assert_eq!(
                crashes.waiting(&worker, now),
                (!wait.is_zero()).then_some(wait)
            );
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(crashes.waiting(&worker, now), None);
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(crashes.record(&worker, now + RECOVERED * 2), Duration::ZERO);
    }
}
