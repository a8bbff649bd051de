//! Who of the pods of an application is alive, and whose turn it is to take what a dead one had.
//!
//! A pod's lease is a number that it raises; an observer that sees the same number for a whole lease knows that the pod's
//! own clock has told it the same. No two machines' clocks are compared.

use std::collections::BTreeMap;

use crate::ids::PodId;

/// What one look at the leases says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Pods to declare dead, each with the number that did not change.
    pub dead: Vec<(PodId, u64)>,
    /// Whether this pod comes first among those alive. One pod takes all shards; were two to try at once, each could
    /// get a part and wait for the other's for ever.
    pub is_first: bool,
    /// Whether somebody came or went since the last look.
    pub changed: bool,
}

/// Remembers when each pod's number last changed.
#[derive(Debug)]
pub struct Observer {
    me: PodId,
    lease_ms: u64,
    seen: BTreeMap<PodId, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    renewals: u64,
    since_ms: u64,
}

impl Observer {
    /// Observes for `me`; a number unchanged for `lease_ms` milliseconds is death.
    #[must_use]
    pub fn new(me: PodId, lease_ms: u64) -> Self {
        Self {
            me,
            lease_ms,
            seen: BTreeMap::new(),
        }
    }

    /// Takes the pods that are alive by the store, this one among them, at `now_ms` of a clock that never steps back.
    pub fn look(&mut self, alive: &[(PodId, u64)], now_ms: u64) -> Look {
        let before: Vec<PodId> = self.seen.keys().copied().collect();
        let seen = alive.iter().map(|&(pod, renewals)| {
            let known = self.seen.get(&pod).copied();
            let same = known.filter(|known| known.renewals == renewals);
            let fresh = Seen {
                renewals,
                since_ms: now_ms,
            };
            (pod, same.unwrap_or(fresh))
        });
        self.seen = seen.collect();
        let dead = self
            .seen
            .iter()
            .filter(|(pod, seen)| {
                **pod != self.me && now_ms.saturating_sub(seen.since_ms) >= self.lease_ms
            })
            .map(|(pod, seen)| (*pod, seen.renewals));
        Look {
            dead: dead.collect(),
            is_first: self.seen.keys().next() == Some(&self.me),
            changed: !before.iter().eq(self.seen.keys()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: PodId = PodId(1);
    const B: PodId = PodId(2);

    #[test]
    fn an_unchanged_number_is_death_after_a_lease_and_not_before() {
        let mut observer = Observer::new(A, 3_000);
        assert!(observer.look(&[(A, 0), (B, 7)], 100).dead.is_empty());
        assert!(observer.look(&[(A, 0), (B, 7)], 3_099).dead.is_empty());
        assert_eq!(observer.look(&[(A, 0), (B, 7)], 3_100).dead, [(B, 7)]);
        assert!(observer.look(&[(A, 0), (B, 8)], 3_200).dead.is_empty());
    }

    #[test]
    fn a_number_that_steps_back_is_a_sign_of_life() {
        // A database that crashes forgets the last renewals.
        let mut observer = Observer::new(A, 3_000);
        observer.look(&[(A, 0), (B, 7)], 0);
        assert!(observer.look(&[(A, 0), (B, 5)], 4_000).dead.is_empty());
    }

    #[test]
    fn comings_and_goings_are_changes_renewals_are_not() {
        let mut observer = Observer::new(B, 3_000);
        assert!(observer.look(&[(A, 0), (B, 0)], 0).changed);
        let look = observer.look(&[(A, 1), (B, 1)], 1);
        assert!(!look.changed && !look.is_first);
        let look = observer.look(&[(B, 2)], 2);
        assert!(look.changed && look.is_first);
    }

    proptest! {
        /// Whatever each of them has seen before, pods that see the same pods alive agree on who is first.
        #[test]
        fn exactly_one_is_first(pods in prop::collection::btree_set(any::<u128>(), 1..8), earlier in any::<u8>()) {
            let alive: Vec<_> = pods.iter().map(|pod| (PodId(*pod), 0)).collect();
            let first = alive.iter().filter(|(me, _)| {
                let mut observer = Observer::new(*me, 3_000);
                observer.look(&alive[..usize::from(earlier) % alive.len()], 0);
                observer.look(&alive, 1).is_first
            });
            prop_assert_eq!(first.count(), 1);
        }
    }
}
