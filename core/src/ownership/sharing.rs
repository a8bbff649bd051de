//! How a pod comes by its share of the shards, and gives away what is beyond it.
//!
//! It looks who is alive and who owns how much, plans what [`super::placement`] says, claims what is free, and hands over the
//! rest in two steps. First the process brings shards to rest, which it chooses; until then nothing changes for them. Then
//! their fences are taken back and the store makes another pod their owner. If nobody knows whether it did, the shards are
//! settled as after a commit of unknown fate: moved to a new epoch, in which the late hand-over moves nothing, or found to
//! be the other pod's.

use std::collections::BTreeMap;

use super::holdings::Hold;
use super::members::Membership;
use super::placement::Distribution;
use super::pod::{Ask, Prospect, State};
use super::{Call, Effect, Member, Millis, Reply, Unmovable};
use crate::ids::{Epoch, Fence, PodId, ShardId};

/// The shards on their way to other pods, by the calls with which they are.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaving {
    /// How many the process still brings to rest, for whom.
    quiescing: BTreeMap<Call, (PodId, u32)>,
    /// Those that the store is asked to move.
    moving: BTreeMap<Call, (PodId, Vec<Fence>)>,
}

impl Leaving {
    pub(super) fn fences(&self) -> impl Iterator<Item = Fence> {
        self.moving.values().flat_map(|(_, fences)| fences).copied()
    }

    fn is_empty(&self) -> bool {
        self.counts().next().is_none()
    }

    fn under_way(&self) -> u32 {
        self.counts().map(|(_, count)| count).sum()
    }

    /// How many go to whom.
    fn counts(&self) -> impl Iterator<Item = (PodId, u32)> {
        let moving = self.moving.values();
        let moving =
            moving.map(|(to, fences)| (*to, u32::try_from(fences.len()).unwrap_or(u32::MAX)));
        self.quiescing.values().copied().chain(moving)
    }
}

impl State {
    /// Who is alive and owns how much, by the store.
    pub(super) fn membership_observed(
        &mut self,
        membership: &Membership,
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        self.map_version = self.map_version.max(Some(membership.map_version));
        if !self.observes() {
            return;
        }
        let alive: Vec<Member> = membership.participants.iter().map(|it| it.member).collect();
        self.look(&alive, now, effects);
        self.count_later(now);
        let mut distribution = membership.distribution(self.settings.shards);
        let mine = distribution.pods.iter().find(|it| it.pod == self.me);
        let (stored, known) = (mine.map_or(0, |mine| mine.owns), self.holdings.count());
        // More than it knows of: others have handed shards over, or a claim whose answer was lost has taken them. Fewer: the store
        // has moved those that leave already, or something is wrong.
        if stored > known || (stored < known && self.leaving.is_empty()) {
            self.read_soon(now);
        }
        // What the others cannot see yet is no ground to act on: two that drain would give to each other.
        if mine.is_none_or(|mine| mine.wants != self.wants()) {
            self.count_at = self.count_at.min(self.observe_at);
            return;
        }
        self.correct(&mut distribution);
        let plan = distribution.plan(self.me, self.may_leave());
        self.prospect = Some(Prospect {
            owns: stored,
            distribution,
        });
        for (to, count) in plan.hand_over {
            self.quiesce(to, count, None, effects);
        }
        let limit = match self.is_free_for_long(membership.free, now) {
            true => membership.free,
            false => plan.claim,
        };
        if limit > 0 {
            let call = self.ask(Ask::Claim);
            effects.push(Effect::Claim { call, limit });
        }
    }

    fn quiesce(&mut self, to: PodId, count: u32, only: Option<ShardId>, effects: &mut Vec<Effect>) {
        let call = self.next_call();
        self.leaving.quiescing.insert(call, (to, count));
        effects.push(Effect::Quiesce {
            call,
            count,
            to,
            only,
        });
    }

    /// Whether a shard can be handed over to a pod because somebody wants that. Nobody's share is another one for it: whoever has one
    /// more than its share then gives another one back.
    ///
    /// # Errors
    /// Why it cannot be, as far as this pod sees.
    pub fn can_move(&self, shard: ShardId, to: PodId) -> Result<(), Unmovable> {
        if self.holdings.sure(shard).is_none() || !self.wants() {
            return Err(Unmovable::NotOwned);
        }
        let prospect = self.prospect.as_ref();
        let quotas = prospect.and_then(|it| it.distribution.quotas());
        let quota = quotas.iter().flatten().find(|it| it.pod == to);
        match quota {
            Some(quota) if quota.pod != self.me => match quota.shards {
                0 => Err(Unmovable::TakesNone),
                _ if self.room() > 0 => Ok(()),
                _ => Err(Unmovable::TooMany),
            },
            _ => Err(Unmovable::NoSuchPod),
        }
    }

    /// Somebody wants a shard to be another pod's.
    pub(super) fn move_shard(&mut self, shard: ShardId, to: PodId, effects: &mut Vec<Effect>) {
        if self.can_move(shard, to).is_ok() {
            self.quiesce(to, 1, Some(shard), effects);
        }
    }

    /// How many more shards may leave now, to even out what pods own.
    fn may_leave(&self) -> u32 {
        match self.settings.mechanisms.rebalances() || !self.wants() {
            true => self.room(),
            false => 0,
        }
    }

    /// How many more shards may be on their way.
    fn room(&self) -> u32 {
        let most = self.settings.max_shards_leaving;
        most.saturating_sub(self.leaving.under_way())
    }

    /// Whether nobody has taken what is free for so long that this pod does, whosever share it is.
    fn is_free_for_long(&mut self, free: u32, now: Millis) -> bool {
        if free == 0 || !self.wants() {
            self.free_since = None;
            return false;
        }
        let since = *self.free_since.get_or_insert(now);
        now - since >= self.settings.claim_interval_ms
    }

    /// Puts what this pod knows better in the place of what the store had: its own shards, and those that it is giving away already.
    fn correct(&self, seen: &mut Distribution) {
        if !self.settings.mechanisms.corrects_counts() {
            return;
        }
        let mut owns = self.holdings.count();
        for (to, count) in self.leaving.counts() {
            if let Some(standing) = seen.pods.iter_mut().find(|it| it.pod == to) {
                standing.owns += count;
            }
            owns = owns.saturating_sub(count);
        }
        if let Some(mine) = seen.pods.iter_mut().find(|it| it.pod == self.me) {
            mine.owns = owns;
        }
    }

    /// The process has brought these shards to rest: they are handed over, but for those that are in doubt.
    pub(super) fn quiesced(&mut self, call: Call, shards: &[ShardId], effects: &mut Vec<Effect>) {
        let Some((to, left)) = self.leaving.quiescing.get_mut(&call) else {
            return;
        };
        let count = shards.len().min(*left as usize);
        *left -= u32::try_from(count).unwrap_or(*left);
        let (to, mut fences) = (*to, vec![]);
        for &shard in &shards[..count] {
            if let Some(epoch) = self.holdings.leave(shard) {
                fences.push(self.fence_of(shard, epoch));
            }
        }
        if !fences.is_empty() {
            let call = self.next_call();
            self.leaving.moving.insert(call, (to, fences.clone()));
            effects.push(Effect::HandOver(call, fences, to));
        }
    }

    /// No more of these are brought to rest.
    pub(super) fn quiescence_over(&mut self, call: Call) {
        self.leaving.quiescing.remove(&call);
    }

    /// Perhaps something has become this pod's.
    pub(super) fn given(&mut self, now: Millis) {
        self.read_soon(now.max(self.given_at));
    }

    /// These shards have moved, or nobody knows.
    pub(super) fn handed_over(
        &mut self,
        call: Call,
        reply: Reply<Vec<(ShardId, Epoch)>>,
        now: Millis,
    ) {
        let Some((_, fences)) = self.leaving.moving.remove(&call) else {
            return;
        };
        let has_room = self.leaving.under_way() <= self.settings.max_shards_leaving / 2;
        if has_room && reply.as_ref().is_ok_and(|moved| !moved.is_empty()) {
            // There may be more to hand over.
            self.count_at = now;
        }
        // What was read before may not know of it.
        self.disturbed = true;
        for Fence { shard, epoch, .. } in fences {
            let has_moved = |moved: &Vec<(ShardId, Epoch)>| moved.iter().any(|it| it.0 == shard);
            match reply.as_ref().map(has_moved) {
                Ok(true) if self.holdings.is_leaving(shard, epoch) => self.holdings.drop(shard),
                Ok(true) => {}
                // The target is dead. Were the fence no longer good, the next commit would tell.
                Ok(false) => self.holdings.stay(shard, epoch),
                Err(_) if self.settings.mechanisms.settles_hand_overs() => {
                    self.holdings.doubt(shard, epoch, Hold::Unsettled);
                }
                Err(_) => self.holdings.stay(shard, epoch),
            }
        }
    }
}
