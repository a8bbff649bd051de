//! How the shards of an application are spread over its pods: what each pod does next, from what it sees of all.
//!
//! Nobody is in charge. Every pod lays the same two lines side by side: the shards that must find an owner, and the places
//! that are left for them. Pods that see the same make the same of it, so no two of them fill one place. One that sees an
//! older state may fill it, too. But a pod gives only what it has above its own quota, so that no new gap comes of it, and
//! once all have seen the same no shard moves twice.

#[cfg(test)]
mod tests;

use super::members::Revision;
use crate::ids::PodId;

/// What decides about one live pod's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Who.
    pub pod: PodId,
    /// What it runs. One that does not say is older than all others.
    pub revision: Option<Revision>,
    /// Whether it takes shards: one that still tries its code out, or that drains, does not.
    pub wants: bool,
    /// How many shards it owns.
    pub owns: u32,
}

/// Who has how many shards, as one pod sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// How many shards the application has.
    pub shards: u32,
    /// How many of them no live pod owns.
    pub free: u32,
    /// The live pods, in any order.
    pub pods: Vec<Standing>,
}

/// What one pod does next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// How many free shards it claims, at most.
    pub claim: u32,
    /// How many shards it hands over to whom: in the order of pods, each of them once and with one shard at least.
    pub hand_over: Vec<(PodId, u32)>,
}

/// How many shards a pod is to own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Who.
    pub pod: PodId,
    /// How many.
    pub shards: u32,
    owns: u32,
}

impl Quota {
    fn excess(&self) -> u32 {
        self.owns.saturating_sub(self.shards)
    }

    fn gap(&self) -> u32 {
        self.shards.saturating_sub(self.owns)
    }
}

impl Distribution {
    /// How many shards each pod is to own, in the order of pods. Those share all shards that want some and are of the newest
    /// revision among these; the first ones have one more if it does not come out even. All others have none. There are no
    /// quotas if nobody wants shards: then everything stays where it is.
    ///
    /// When a pod comes, no other one's quota grows, and when it goes, none shrinks: only its own share moves.
    #[must_use]
    pub fn quotas(&self) -> Option<Vec<Quota>> {
        let newest = self.wanting().map(|it| it.revision).max()?;
        let mut serving: Vec<PodId> = self
            .wanting()
            .filter(|it| it.revision == newest)
            .map(|it| it.pod)
            .collect();
        serving.sort_unstable();
        let share = |pod: &PodId| match serving.binary_search(pod) {
            // The first ones are those whose place is below the rest of the division.
            Ok(place) => (self.shards as usize + serving.len() - 1 - place) / serving.len(),
            Err(_) => 0,
        };
        let mut quotas: Vec<Quota> = self
            .pods
            .iter()
            .map(|it| Quota {
                pod: it.pod,
                shards: u32::try_from(share(&it.pod)).unwrap_or(self.shards),
                owns: it.owns,
            })
            .collect();
        quotas.sort_unstable_by_key(|it| it.pod);
        Some(quotas)
    }

    /// Whether a pod other than `me` wants shards.
    #[must_use]
    pub fn is_wanted_beside(&self, me: PodId) -> bool {
        self.wanting().any(|it| it.pod != me)
    }

    fn wanting(&self) -> impl Iterator<Item = &Standing> {
        self.pods.iter().filter(|it| it.wants)
    }

    /// What `me`, one of the pods, does next. It hands over `at_most` shards.
    ///
    /// Free shards fill gaps first, and what pods own above their quotas fills the gaps that are left, both in the order of
    /// pods. Nothing is to be done once every pod has its quota.
    #[must_use]
    pub fn plan(&self, me: PodId, at_most: u32) -> Plan {
        let Some(quotas) = self.quotas() else {
            return Plan::default();
        };
        let gaps = line_up(0, quotas.iter().map(|it| (it.pod, it.gap())));
        let excesses = line_up(self.free, quotas.iter().map(|it| (it.pod, it.excess())));
        let free = Stretch {
            from: 0,
            to: self.free,
        };
        let mine = excesses.iter().find(|(pod, _)| *pod == me);

        let mut plan = Plan::default();
        let mut left = at_most;
        for (pod, gap) in gaps {
            if pod == me {
                plan.claim = gap.common(free);
            }
            let given = mine.map_or(0, |(_, excess)| gap.common(*excess).min(left));
            if given > 0 {
                left -= given;
                plan.hand_over.push((pod, given));
            }
        }
        plan
    }
}

/// A part of a line.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: u32,
    to: u32,
}

impl Stretch {
    /// How much of it lies beside the other.
    fn common(self, other: Self) -> u32 {
        let end = self.to.min(other.to);
        end.saturating_sub(self.from.max(other.from))
    }
}

/// Lays lengths one behind the other, from a place on.
fn line_up(from: u32, lengths: impl Iterator<Item = (PodId, u32)>) -> Vec<(PodId, Stretch)> {
    let lined_up = lengths.scan(from, |end, (pod, length)| {
        let from = *end;
        *end += length;
        Some((pod, Stretch { from, to: *end }))
    });
    lined_up.collect()
}
