//! Who of the pods is alive, and whose turn it is to claim.
//!
//! With each renewal of its lease a pod writes a number that it never wrote before, so an observer that sees the same number
//! for longer than a lease knows that none was confirmed in between. That needs two things of the store: a number that somebody
//! has seen is not forgotten, or else is not written again, and a renewal that was confirmed is not forgotten. No two
//! machines' clocks are compared.

use std::collections::BTreeMap;

use super::{MAX_OBSERVATION_GAP_MS, Member, Millis};
use crate::ids::PodId;

/// What one look at the leases says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Members {
    /// Pods to declare dead, each with the number that did not change.
    pub(super) dead: Vec<(PodId, u64)>,
    /// Whether this pod comes first among those alive that want shards. Pods that see the same pods alive agree on who that is. Two that do
    /// not may each claim a part; then the one that is not first gives its part up.
    pub(super) is_first: bool,
    /// Whether somebody came or went, or wants shards or no longer, since the last look.
    pub(super) changed: bool,
}

/// Remembers when each pod's number last changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Observer {
    seen: BTreeMap<PodId, Seen>,
    looked: Option<Millis>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    member: Member,
    since: Millis,
}

impl Observer {
    /// Takes the pods that are alive by the store, `me` among them, as read before `now`. A number that was unchanged for
    /// `patience_ms` is death; of the time since the last look, [`MAX_OBSERVATION_GAP_MS`] counts at most.
    pub(super) fn look(
        &mut self,
        me: PodId,
        alive: &[Member],
        patience_ms: Millis,
        now: Millis,
    ) -> Members {
        let before: Vec<(PodId, bool)> = self.wishes().collect();
        let gap = self.looked.map_or(0, |looked| now.saturating_sub(looked));
        let uncounted = gap.saturating_sub(MAX_OBSERVATION_GAP_MS);
        self.looked = Some(now);
        let seen = alive.iter().map(|&member| {
            let known = self.seen.get(&member.pod);
            let same = known.filter(|known| known.member.renewed == member.renewed);
            let since = same.map_or(now, |known| known.since + uncounted);
            (member.pod, Seen { member, since })
        });
        self.seen = seen.collect();
        let dead = self
            .seen
            .iter()
            .filter(|(pod, seen)| **pod != me && now.saturating_sub(seen.since) >= patience_ms)
            .map(|(pod, seen)| (*pod, seen.member.renewed));
        Members {
            dead: dead.collect(),
            is_first: self
                .wishes()
                .find(|(pod, wants)| *wants || *pod == me)
                .is_some_and(|(first, _)| first == me),
            changed: !before.into_iter().eq(self.wishes()),
        }
    }

    /// Whether the last look has seen `me`, and nobody else.
    pub(super) fn sees_only(&self, me: PodId) -> bool {
        self.seen.len() == 1 && self.seen.contains_key(&me)
    }

    /// Who is alive, in their order, and whether they want shards.
    fn wishes(&self) -> impl Iterator<Item = (PodId, bool)> {
        self.seen
            .iter()
            .map(|(pod, seen)| (*pod, seen.member.wants))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: PodId = PodId(1);
    const B: PodId = PodId(2);

    fn wanting((pod, renewed): (PodId, u64)) -> Member {
        Member {
            pod,
            renewed,
            wants: true,
        }
    }

    fn look(observer: &mut Observer, me: PodId, alive: &[(PodId, u64)], now: Millis) -> Members {
        let alive: Vec<Member> = alive.iter().copied().map(wanting).collect();
        observer.look(me, &alive, 3_000, now)
    }

    #[test]
    fn an_unchanged_number_is_death_once_patience_ends_and_not_before() {
        let mut observer = Observer::default();
        let mut dead = |b, now| look(&mut observer, A, &[(A, 0), (B, b)], now).dead;
        for now in (100..3_100).step_by(100) {
            assert_eq!(dead(7, now), []);
        }
        assert_eq!(dead(7, 3_099), []);
        assert_eq!(dead(7, 3_100), [(B, 7)]);
        assert_eq!(dead(8, 3_200), []);
    }

    #[test]
    fn whoever_reaches_the_store_first_leaves_the_others_time_to_renew() {
        let mut observer = Observer::default();
        let mut dead = |b, now| look(&mut observer, A, &[(A, 0), (B, b)], now).dead;
        assert_eq!(dead(7, 0), []);
        assert_eq!(dead(7, 500), []);
        // Nobody could ask the store. Of these nine seconds one counts.
        assert_eq!(dead(7, 9_500), []);
        assert_eq!(dead(7, 10_499), []);
        // Whoever is dead has died all the same, also where looks are far apart.
        assert_eq!(dead(7, 11_000), [(B, 7)]);
    }

    #[test]
    fn a_number_that_steps_back_is_a_sign_of_life() {
        // Something that is behind has taken the database's place.
        let mut observer = Observer::default();
        look(&mut observer, A, &[(A, 0), (B, 7)], 0);
        let members = look(&mut observer, A, &[(A, 0), (B, 5)], 4_000);
        assert_eq!(members.dead, []);
    }

    #[test]
    fn comings_and_goings_are_changes_renewals_are_not() {
        let mut observer = Observer::default();
        assert!(look(&mut observer, B, &[(A, 0), (B, 0)], 0).changed);
        let members = look(&mut observer, B, &[(A, 1), (B, 1)], 1);
        assert!(!members.changed && !members.is_first);
        let members = look(&mut observer, B, &[(B, 2)], 2);
        assert!(members.changed && members.is_first);
    }

    #[test]
    fn who_wants_no_shards_is_not_first() {
        let mut observer = Observer::default();
        let wants = |wants| {
            [
                Member {
                    wants,
                    ..wanting((A, 0))
                },
                wanting((B, 0)),
            ]
        };
        assert!(observer.look(B, &wants(false), 3_000, 0).is_first);
        let members = observer.look(B, &wants(true), 3_000, 1);
        assert!(!members.is_first && members.changed);
        let members = observer.look(B, &wants(false), 3_000, 2);
        assert!(members.is_first && members.changed);
        // What it wants itself, it knows.
        assert!(
            Observer::default()
                .look(A, &wants(false), 3_000, 0)
                .is_first
        );
        observer.look(B, &wants(false), 1_000, 1_000);
        assert!(
            !observer
                .look(B, &wants(false), 1_000, 2_000)
                .dead
                .is_empty()
        );
    }

    proptest! {
        /// Whatever each of them has seen before, pods that see the same pods alive agree on who is first.
        #[test]
        fn exactly_one_is_first(pods in prop::collection::btree_set(any::<u128>(), 1..8), earlier in any::<u8>()) {
            let alive: Vec<_> = pods.iter().map(|pod| (PodId(*pod), 0)).collect();
            let first = alive.iter().filter(|(me, _)| {
                let mut observer = Observer::default();
                look(&mut observer, *me, &alive[..usize::from(earlier) % alive.len()], 0);
                look(&mut observer, *me, &alive, 1).is_first
            });
            prop_assert_eq!(first.count(), 1);
        }
    }
}
