//! How a pod comes by the shards where they are not shared: it observes the others, and the first of those alive claims.
//!
//! One pod takes all shards. Who is first is judged by each pod on what it has seen, so two can each have got a part. The
//! one that then sees that it is not first gives its part up, and the other's next claim gets it.

use super::membership::Members;
use super::pod::{Ask, State};
use super::{Effect, GIVEN_INTERVAL_MS, Member, Millis, SOLE_POD_SLOWDOWN, Sharing};
use crate::ids::Fence;

impl State {
    /// When the next call of [`State::plan_asking`] is due.
    pub(super) fn next_asking(&self) -> Option<Millis> {
        let observe = self.observes().then_some(self.observe_at);
        let count = self.counts().then_some(self.count_at);
        let next = [observe, count, self.read_at];
        next.into_iter().flatten().min()
    }

    /// Whether who owns how much is asked for, too.
    fn counts(&self) -> bool {
        self.observes() && self.settings.sharing == Sharing::Shared
    }

    /// Reads what is this pod's, or who is alive, if that is due and nothing of the kind is under way.
    pub(super) fn plan_asking(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if !self.observes() {
            // What was seen long ago says nothing about who is alive.
            self.observer = Default::default();
        }
        if self.asking.is_some() {
            return;
        }
        if self.read_at.is_some_and(|at| now >= at) {
            self.read_at = None;
            self.given_at = now + GIVEN_INTERVAL_MS;
            effects.push(Effect::ReadOwned(self.ask(Ask::ReadOwned)));
        } else if self.counts() && now >= self.count_at {
            self.count_later(now);
            effects.push(Effect::ObserveMembership(self.ask(Ask::Observe)));
        } else if self.observes() && now >= self.observe_at {
            self.observe_later(now);
            effects.push(Effect::Observe(self.ask(Ask::Observe)));
        }
    }

    fn observe_later(&mut self, now: Millis) {
        self.observe_at = now + self.settings.observation_interval_ms * self.slowdown();
    }

    /// The next time when who owns how much is asked for, if nothing happens before.
    pub(super) fn count_later(&mut self, now: Millis) {
        self.count_at = now + self.settings.membership_interval_ms * self.slowdown();
    }

    fn slowdown(&self) -> Millis {
        let has_all = self.counts() && self.wants() && self.holdings.is_complete();
        match has_all && self.observer.sees_only(self.me) {
            true => SOLE_POD_SLOWDOWN,
            false => 1,
        }
    }

    /// These pods are alive by the store. Declares those dead whose leases were not renewed for too long.
    pub(super) fn look(
        &mut self,
        alive: &[Member],
        now: Millis,
        effects: &mut Vec<Effect>,
    ) -> Members {
        let patience_ms = self.settings.patience_ms;
        let members = self.observer.look(self.me, alive, patience_ms, now);
        self.observe_later(now);
        let declares = self.settings.mechanisms.declares_dead();
        for &(pod, seen) in members.dead.iter().filter(|_| declares) {
            // One call at a time: while the store does not answer, they would pile up before it.
            if self.declaring.insert(pod) {
                effects.push(Effect::DeclareDead { pod, seen });
            }
        }
        members
    }

    /// These pods are alive by the store.
    pub(super) fn observed(&mut self, alive: &[Member], now: Millis, effects: &mut Vec<Effect>) {
        if !self.observes() {
            return;
        }
        let members = self.look(alive, now, effects);
        if self.counts() {
            if members.changed {
                self.count_at = now;
            }
        } else if members.is_first {
            if members.changed || now >= self.claim_at {
                let call = self.ask(Ask::Claim);
                let limit = self.settings.shards;
                effects.push(Effect::Claim { call, limit });
            }
        } else if !self.holdings.is_empty() {
            self.give_way(effects);
        } else if now >= self.claim_at {
            // A claim whose answer was lost may have been carried out since.
            self.claim_at = now + self.settings.claim_interval_ms;
            self.read_soon(now);
        }
    }

    /// Gives up the part that this pod has.
    fn give_way(&mut self, effects: &mut Vec<Effect>) {
        let fences: Vec<Fence> = self
            .held()
            .filter_map(|(shard, _)| self.fence(shard))
            .collect();
        if fences.is_empty() {
            return; // Those in doubt are settled first.
        }
        for fence in &fences {
            self.holdings.drop(fence.shard);
        }
        let call = self.ask(Ask::ReleaseShards);
        effects.push(Effect::ReleaseShards(call, fences));
    }
}
