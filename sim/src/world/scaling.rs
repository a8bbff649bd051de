//! What the kernel's operator and Kubernetes do with pods that share the shards: as many as are wanted, all of the newest
//! revision, and old ones end only when new ones are ready.

use std::collections::BTreeSet;

use portside_core::ids::ShardId;
use portside_core::ownership::{Event, Role};

use super::{FAULTY, Machine, World};
use crate::moves::Moves;
use crate::network::{MS, Time};
use crate::world::Happening;

/// Machines on which pods can be: in a rollout there are twice as many pods.
pub(super) const MACHINES: usize = 8;
/// How many pods are wanted at most.
const MOST_PODS: u64 = 4;
/// How often Kubernetes looks.
const LOOK: Time = 50 * MS;
/// From when on whoever asks is not to notice that pods come and go.
pub(crate) const UNNOTICED: Time = FAULTY + 2_000 * MS;
/// The first change after that, and for how long others follow: they must go by without a trace.
const CALM: Time = UNNOTICED + 100 * MS;
pub(super) const CALM_CHANGES: Time = 1_500 * MS;

/// How long others may notice that a pod has died.
const DEATH: Time = 1_500 * MS;

/// What is wanted of pods.
#[derive(Debug)]
pub(super) struct Deployment {
    pub pods: usize,
    pub revision: u64,
    pub moves: Moves,
}

/// What is to become of a machine's pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    Absent,
    Wanted,
    /// It was asked to end.
    Leaving,
}

impl Default for Deployment {
    fn default() -> Self {
        Self {
            pods: 0,
            revision: 1,
            moves: Moves::default(),
        }
    }
}

impl World {
    /// Begins with as many pods as are wanted.
    pub(super) fn deploy(&mut self) {
        self.deployment.pods = self.net.random.within(1, MOST_PODS) as usize;
        self.reconcile();
        let delay = self.net.random.within(300, 2_000) * MS;
        self.net.after(delay, Happening::Changes);
    }

    /// Somebody wants something else: more pods, or fewer, or other code.
    pub(super) fn changes(&mut self) {
        let now = self.net.now;
        if let Some(next) = self.next_change() {
            self.net.at(next, Happening::Changes);
        }
        self.somebody_moves_one();
        if now >= CALM && self.net.random.chance(250) {
            return self.one_dies();
        }
        let deployment = &mut self.deployment;
        if self.net.random.chance(500) {
            deployment.revision += 1;
            deployment.moves.rollouts.add(now, 1);
        } else {
            // One more or one less, at least.
            let others = self.net.random.within(1, MOST_PODS - 1);
            deployment.pods = (deployment.pods - 1 + others as usize) % MOST_PODS as usize + 1;
            deployment.moves.scalings.add(now, 1);
        }
        self.net.trace(|| format!("wanted: {deployment:?}"));
    }

    /// Somebody wants a shard of one pod to be another's, whether that can be or not.
    fn somebody_moves_one(&mut self) {
        let (slot, other) = (self.some_machine(), self.some_machine());
        let shard = self.net.random.index(self.settings.shards as usize);
        let shard = ShardId(u32::try_from(shard).unwrap_or_default());
        let to = self.machines[other].pod.as_ref();
        let Some(to) = to.map(|it| it.state.pod()) else {
            return;
        };
        let Some((pod, net)) = self.pod(slot, None) else {
            return;
        };
        let (id, can_move) = (pod.state.pod(), pod.state.can_move(shard, to).is_ok());
        pod.step(net, Event::Move(shard, to));
        if can_move {
            self.deployment.moves.wishes.add(self.net.now, 1);
            self.note_wish(id, shard);
        }
    }

    /// When the next change comes. Once nothing fails any more, some overlap.
    fn next_change(&mut self) -> Option<Time> {
        let now = self.net.now;
        let next = now + self.net.random.within(500, 4_000) * MS;
        if next < FAULTY {
            return Some(next);
        }
        if now < CALM {
            return Some(CALM);
        }
        let next = now + self.net.random.within(200, 1_000) * MS;
        (next <= CALM + CALM_CHANGES).then_some(next)
    }

    /// A pod ends without a word: whoever waits for it is not answered, and its shards are others' in time.
    fn one_dies(&mut self) {
        let slot = self.some_machine();
        self.net.trace(|| format!("pod {slot} dies"));
        self.crash(slot, 400);
        self.death_until = self.net.now + DEATH;
        self.deployment.moves.deaths += 1;
    }

    /// Makes pods that are missing, and asks those to end that are too many.
    pub(super) fn reconcile(&mut self) {
        self.net.after(LOOK, Happening::Reconciles);
        let (wanted, revision) = (self.deployment.pods, self.deployment.revision);
        let of = |machine: &Machine| machine.stage == Stage::Wanted;
        let is_new = |machine: &Machine| of(machine) && machine.revision == revision;
        let mut new = self.machines.iter().filter(|it| is_new(it)).count();
        while new < wanted
            && let Some(slot) = self.vacancy()
        {
            let machine = &mut self.machines[slot];
            (machine.stage, machine.revision) = (Stage::Wanted, revision);
            let delay = self.net.random.within(0, 50) * MS;
            self.net.after(delay, Happening::Boots(slot));
            new += 1;
        }
        let ready = self
            .machines
            .iter()
            .filter(|it| of(it) && self.is_ready(it));
        let spare = ready.count().saturating_sub(wanted);
        let is_old = |it: &&usize| of(&self.machines[**it]) && !is_new(&self.machines[**it]);
        let slots: Vec<usize> = (0..self.machines.len()).collect();
        let mut ending: Vec<usize> = slots.iter().filter(is_old).copied().collect();
        // Those that serve end only when others are there instead.
        let unready = ending
            .iter()
            .filter(|it| !self.is_ready(&self.machines[**it]));
        let at_once = unready.count();
        ending.sort_by_key(|slot| self.is_ready(&self.machines[*slot]));
        ending.truncate(at_once + spare);
        let surplus = slots.iter().filter(|it| is_new(&self.machines[**it]));
        ending.extend(surplus.skip(wanted).copied());
        ending.into_iter().for_each(|slot| self.end_pod(slot));
        self.tell_gateways();
    }

    fn vacancy(&self) -> Option<usize> {
        self.machines
            .iter()
            .position(|it| it.stage == Stage::Absent)
    }

    /// Whether it is among those that serve.
    pub(super) fn is_ready(&self, machine: &Machine) -> bool {
        machine.pod.as_ref().is_some_and(|pod| {
            matches!(pod.state.role(), Role::Active { .. }) && pod.state.renewals() > 0
        })
    }

    /// Asks a pod to end.
    pub(super) fn end_pod(&mut self, slot: usize) {
        if self.machines[slot].stage != Stage::Wanted {
            return;
        }
        self.net.trace(|| format!("pod {slot} is to end"));
        self.machines[slot].stage = Stage::Leaving;
        match self.pod(slot, None) {
            Some((pod, net)) => {
                pod.drain(net);
                self.tells_gateways(slot);
            }
            None => {
                self.machines[slot].registering = None;
                self.machines[slot].stage = Stage::Absent;
            }
        }
    }

    /// Whoever asks a pod is told at once that it drains.
    fn tells_gateways(&mut self, slot: usize) {
        for number in 0..self.gateways.len() {
            let question = (number, self.gateways[number].start, 0);
            self.says(slot, question);
        }
    }

    /// Gateways hear which pods there are.
    fn tell_gateways(&mut self) {
        let pods = self.pods();
        if pods == self.told {
            return;
        }
        for (number, gateway) in self.gateways.iter().enumerate() {
            let delay = self.net.random.within(1, 50) * MS;
            let told = Happening::Pods(number, gateway.start, pods.clone());
            self.net.after(delay, told);
        }
        self.told = pods;
    }

    pub(super) fn pods(&self) -> BTreeSet<usize> {
        let machines = self.machines.iter().enumerate();
        let there = machines.filter(|(_, it)| it.stage != Stage::Absent);
        there.map(|(slot, _)| slot).collect()
    }
}
