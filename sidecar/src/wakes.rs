//! How long workers and objects take to wake, and with what.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// What a wake does, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Until the worker is this process's, and what it wrote before has its answers.
    Wait,
    /// Until the store has said what it has of it.
    Load,
    /// Until it has an isolate of its own. Objects have none.
    Isolate,
    /// Until its module is evaluated, or the object is made.
    Evaluate,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Wait, Self::Load, Self::Isolate, Self::Evaluate];

    /// As a label has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Load => "load",
            Self::Isolate => "isolate",
            Self::Evaluate => "evaluate",
        }
    }
}

/// How long wakes took, in seconds. Those that failed are not in it.
pub(crate) struct Wakes {
    took: Histogram,
    phases: [Histogram; Phase::ALL.len()],
}

impl Default for Wakes {
    fn default() -> Self {
        Self {
            // 1 ms to 33 s.
            took: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            // 0.25 ms to 16 s.
            phases: Phase::ALL.map(|_| Histogram::new(exponential_buckets(0.000_25, 4.0, 9))),
        }
    }
}

impl Wakes {
    /// From when a worker was addressed until it could handle that.
    pub fn took(&self) -> &Histogram {
        &self.took
    }

    /// Each phase.
    pub fn phases(&self) -> impl Iterator<Item = (Phase, &Histogram)> {
        Phase::ALL.into_iter().zip(&self.phases)
    }

    fn of(&self, phase: Phase) -> &Histogram {
        &self.phases[phase as usize]
    }
}

/// Measures the wake of one worker.
pub(crate) struct Stopwatch {
    wakes: Arc<Wakes>,
    running: Mutex<Option<Running>>,
}

#[derive(Clone, Copy)]
struct Running {
    began: Instant,
    /// When the phase before ended.
    lap: Instant,
}

impl Stopwatch {
    /// One that counts for these.
    pub fn new(wakes: &Arc<Wakes>) -> Self {
        Self {
            wakes: wakes.clone(),
            running: Mutex::default(),
        }
    }

    /// A wake begins; whatever was measured before is forgotten.
    pub fn begin(&self) {
        let now = Instant::now();
        *self.lock() = Some(Running {
            began: now,
            lap: now,
        });
    }

    /// A phase is over.
    pub fn passed(&self, phase: Phase) {
        if let Some(running) = &mut *self.lock() {
            let now = Instant::now();
            let took = now.duration_since(running.lap);
            running.lap = now;
            self.wakes.of(phase).observe(took.as_secs_f64());
        }
    }

    /// The last phase is over, and the wake.
    pub fn end(&self) {
        self.passed(Phase::Evaluate);
        if let Some(running) = self.lock().take() {
            let took = running.lap.duration_since(running.began);
            self.wakes.took.observe(took.as_secs_f64());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    /// How often each was observed: the wakes, and the phases.
    fn counts(wakes: &Wakes) -> Vec<u32> {
        let all = std::iter::once(wakes.took()).chain(wakes.phases().map(|(_, it)| it));
        let count = |histogram: &Histogram| {
            let mut registry = Registry::default();
            registry.register("it", "", histogram.clone());
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let mut lines = text.lines();
            let count = lines.find_map(|line| line.strip_prefix("it_count "));
            count.unwrap().parse().unwrap()
        };
        all.map(count).collect()
    }

    #[test]
    fn a_wake_counts_once_and_only_if_it_comes_to_its_end() {
        let wakes = Arc::new(Wakes::default());
        let stopwatch = Stopwatch::new(&wakes);
        stopwatch.begin();
        stopwatch.passed(Phase::Wait);
        // The store failed; somebody tries again.
        stopwatch.begin();
        for phase in [Phase::Wait, Phase::Load, Phase::Isolate] {
            stopwatch.passed(phase);
        }
        assert_eq!(counts(&wakes), [0, 2, 1, 1, 0]);
        stopwatch.end();
        stopwatch.end();
        stopwatch.passed(Phase::Load);
        assert_eq!(counts(&wakes), [1, 2, 1, 1, 1]);
    }
}
