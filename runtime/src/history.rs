//! What is known of a script: whether its instances give their thread back soon.

use std::sync::atomic::{AtomicU64, Ordering};

/// Short stretches of JavaScript, of all its instances together, after which a script is trusted.
const FIRST_TRIAL: u64 = 128;

/// How much longer the next trial is after each long stretch.
const LONGER_BY: u64 = 16;

/// The behaviour of one script's instances so far.
///
/// A script is trusted to be brief after a number of stretches of JavaScript without a long one among them. Each long one
/// starts a new, longer trial: a script that is brief most of the time only is soon not trusted for good.
pub struct History {
    /// Short stretches that are missing to be trusted.
    missing: AtomicU64,
    /// How long the next trial is.
    next_trial: AtomicU64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            missing: AtomicU64::new(FIRST_TRIAL),
            next_trial: AtomicU64::new(FIRST_TRIAL * LONGER_BY),
        }
    }
}

impl History {
    /// Whether its instances can be expected to give their thread back soon.
    pub fn is_brief(&self) -> bool {
        self.missing.load(Ordering::Relaxed) == 0
    }

    /// An instance ran JavaScript, and gave its thread back soon.
    pub fn short_stretch(&self) {
        // An exact count does not matter; that a trusted script costs no write to shared memory does.
        let missing = self.missing.load(Ordering::Relaxed);
        if missing > 0 {
            self.missing.store(missing - 1, Ordering::Relaxed);
        }
    }

    /// An instance keeps its thread for so long that others there would wait noticeably.
    pub fn long_stretch(&self) {
        let trial = self.next_trial.load(Ordering::Relaxed);
        let longer = trial.saturating_mul(LONGER_BY);
        self.next_trial.store(longer, Ordering::Relaxed);
        self.missing.store(trial, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(history: &History, stretches: u64) {
        (0..stretches).for_each(|_| history.short_stretch());
    }

    #[test]
    fn a_script_is_trusted_after_a_trial() {
        let history = History::default();
        runs(&history, FIRST_TRIAL - 1);
        assert!(!history.is_brief());
        runs(&history, 1);
        assert!(history.is_brief());
        runs(&history, 1);
        assert!(history.is_brief());
    }

    #[test]
    fn each_long_stretch_starts_a_longer_trial() {
        let history = History::default();
        let mut trial = FIRST_TRIAL;
        for _ in 0..3 {
            runs(&history, trial);
            assert!(history.is_brief());
            history.long_stretch();
            trial *= LONGER_BY;
            runs(&history, trial - 1);
            assert!(!history.is_brief(), "after {trial}");
        }
    }

    #[test]
    fn any_number_of_long_stretches_is_counted() {
        let history = History::default();
        (0..100).for_each(|_| history.long_stretch());
        assert!(!history.is_brief());
    }
}
