//! What must hold of shards that pods share, by what the store has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use portside_core::ids::{Fence, PodId, ShardId};
use portside_core::ownership::Role;
use portside_core::ownership::members::{Membership, Participant};
use portside_core::ownership::placement::{Distribution, Standing};
use portside_store_model::{Reply, Statement};

use super::scaling::{Stage, UNNOTICED};
use super::{FAULTY, World};
use crate::checker::{Kind, Wrong, wrong};
use crate::network::{MS, Time};
use crate::world::Happening;

/// How often it is looked whether shards have owners.
const LOOK: Time = 50 * MS;
/// Longest time without an owner once nothing fails: until the last one is known to be dead, by the slowest clock and the
/// statements that takes, and somebody has taken what was his, whosever share it is.
const WITHOUT_OWNER: Time = 750 * MS * 11 / 9 + 50 * MS + 100 * MS + 200 * MS + 100 * MS;
/// So long after a shard has an owner again, all find it.
const FOUND: Time = 200 * MS;
/// What was asked before is answered, or given up.
const CALLS: Time = 2_000 * MS;
/// So long after who is there has changed, or who wants shards, all have seen it, and what they began before is over.
const SETTLED: Time = 400 * MS;

/// What was seen of shards.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By shard: whose it was, and since when nobody who runs has it.
    orphans: BTreeMap<ShardId, (Option<PodId>, Time)>,
    /// Who there was and wanted shards, and until when: those that somebody may still act on, and those that there are.
    members: VecDeque<(Vec<Standing>, Time)>,
    /// By shard: when it was handed over last.
    given: BTreeMap<ShardId, Time>,
    /// The pods that serve, and since when each does.
    serving: BTreeMap<PodId, Time>,
    /// When a shard was handed over last.
    last_moved: Time,
    /// The shards that somebody wants elsewhere, and the pods that were told.
    wishes: BTreeSet<(PodId, ShardId)>,
    /// How many shards pods have given for that reason, and have not got others in their place.
    granted: BTreeMap<PodId, usize>,
}

impl World {
    fn membership(&mut self) -> Option<Membership> {
        match self.database.run(Statement::Members) {
            Some(Reply::Membership(membership)) => Some(membership),
            _ => None,
        }
    }

    /// Looks at all shards, and at who is there.
    pub(super) fn inspect(&mut self) -> Result<(), Wrong> {
        self.net.after(LOOK, Happening::Inspects);
        let now = self.net.now;
        // Who has come since a pod died looks at it for as long as anybody else did.
        let looks_since = self.looks_since();
        for shard in (0..self.settings.shards).map(ShardId) {
            let owner = self.database.fence(shard).map(|fence| fence.pod);
            let runs = |owner| {
                let mut pods = self.machines.iter().filter_map(|it| it.pod.as_ref());
                pods.any(|pod| pod.state.pod() == owner && pod.state.role() != Role::Over)
            };
            if owner.is_some_and(runs) {
                self.seen.orphans.remove(&shard);
                continue;
            }
            let orphan = self.seen.orphans.entry(shard).or_insert((owner, now));
            if orphan.0 != owner {
                // Another has had it since, and has died, too.
                *orphan = (owner, now);
            }
            let (_, since) = *orphan;
            let since = since.max(FAULTY + CALLS).max(looks_since);
            if now > since + WITHOUT_OWNER {
                return Err(wrong!(
                    NoOwner,
                    "{shard:?} has had no owner since {since} us although nothing fails any more"
                ));
            }
        }
        if self.deployment.moves.deaths > 0 && !self.seen.orphans.is_empty() {
            self.death_until = self.death_until.max(now + FOUND);
        }
        Ok(())
    }

    /// Since when the pod has been serving, and looking who is dead, that has for longest.
    fn looks_since(&mut self) -> Time {
        let ready = self.machines.iter().filter(|it| self.is_ready(it));
        let pods = ready.filter_map(|it| it.pod.as_ref());
        let since = |id| self.seen.serving.get(&id).copied();
        let serving = pods.map(|pod| {
            let id = pod.state.pod();
            (id, since(id).unwrap_or(self.net.now))
        });
        self.seen.serving = serving.collect();
        let longest = self.seen.serving.values().min();
        longest.copied().unwrap_or(self.net.now)
    }

    /// Something has changed in the store: remembers since when it has been as it is.
    fn note_members(&mut self) {
        let Some(membership) = self.membership() else {
            return;
        };
        // What each owns does not matter.
        let mut pods = membership.distribution(self.settings.shards).pods;
        pods.iter_mut().for_each(|it| it.owns = 0);
        let (members, now) = (&mut self.seen.members, self.net.now);
        if let Some((_, until)) = members.back_mut() {
            *until = now;
        }
        if members.back().is_none_or(|(known, _)| *known != pods) {
            members.push_back((pods, now));
        }
        members.retain(|(_, until)| until + SETTLED >= now);
    }

    /// A statement has ended.
    pub(super) fn note(&mut self, statement: &Noted, reply: &Reply) -> Result<(), Wrong> {
        if let (Noted::HandOver(_) | Noted::Claim, Reply::Shards(moved)) = (statement, reply) {
            for (shard, _) in moved {
                self.is_sole_owner(*shard)?;
                self.note_gain(*shard);
            }
        }
        if !self.net.is_shared {
            return Ok(());
        }
        match (statement, reply) {
            (Noted::Members | Noted::Release(_), _) => self.note_members(),
            (Noted::HandOver(giver), Reply::Shards(moved)) if !moved.is_empty() => {
                self.deployment.moves.shards.add(self.net.now, moved.len());
                self.seen.last_moved = self.net.now;
                let given = moved.iter().map(|(shard, _)| (*shard, self.net.now));
                self.seen.given.extend(given);
                let is_wish =
                    |(shard, _): &&(ShardId, _)| self.seen.wishes.remove(&(*giver, *shard));
                let granted = moved.iter().filter(is_wish).count();
                *self.seen.granted.entry(*giver).or_default() += granted;
                if granted == moved.len() {
                    return Ok(());
                }
                return self.gives_its_excess(*giver);
            }
            _ => {}
        }
        Ok(())
    }

    /// A pod that ends in order has handed its shards over, if others want some.
    pub(super) fn gives_nothing_up(&mut self, pod: PodId) -> Result<(), Wrong> {
        let membership = self.membership();
        let participants = membership.map_or_else(Vec::new, |it| it.participants);
        // Who has given it something lately had not seen yet that it drains.
        let given = |shard: &ShardId| self.seen.given.get(shard).copied().unwrap_or_default();
        let owned = self.owned(pod);
        let owns = owned
            .filter(|shard| given(shard) + SETTLED < self.net.now)
            .count();
        let wants = |it: &Participant| it.member.wants && it.member.pod != pod;
        match participants.iter().find(|it| wants(it)) {
            Some(other) if owns > 0 && self.net.now >= UNNOTICED => Err(wrong!(
                GivesUp,
                "{pod:?} ends with {owns} shards, and {:?} wants some",
                other.member.pod
            )),
            _ => Ok(()),
        }
    }

    /// A shard is given to a pod: no other may write or answer for it, unless it believes a clock that it should not.
    fn is_sole_owner(&self, shard: ShardId) -> Result<(), Wrong> {
        let owner = self.database.fence(shard);
        let mut pods = self.machines.iter().filter_map(|it| it.pod.as_ref());
        let other = pods.find(|pod| {
            let given = pod.state.fence(shard);
            given.is_some() && given != owner && pod.is_leased(&self.net)
        });
        match (other, owner) {
            (Some(other), Some(owner)) if !self.net.faults.wild_clocks => Err(wrong!(
                NotOwner,
                "{:?} may write {shard:?}, which has been given to {:?}",
                other.state.pod(),
                owner.pod
            )),
            _ => Ok(()),
        }
    }

    /// Somebody wants a pod to give this shard away, which it will.
    pub(super) fn note_wish(&mut self, pod: PodId, shard: ShardId) {
        self.seen.wishes.insert((pod, shard));
    }

    /// A pod has got a shard, perhaps in the place of one that it has given.
    fn note_gain(&mut self, shard: ShardId) {
        let owner = self.database.fence(shard).map(|it| it.pod);
        if let Some(granted) = owner.and_then(|owner| self.seen.granted.get_mut(&owner)) {
            *granted = granted.saturating_sub(1);
        }
    }

    /// A pod gives only what it has beyond its quota, by what it may have seen, unless somebody wants one.
    fn gives_its_excess(&mut self, giver: PodId) -> Result<(), Wrong> {
        self.note_members();
        if self.net.now < FAULTY + CALLS + SETTLED {
            return Ok(());
        }
        let owns =
            self.owned(giver).count() + self.seen.granted.get(&giver).copied().unwrap_or_default();
        let shards = self.settings.shards;
        let quotas = self.seen.members.iter().map(|(pods, _)| {
            let pods = pods.clone();
            let quotas = Distribution {
                shards,
                free: 0,
                pods,
            }
            .quotas();
            let its = quotas.into_iter().flatten().find(|it| it.pod == giver);
            its.map_or(0, |it| it.shards as usize)
        });
        match quotas.min() {
            Some(share) if owns < share => Err(wrong!(
                GivesTooMuch,
                "{giver:?} has given shards away and has {owns}, of {share} that are its share"
            )),
            _ => Ok(()),
        }
    }

    fn owned(&self, pod: PodId) -> impl Iterator<Item = ShardId> {
        let shards = (0..self.settings.shards).map(ShardId);
        let owner = |shard| self.database.fence(shard).map(|it| it.pod);
        shards.filter(move |shard| owner(*shard) == Some(pod))
    }

    /// No pod has more shards on their way than it may.
    pub(super) fn few_leave(&self, slot: usize) -> Result<(), Wrong> {
        let Some(pod) = &self.machines[slot].pod else {
            return Ok(());
        };
        let leaving = pod.state.leaving().count();
        if leaving > self.most_leaving {
            return Err(wrong!(
                TooManyLeave,
                "{leaving} shards of pod {slot} are on their way at the same time"
            ));
        }
        Ok(())
    }

    /// At the end all is as it was wanted: the pods that are to be there are, no others, and each has its share.
    pub(super) fn is_deployed(&mut self) -> Result<(), Wrong> {
        let revision = self.deployment.revision;
        let is_old = |it: &&super::Machine| {
            it.stage == Stage::Leaving || (it.stage == Stage::Wanted && it.revision != revision)
        };
        if let Some(old) = self.machines.iter().find(is_old) {
            return Err(wrong!(
                RolloutGoesOn,
                "a pod of revision {} is {:?} still, and {revision} is wanted",
                old.revision,
                old.stage
            ));
        }
        let there = self.pods().len();
        if there != self.deployment.pods {
            let wanted = self.deployment.pods;
            return Err(wrong!(RolloutGoesOn, "{there} pods of {wanted} are there"));
        }
        let membership = self.membership();
        let membership = membership.ok_or_else(|| wrong!(Broken, "the store does not answer"))?;
        self.is_fair(&membership.distribution(self.settings.shards))?;
        let last = self.seen.last_moved;
        if last + 1_000 * MS > self.net.now {
            return Err(wrong!(
                Unfair,
                "shards are handed over at {last} us although nothing has changed"
            ));
        }
        Ok(())
    }

    fn is_fair(&self, distribution: &Distribution) -> Result<(), Wrong> {
        let quotas = distribution.quotas().unwrap_or_default();
        let members = distribution.pods.len();
        if members != self.deployment.pods || quotas.len() != members {
            let pods = &distribution.pods;
            return Err(wrong!(Unfair, "the members are {pods:?}"));
        }
        for (it, quota) in quotas.iter().filter_map(|quota| {
            let it = distribution.pods.iter().find(|it| it.pod == quota.pod);
            Some((it?, quota))
        }) {
            if it.owns != quota.shards {
                let (pod, owns) = (it.pod, it.owns);
                let share = quota.shards;
                return Err(wrong!(Unfair, "{pod:?} has {owns} shards of {share}"));
            }
        }
        Ok(())
    }
}

/// What is remembered of a statement until it has ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Noted {
    Nothing,
    /// It may change who is there, or who wants shards.
    Members,
    /// Of what is free.
    Claim,
    /// The end of this pod.
    Release(PodId),
    /// A hand-over of this pod's.
    HandOver(PodId),
}

impl Noted {
    pub fn of(statement: &Statement) -> Self {
        match statement {
            Statement::Register { .. }
            | Statement::Announce { .. }
            | Statement::Renew { .. }
            | Statement::DeclareDead { .. } => Self::Members,
            Statement::Release { pod } => Self::Release(*pod),
            Statement::Claim { .. } => Self::Claim,
            Statement::HandOver { fences, .. } => {
                let giver = |fence: &Fence| Self::HandOver(fence.pod);
                fences.first().map_or(Self::Nothing, giver)
            }
            _ => Self::Nothing,
        }
    }
}
