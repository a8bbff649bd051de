//! What a gateway can tell of leases from how often pods say that theirs was renewed.
//!
//! It compares no clocks: it sees numbers grow, or not. A pod that is asked once a second and says the same number for longer
//! than a lease lasts, or says nothing, either has no lease or cannot be reached from here.

use crate::ownership::{LEASE_MS, Millis, PATIENCE_MS};

/// The longest between two renewals that are heard of while the store works, though only one pod can be asked: it is asked
/// once a second, and renews its lease twice. Together with the times until the next one is heard of each pod before and after
/// the store was away it is shorter than [`PATIENCE_MS`].
const PULSE_MS: Millis = 1_500;

/// One pod's lease, as far as it is heard of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lease {
    heard: Option<Heard>,
    over: Option<Over>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// How often it has been renewed, and when that was heard first.
    renewals: u64,
    first: Millis,
    /// It was renewed so often after this: then less was heard.
    after: Millis,
    /// When anything was heard.
    last: Millis,
}

/// It is over, and not heard to be renewed since.
#[derive(Debug, Clone, Copy, Default)]
struct Over {
    /// How often it had been renewed by the first answer after that.
    from: Option<u64>,
}

impl Lease {
    /// The pod says how often its lease has been renewed. Whether it was since the pod said so before.
    pub(super) fn hear(&mut self, renewals: u64, now: Millis) -> bool {
        if let Some(over) = &mut self.over {
            let from = *over.from.get_or_insert(renewals);
            // One may have been under way before it ended, and be confirmed although the pod was dead by then.
            if renewals >= from + 2 {
                self.over = None;
            }
        }
        match &mut self.heard {
            Some(heard) if renewals > heard.renewals => {
                *heard = Heard {
                    renewals,
                    first: now,
                    after: heard.last,
                    last: now,
                };
                true
            }
            Some(heard) => {
                heard.last = now;
                false
            }
            None => {
                self.heard = Some(Heard {
                    renewals,
                    first: now,
                    after: now,
                    last: now,
                });
                false
            }
        }
    }

    /// The pod has said how often its lease was renewed, and that it was since it was last over.
    pub(super) fn is_believed(&self) -> bool {
        self.heard.is_some() && self.over.is_none()
    }

    /// It is valid: by what was heard it has been renewed that lately, or the pod was heard for the first time.
    pub(super) fn is_fresh(&self, now: Millis) -> bool {
        let heard = self.heard.filter(|_| self.over.is_none());
        heard.is_some_and(|heard| now.saturating_sub(heard.after) <= LEASE_MS)
    }

    /// Others' leases have been renewed, from when this one was last heard to be, until it had to be over for each of them.
    pub(super) fn is_outlived(&self, pulse: Pulse) -> bool {
        let first = self.heard.map_or(0, |heard| heard.first);
        self.over.is_none() && pulse.last >= first.max(pulse.since) + PATIENCE_MS
    }

    /// It is over.
    pub(super) fn end(&mut self) {
        self.over = Some(Over::default());
    }
}

/// When renewals of any pod's lease were heard of: the store works then.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pulse {
    /// From when on, without a break.
    since: Millis,
    last: Millis,
}

impl Pulse {
    /// A renewal was heard of.
    pub(super) fn beat(&mut self, now: Millis) {
        if now.saturating_sub(self.last) > PULSE_MS {
            self.since = now;
        }
        self.last = now;
    }
}
