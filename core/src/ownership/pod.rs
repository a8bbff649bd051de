//! One pod's share of the ownership: what it knows, and what it does next.

use std::collections::{BTreeMap, BTreeSet};

use super::holdings::{Hold, Holdings, WentBack};
use super::lease::Lease;
use super::members::MapVersion;
use super::membership::Observer;
use super::placement::Distribution;
use super::sharing::Leaving;
use super::{
    Call, Effect, Ended, Event, MAX_ADVANCES_IN_FLIGHT, Millis, Reply, Role, Settings, Sharing,
    invariants,
};
use crate::ids::{Epoch, Fence, PodId, ShardId};

/// What one pod knows.
///
/// Guarantees, whatever happens to the calls it asks for: the fences it gives are of epochs that the store has given to
/// this pod alone; it gives none of an epoch in which a commit of unknown fate may still happen, nor of one in which it hands
/// the shard over; it is active only while its lease is valid and it owns every shard, if they are not shared; and once it
/// is over it stays so. [`invariants`] has these as predicates.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) me: PodId,
    pub(super) settings: Settings,
    phase: Phase,
    wanted: bool,
    /// While every shard is held: the term in which that began.
    term: Option<u64>,
    role: Role,
    pub(super) lease: Lease,
    pub(super) holdings: Holdings,
    calls: Call,
    advances: BTreeMap<ShardId, Call>,
    /// After a failure, no advance is sent before this time.
    advance_after: Millis,
    /// Fences under which a commit's fate is waited for.
    waiting: BTreeSet<(ShardId, Epoch)>,
    /// The one call under way that concerns members or many shards.
    pub(super) asking: Option<(Call, Ask)>,
    /// Whether what is known of the shards has changed since that call was sent.
    pub(super) disturbed: bool,
    /// What this pod owns is to be read at this time.
    pub(super) read_at: Option<Millis>,
    /// Not before this time because others say that they have given something.
    pub(super) given_at: Millis,
    pub(super) observer: Observer,
    /// Whom this pod is declaring dead.
    pub(super) declaring: BTreeSet<PodId>,
    pub(super) observe_at: Millis,
    /// When who owns how much is asked for, where shards are shared.
    pub(super) count_at: Millis,
    pub(super) claim_at: Millis,
    /// The shards that are on their way to other pods.
    pub(super) leaving: Leaving,
    /// Since when every look has found free shards, where they are shared.
    pub(super) free_since: Option<Millis>,
    /// What the store had when it knew what this pod wants; nothing as long as that was not seen.
    pub(super) prospect: Option<Prospect>,
    /// The newest version of the shard map that was seen.
    pub(super) map_version: Option<MapVersion>,
    wake_at: Option<Millis>,
    released: Option<Reply<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Draining,
    Over(Ended),
}

/// What a pod has seen in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prospect {
    /// How many shards it owns there.
    pub owns: u32,
    /// Who owns how much, with what this pod knows better.
    pub distribution: Distribution,
}

/// Of these calls one is under way at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Observe,
    Claim,
    ReadOwned,
    ReleaseShards,
}

impl State {
    /// A pod whose registration was sent at `registered` and has succeeded. It owns nothing yet. Send it
    /// [`Event::Woken`] once, to learn when its lease is to be renewed.
    #[must_use]
    pub fn new(me: PodId, settings: Settings, registered: Millis) -> Self {
        Self {
            me,
            settings,
            phase: Phase::Waiting,
            wanted: false,
            term: None,
            role: Role::Standby,
            lease: Lease::new(&settings, registered),
            holdings: Holdings::new(settings.shards),
            calls: 0,
            advances: BTreeMap::new(),
            advance_after: 0,
            waiting: BTreeSet::new(),
            asking: None,
            disturbed: false,
            read_at: None,
            given_at: registered,
            observer: Observer::default(),
            declaring: BTreeSet::new(),
            observe_at: registered,
            count_at: registered,
            claim_at: registered,
            leaving: Leaving::default(),
            free_since: None,
            prospect: None,
            map_version: None,
            wake_at: None,
            released: None,
        }
    }

    /// Who this is.
    #[must_use]
    pub fn pod(&self) -> PodId {
        self.me
    }

    /// What the process may do, as of the last step.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The lease expires at this time, by the clock of the steps.
    #[must_use]
    pub fn lease_valid_until(&self) -> Millis {
        self.lease.valid_until()
    }

    /// How often the store has renewed the lease. One renewal is under way at a time: of any two that come after some moment,
    /// the second was carried out after it.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.lease.renewals()
    }

    /// Why the pod has ended for good, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        match self.phase {
            Phase::Over(why) => Some(why),
            Phase::Waiting | Phase::Draining => None,
        }
    }

    /// What became of [`Effect::Release`], once that is known.
    #[must_use]
    pub fn released(&self) -> Option<Reply<()>> {
        self.released
    }

    /// The right to write a shard. None if it is not this pod's, or while that is in doubt.
    #[must_use]
    pub fn fence(&self, shard: ShardId) -> Option<Fence> {
        self.ended().is_none().then_some(())?;
        let epoch = self.holdings.sure(shard);
        let epoch = epoch.or_else(|| self.not_taken_back(shard))?;
        Some(self.fence_of(shard, epoch))
    }

    /// The epoch of a shard that leaves, and whose fence is not taken back for that.
    fn not_taken_back(&self, shard: ShardId) -> Option<Epoch> {
        let is_given = !self.settings.mechanisms.takes_fences_back();
        let leaves = is_given && self.holdings.hold(shard) == Hold::Leaving;
        leaves.then(|| self.holdings.epoch(shard)).flatten()
    }

    /// Whether what was loaded under this fence may live on: it is the one that is given. If it is not, nothing that is
    /// written under it is accepted any more, even where that is still to be settled: the shard is another pod's, or moves to
    /// another epoch.
    #[must_use]
    pub fn still_holds(&self, fence: Fence) -> bool {
        self.fence(fence.shard) == Some(fence)
    }

    /// Whether the shard is this pod's, or may be, but in no epoch in which it may be written now.
    #[must_use]
    pub fn is_in_doubt(&self, shard: ShardId) -> bool {
        self.ended().is_none()
            && matches!(
                self.holdings.hold(shard),
                Hold::Leaving | Hold::Unsettled | Hold::Refused
            )
    }

    /// The shards that are this pod's as far as it knows, with their epochs, those in doubt included.
    pub fn held(&self) -> impl Iterator<Item = (ShardId, Epoch)> {
        self.holdings.all()
    }

    /// The epoch in which this pod has a shard, as far as it knows, also while that is in doubt.
    #[must_use]
    pub fn epoch(&self, shard: ShardId) -> Option<Epoch> {
        self.holdings.epoch(shard)
    }

    /// The fences of the shards that are being handed over to another pod, as of when that began.
    pub fn leaving(&self) -> impl Iterator<Item = Fence> {
        self.leaving.fences()
    }

    /// Whether a pod that drains, and shares the shards, has nothing left to hand over: it has none, or nobody else wants any, as
    /// the store had it when it knew that this pod wants none. What was seen before tells nothing of who has come since, nor
    /// of what others have given this pod.
    #[must_use]
    pub fn has_handed_over(&self) -> bool {
        let has_given_all = |it: &Prospect| it.owns == 0 && self.holdings.is_empty();
        let has_ended = self.ended().is_some() || !self.wanted;
        has_ended
            || self
                .prospect
                .as_ref()
                .is_some_and(|it| !it.distribution.is_wanted_beside(self.me) || has_given_all(it))
    }

    /// The newest version of the shard map that this pod has seen, where shards are shared: whoever knows an older one may ask
    /// for what has changed.
    #[must_use]
    pub fn map_version(&self) -> Option<MapVersion> {
        self.map_version
    }

    /// Whether every shard is held.
    #[must_use]
    pub fn owns_all(&self) -> bool {
        self.holdings.is_complete()
    }

    /// Changes whenever the answer of [`State::fence`] does for any shard.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.holdings.revision()
    }

    /// Whether a load under a fence that is given from now on tells the fate of commits under this one.
    #[must_use]
    pub fn is_settled(&self, fence: Fence) -> bool {
        !self.settings.mechanisms.settles_before_load()
            || self.ended().is_some()
            || fence.pod != self.me
            || self
                .holdings
                .epoch(fence.shard)
                .is_none_or(|epoch| epoch > fence.epoch)
    }

    /// Takes an event that happened at `now` and says what is to be done.
    pub fn step(&mut self, event: Event, now: Millis) -> Vec<Effect> {
        let mut effects = vec![];
        self.take(event, now, &mut effects);
        self.update_role(now);
        self.plan(now, &mut effects);
        self.answer(&mut effects);
        self.set_waking(now, &mut effects);
        debug_assert_eq!(invariants::holds_in(self, now), Ok(()));
        effects
    }

    fn take(&mut self, event: Event, now: Millis, effects: &mut Vec<Effect>) {
        match event {
            Event::Woken => self.wake_at = None,
            Event::Wanted => {
                self.wanted = true;
                self.lease.hurry(now);
            }
            Event::Renewed(call, reply) => {
                let expired = self.lease.valid_until();
                if !self.lease.renewed(call, reply, now) {
                    self.end(Ended::DeclaredDead);
                } else if self.lease.valid_until() > expired && self.ended().is_none() {
                    effects.push(Effect::LeaseExtended { expired });
                }
            }
            Event::Observed(call, reply) => {
                let in_order = self.answered(call, Ask::Observe);
                if in_order && let Ok(alive) = reply {
                    self.observed(&alive, now, effects);
                }
            }
            Event::MembershipObserved(call, reply) => {
                let in_order = self.answered(call, Ask::Observe);
                if in_order && let Ok(membership) = reply {
                    self.membership_observed(&membership, now, effects);
                }
            }
            Event::Quiesced(call, shards) => self.quiesced(call, &shards, effects),
            Event::QuiescenceOver(call) => self.quiescence_over(call),
            Event::HandedOver(call, reply) => self.handed_over(call, reply, now),
            Event::Move(shard, to) => self.move_shard(shard, to, effects),
            Event::Given => self.given(now),
            Event::DeclaredDead(pod, dead) => {
                self.declaring.remove(&pod);
                if dead == Ok(true) {
                    self.observe_at = now;
                    self.count_at = now;
                    self.claim_at = now;
                }
            }
            Event::Claimed(call, reply) => self.claimed(call, reply, now),
            Event::Owned(call, reply) => self.owned(call, reply, now),
            Event::ShardsReleased(call, reply) => {
                // A release that may have failed left shards that only a reading finds.
                if self.answered(call, Ask::ReleaseShards) && reply.is_err() {
                    self.read_soon(now);
                }
            }
            Event::Advanced(call, fence, reply) => self.advanced(call, fence, reply, now),
            Event::Refused(fence) => self.refused(fence, now),
            Event::CommitFateUnknown(fence) => self.fate_unknown(fence, effects),
            Event::Drain => {
                if self.phase == Phase::Waiting {
                    self.phase = Phase::Draining;
                    self.lease.hurry(now);
                    // One that was alone has not looked for long: whoever is to have its shards may have come since.
                    (self.count_at, self.observe_at) = (now, now);
                    if self.settings.mechanisms.looks_before_end() {
                        self.prospect = None;
                    }
                }
            }
            Event::Release => {
                self.end(Ended::Released);
                effects.push(Effect::Release);
            }
            Event::Released(reply) => self.released = Some(reply),
            Event::End => self.end(Ended::Released),
        }
    }

    fn end(&mut self, why: Ended) {
        if self.ended().is_none() {
            self.phase = Phase::Over(why);
            self.holdings.drop_all();
            self.leaving = Leaving::default();
        }
    }

    pub(super) fn fence_of(&self, shard: ShardId, epoch: Epoch) -> Fence {
        Fence {
            pod: self.me,
            shard,
            epoch,
        }
    }

    /// Whether a result is that of the call under way, which is then over. Other results are late, or come twice.
    fn answered(&mut self, call: Call, ask: Ask) -> bool {
        let in_order = self.asking == Some((call, ask));
        if in_order {
            self.asking = None;
        }
        in_order
    }

    pub(super) fn ask(&mut self, ask: Ask) -> Call {
        let call = self.next_call();
        self.asking = Some((call, ask));
        self.disturbed = false;
        call
    }

    pub(super) fn next_call(&mut self) -> Call {
        self.calls += 1;
        self.calls
    }

    pub(super) fn read_soon(&mut self, now: Millis) {
        self.read_at = Some(self.read_at.map_or(now, |at| at.min(now)));
    }

    /// Takes what the store said at some time. It is true of then, and epochs only grow: nothing known is undone by it.
    fn learn(&mut self, owned: &[(ShardId, Epoch)]) {
        if self.ended().is_some() {
            return;
        }
        for &(shard, epoch) in owned {
            self.disturbed |= self.holdings.learn(shard, epoch);
        }
    }

    fn went_back(&mut self, result: Result<(), WentBack>) {
        if result == Err(WentBack) {
            self.end(Ended::StoreWentBack);
        }
    }

    fn claimed(&mut self, call: Call, reply: Reply<Vec<(ShardId, Epoch)>>, now: Millis) {
        let in_order = self.answered(call, Ask::Claim);
        let got_some = reply.as_ref().is_ok_and(|claimed| !claimed.is_empty());
        if let Ok(claimed) = reply {
            if in_order && !self.disturbed && self.ended().is_none() {
                let result = self.holdings.claimed(&claimed);
                self.went_back(result);
            } else {
                self.learn(&claimed);
            }
        }
        if in_order && got_some {
            // Shards whose old owner was writing are passed over: they are asked for again at once.
            self.claim_at = now;
        } else if in_order {
            self.claim_at = now + self.settings.claim_interval_ms;
            // An earlier claim, whose answer was lost, may have taken what this one did not find.
            if !self.holdings.is_complete() {
                self.read_soon(now);
            }
        }
    }

    fn owned(&mut self, call: Call, reply: Reply<Vec<(ShardId, Epoch)>>, now: Millis) {
        let in_order = self.answered(call, Ask::ReadOwned);
        let was_complete = self.holdings.is_complete();
        match reply {
            Ok(owned) if in_order && !self.disturbed && self.ended().is_none() => {
                let result = self.holdings.read(&owned);
                self.went_back(result);
            }
            Ok(owned) => {
                self.learn(&owned);
                if in_order {
                    self.read_soon(now);
                }
            }
            Err(_) if in_order => self.read_soon(now + self.settings.retry_interval_ms),
            Err(_) => {}
        }
        if was_complete && !self.holdings.is_complete() {
            // But for hand-overs, only the death of this pod lets others take its shards.
            self.lease.hurry(now);
        }
    }

    fn advanced(&mut self, call: Call, fence: Fence, reply: Reply<Option<Epoch>>, now: Millis) {
        let in_order = self.advances.get(&fence.shard) == Some(&call);
        if in_order {
            self.advances.remove(&fence.shard);
        }
        match reply {
            Ok(Some(epoch)) => self.learn(&[(fence.shard, epoch)]),
            // Somebody has moved it: another pod, or an advance of this one whose answer was lost or is still to come.
            Ok(None) => self.refused(fence, now),
            Err(_) => self.advance_after = now + self.settings.retry_interval_ms,
        }
    }

    fn refused(&mut self, fence: Fence, now: Millis) {
        let is_news =
            fence.pod == self.me && self.holdings.doubt(fence.shard, fence.epoch, Hold::Refused);
        if is_news {
            self.disturbed = true;
            self.read_soon(now);
        }
    }

    fn fate_unknown(&mut self, fence: Fence, effects: &mut Vec<Effect>) {
        if self.is_settled(fence) {
            effects.push(Effect::Settled(fence));
            return;
        }
        self.waiting.insert((fence.shard, fence.epoch));
        let doubt = Hold::Unsettled;
        self.disturbed |= self.holdings.doubt(fence.shard, fence.epoch, doubt);
    }

    fn update_role(&mut self, now: Millis) {
        if self.settings.sharing == Sharing::Shared {
            self.term = Some(0);
        } else if !self.holdings.is_complete() {
            self.term = None;
        } else if self.term.is_none() {
            self.term = self.holdings.all().map(|(_, epoch)| epoch.0).max();
        }
        self.role = match (self.phase, self.term) {
            (Phase::Over(_), _) => Role::Over,
            (Phase::Draining, _) => Role::Draining,
            (Phase::Waiting, Some(term)) if self.wanted && now < self.lease.valid_until() => {
                Role::Active { term }
            }
            (Phase::Waiting, _) => Role::Standby,
        };
    }

    /// Whether shards are wanted: what others are told with each renewal.
    pub(super) fn wants(&self) -> bool {
        self.wanted && self.phase == Phase::Waiting
    }

    /// Whether the others are observed: while shards are wanted and missing; if they are shared, for as long as there may be
    /// something to take or to hand over, a claim of which nobody knows whether it is still to come included.
    pub(super) fn observes(&self) -> bool {
        match self.settings.sharing {
            Sharing::Alone => self.wants() && !self.holdings.is_complete(),
            Sharing::Shared => self.wanted && self.ended().is_none(),
        }
    }

    /// Sends what is due.
    fn plan(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.ended().is_some() {
            return;
        }
        if self.lease.next().is_some_and(|next| now >= next) {
            self.calls += 1;
            self.lease.sent(self.calls, now);
            effects.push(Effect::Renew {
                call: self.calls,
                wants: self.wants(),
            });
        }
        if now >= self.advance_after {
            while let Some(fence) = self.next_to_advance() {
                self.calls += 1;
                self.advances.insert(fence.shard, self.calls);
                effects.push(Effect::Advance(self.calls, fence));
            }
        }
        self.plan_asking(now, effects);
    }

    fn next_to_advance(&self) -> Option<Fence> {
        if self.advances.len() >= MAX_ADVANCES_IN_FLIGHT {
            return None;
        }
        let mut unsettled = self.holdings.unsettled.iter();
        let shard = *unsettled.find(|shard| !self.advances.contains_key(shard))?;
        Some(self.fence_of(shard, self.holdings.epoch(shard)?))
    }

    /// Tells those who wait what is settled.
    fn answer(&mut self, effects: &mut Vec<Effect>) {
        let waiting = std::mem::take(&mut self.waiting);
        for (shard, epoch) in waiting {
            let fence = self.fence_of(shard, epoch);
            if self.is_settled(fence) {
                effects.push(Effect::Settled(fence));
            } else {
                self.waiting.insert((shard, epoch));
            }
        }
    }

    fn set_waking(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let is_over = self.ended().is_some();
        let expiry = matches!(self.role, Role::Active { .. }).then(|| self.lease.valid_until());
        let advance = self.next_to_advance().map(|_| self.advance_after.max(now));
        let asking = self.asking.is_none().then(|| self.next_asking()).flatten();
        let next = [expiry, self.lease.next(), advance, asking]
            .into_iter()
            .flatten()
            .min()
            .filter(|_| !is_over);
        if next != self.wake_at {
            self.wake_at = next;
            effects.extend(next.map(Effect::WakeAt));
        }
    }
}
