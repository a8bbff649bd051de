//! Several pods on one model of the store. Statements are carried out in any order; answers get lost, come late or twice;
//! pods stop and go on.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::ids::{Epoch, Fence, PodId, ShardId};
use crate::ownership::invariants::{self, Violation};
use crate::ownership::members::{
    KeyFingerprint, MapVersion, Membership, Participant, Peer, Revision,
};
use crate::ownership::{Effect, Event, FateUnknown, Member, Millis, Role, Settings, State};

/// The tables `pod` and `shard`.
#[derive(Debug, Default)]
pub struct Store {
    pub alive: BTreeMap<PodId, (u64, bool)>,
    pub revisions: BTreeMap<PodId, Revision>,
    pub shards: BTreeMap<ShardId, (Option<PodId>, u64)>,
}

impl Store {
    fn new(shards: u32) -> Self {
        let shards = (0..shards).map(|shard| (ShardId(shard), (None, 0)));
        Self {
            shards: shards.collect(),
            ..Self::default()
        }
    }

    fn members(&self) -> impl Iterator<Item = Member> {
        let alive = self.alive.iter();
        alive.map(|(&pod, &(renewed, wants))| Member {
            pod,
            renewed,
            wants,
        })
    }

    fn membership(&self) -> Membership {
        let owned = |owner| self.owned(owner).len() as u32;
        let participant = |member: Member| Participant {
            name: String::new(),
            member,
            peer: self.revisions.get(&member.pod).map(|&revision| Peer {
                address: String::new(),
                revision,
                protocol: 1,
                key: KeyFingerprint([0; 32]),
            }),
            owns: owned(member.pod),
        };
        let participants: Vec<_> = self.members().map(participant).collect();
        let owned: u32 = participants.iter().map(|it| it.owns).sum();
        Membership {
            map_version: MapVersion(self.shards.values().map(|it| it.1).sum()),
            free: self.shards.len() as u32 - owned,
            participants,
        }
    }

    /// Whether the shard is owned by somebody alive.
    pub fn is_owned(&self, shard: ShardId) -> bool {
        let owner = self.shards[&shard].0;
        owner.is_some_and(|owner| self.alive.contains_key(&owner))
    }

    pub fn owned(&self, pod: PodId) -> Vec<(ShardId, Epoch)> {
        let owned = self.shards.iter();
        owned
            .filter(|(_, (owner, _))| *owner == Some(pod))
            .map(|(shard, (_, epoch))| (*shard, Epoch(*epoch)))
            .collect()
    }

    /// Takes what is free but the shards that are `locked`, one bit each, and up to `limit` of them.
    fn claim(&mut self, pod: PodId, limit: u32, locked: u8) -> Vec<(ShardId, Epoch)> {
        if !self.alive.contains_key(&pod) {
            return vec![];
        }
        let mut claimed = vec![];
        for (shard, (owner, epoch)) in &mut self.shards {
            let is_free = owner.is_none_or(|owner| !self.alive.contains_key(&owner));
            let is_locked = locked & (1 << shard.0) != 0;
            if is_free && !is_locked && claimed.len() < limit as usize {
                *owner = Some(pod);
                *epoch += 1;
                claimed.push((*shard, Epoch(*epoch)));
            }
        }
        claimed
    }

    /// Moves a shard on, to `owner`, if the fence holds.
    fn move_on(&mut self, fence: Fence, owner: Option<PodId>) -> Option<Epoch> {
        let row = self.shards.get_mut(&fence.shard)?;
        (*row == (Some(fence.pod), fence.epoch.0)).then_some(())?;
        *row = (owner, row.1 + 1);
        Some(Epoch(row.1))
    }

    /// Carries a statement out and gives its answer.
    fn execute(&mut self, pod: PodId, effect: &Effect, locked: u8) -> Option<Event> {
        Some(match effect {
            Effect::Renew { call, wants } => {
                let row = self.alive.get_mut(&pod);
                let is_alive = row.is_some();
                if let Some(row) = row.filter(|row| row.0 < *call) {
                    *row = (*call, *wants);
                }
                Event::Renewed(*call, Ok(is_alive))
            }
            Effect::Observe(call) => Event::Observed(*call, Ok(self.members().collect())),
            Effect::ObserveMembership(call) => {
                Event::MembershipObserved(*call, Ok(self.membership()))
            }
            Effect::DeclareDead { pod, seen } => {
                if self.alive.get(pod).is_some_and(|row| row.0 == *seen) {
                    self.alive.remove(pod);
                }
                Event::DeclaredDead(*pod, Ok(!self.alive.contains_key(pod)))
            }
            Effect::Claim { call, limit } => {
                Event::Claimed(*call, Ok(self.claim(pod, *limit, locked)))
            }
            Effect::ReadOwned(call) => Event::Owned(*call, Ok(self.owned(pod))),
            Effect::Advance(call, fence) => {
                Event::Advanced(*call, *fence, Ok(self.move_on(*fence, Some(pod))))
            }
            Effect::ReleaseShards(call, fences) => {
                for fence in fences {
                    self.move_on(*fence, None);
                }
                Event::ShardsReleased(*call, Ok(()))
            }
            Effect::HandOver(call, fences, to) => {
                let mut moved = vec![];
                for fence in fences {
                    let is_alive = self.alive.contains_key(to);
                    let epoch = is_alive.then(|| self.move_on(*fence, Some(*to))).flatten();
                    moved.extend(epoch.map(|epoch| (fence.shard, epoch)));
                }
                Event::HandedOver(*call, Ok(moved))
            }
            Effect::Release => {
                self.alive.remove(&pod);
                for (shard, epoch) in self.owned(pod) {
                    let fence = Fence { pod, shard, epoch };
                    self.move_on(fence, None);
                }
                Event::Released(Ok(()))
            }
            // What the process does by itself.
            Effect::Quiesce { .. }
            | Effect::LeaseExtended { .. }
            | Effect::WakeAt(_)
            | Effect::Settled(_) => return None,
        })
    }
}

fn failed(event: &Event) -> Event {
    let unknown = FateUnknown;
    match event.clone() {
        Event::Renewed(call, _) => Event::Renewed(call, Err(unknown)),
        Event::Observed(call, _) => Event::Observed(call, Err(unknown)),
        Event::DeclaredDead(pod, _) => Event::DeclaredDead(pod, Err(unknown)),
        Event::Claimed(call, _) => Event::Claimed(call, Err(unknown)),
        Event::Owned(call, _) => Event::Owned(call, Err(unknown)),
        Event::Advanced(call, fence, _) => Event::Advanced(call, fence, Err(unknown)),
        Event::MembershipObserved(call, _) => Event::MembershipObserved(call, Err(unknown)),
        Event::HandedOver(call, _) => Event::HandedOver(call, Err(unknown)),
        Event::Quiesced(call, _) => Event::QuiescenceOver(call),
        Event::ShardsReleased(call, _) => Event::ShardsReleased(call, Err(unknown)),
        Event::Released(_) => Event::Released(Err(unknown)),
        other => other,
    }
}

/// A statement on its way, or its answer.
#[derive(Debug, Clone)]
pub enum Moving {
    /// Not carried out. If its pod was told that it failed, the answer is dropped.
    Statement(Effect, bool),
    Answer(Event),
    /// One after the other, and others between them.
    Answers(Vec<Event>),
}

#[derive(Debug)]
pub struct World {
    settings: Settings,
    pub now: Millis,
    pub store: Store,
    pub pods: Vec<State>,
    /// By how many per mille each pod's clock is too fast.
    pub fast: Vec<Millis>,
    pub moving: Vec<(usize, Moving)>,
    /// Pods that do nothing any more, and what they have sent is lost.
    killed: BTreeSet<usize>,
    settled: BTreeSet<(PodId, ShardId, Epoch)>,
    /// What hand-overs have moved, by who was told so.
    given: BTreeSet<(usize, ShardId, Epoch)>,
}

/// What chance does next; the numbers choose among what there is.
#[derive(Debug, Clone)]
pub enum Chance {
    Time(Millis),
    /// The statement or answer at this place moves on.
    Move(u8, u8),
    /// A statement at this place is told to have failed, and stays on its way.
    Fail(u8),
    /// An answer at this place is lost, and told to have failed.
    Lose(u8),
    /// An answer at this place comes, and comes once more later.
    Twice(u8),
    /// A commit of this pod in this shard ends in doubt.
    Doubt(u8, u8),
    /// The store refuses a fence that this pod once had.
    Refuse(u8, u8),
    Drain(u8),
    Release(u8),
    /// Somebody tells a pod that it has been given shards.
    Give(u8),
    /// Somebody wants this pod's shard to be that other pod's.
    Wish(u8, u8, u8),
}

pub fn chance() -> impl Strategy<Value = Chance> {
    let any = any::<u8>;
    prop_oneof![
        6 => (0..800_u64).prop_map(Chance::Time),
        1 => (0..5_000_u64).prop_map(Chance::Time),
        16 => (any(), prop_oneof![3 => Just(0), 1 => any()]).prop_map(|(at, locked)| Chance::Move(at, locked)),
        2 => any().prop_map(Chance::Fail),
        2 => any().prop_map(Chance::Lose),
        1 => any().prop_map(Chance::Twice),
        2 => (any(), any()).prop_map(|(pod, shard)| Chance::Doubt(pod, shard)),
        1 => (any(), any()).prop_map(|(pod, shard)| Chance::Refuse(pod, shard)),
        1 => any().prop_map(Chance::Drain),
        1 => any().prop_map(Chance::Release),
        1 => any().prop_map(Chance::Give),
        2 => (any(), any(), any()).prop_map(|(pod, shard, to)| Chance::Wish(pod, shard, to)),
    ]
}

fn pick<T>(list: &[T], number: u8) -> Option<usize> {
    (!list.is_empty()).then(|| usize::from(number) % list.len())
}

impl World {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: 0,
            store: Store::new(settings.shards),
            pods: vec![],
            fast: vec![],
            moving: vec![],
            killed: BTreeSet::new(),
            settled: BTreeSet::new(),
            given: BTreeSet::new(),
        }
    }

    pub fn join(&mut self, id: PodId) {
        self.store.alive.insert(id, (0, false));
        self.fast.push(0);
        let now = self.clock(self.pods.len());
        self.pods.push(State::new(id, self.settings, now));
        self.tell(self.pods.len() - 1, Event::Wanted).unwrap();
    }

    fn clock(&self, pod: usize) -> Millis {
        self.now + self.now * self.fast[pod] / 1_000
    }

    /// What was given away is not believed to be there, and nobody writes a shard while it may still be given away.
    fn check_given(&self) {
        for &(pod, shard, epoch) in &self.given {
            let fence = self.pods[pod].fence(shard);
            assert!(
                fence.is_none_or(|it| it.epoch > epoch),
                "{fence:?} is given away"
            );
        }
        for (pod, moving) in &self.moving {
            if let Moving::Statement(Effect::HandOver(_, fences, _), _) = moving {
                let mut fences = fences.iter();
                let given = fences.find(|it| self.pods[*pod].still_holds(**it));
                assert_eq!(given, None, "a hand-over of it is under way");
            }
        }
    }

    /// A pod ends without a word.
    pub fn kill(&mut self, pod: usize) {
        self.killed.insert(pod);
        self.moving.retain(|(of, _)| *of != pod);
    }

    /// The pods that were not killed.
    pub fn living(&self) -> impl Iterator<Item = &State> {
        let pods = self.pods.iter().enumerate();
        pods.filter(|(place, _)| !self.killed.contains(place))
            .map(|(_, pod)| pod)
    }

    /// Gives a pod an event, and checks everything.
    pub fn tell(&mut self, pod: usize, event: Event) -> Result<(), Violation> {
        if self.killed.contains(&pod) {
            return Ok(());
        }
        let at_rest = match &event {
            Event::Quiesced(_, shards) => shards.clone(),
            _ => vec![],
        };
        if let Event::HandedOver(_, Ok(moved)) = &event {
            self.given
                .extend(moved.iter().map(|(shard, epoch)| (pod, *shard, *epoch)));
        }
        let before: Vec<_> = self.pods[pod].held().collect();
        let now = self.clock(pod);
        let effects = self.pods[pod].step(event, now);
        for effect in effects {
            if let Effect::HandOver(_, fences, _) = &effect {
                let shards = fences.iter().map(|it| it.shard);
                let not_at_rest = shards.filter(|shard| !at_rest.contains(shard));
                assert_eq!(not_at_rest.count(), 0, "handed over while it is awake");
            }
            if let Effect::Settled(fence) = effect {
                self.settled.insert((fence.pod, fence.shard, fence.epoch));
            } else if !matches!(effect, Effect::LeaseExtended { .. } | Effect::WakeAt(_)) {
                self.moving.push((pod, Moving::Statement(effect, true)));
            }
        }
        self.check_given();
        invariants::epochs_grow(before, &self.pods[pod])?;
        invariants::holds_in(&self.pods[pod], now)?;
        invariants::one_owner_per_epoch(&self.pods)?;
        for &(pod, shard, epoch) in &self.settled {
            let state = self.pods.iter().find(|it| it.pod() == pod);
            let fence = Fence { pod, shard, epoch };
            state.map_or(Ok(()), |state| invariants::settled_is_past(state, fence))?;
        }
        Ok(())
    }

    pub fn advance_time(&mut self, by: Millis) -> Result<(), Violation> {
        self.now += by;
        for pod in 0..self.pods.len() {
            self.tell(pod, Event::Woken)?;
        }
        Ok(())
    }

    /// Moves a statement or answer on; returns its pod's event, if it has one.
    pub fn move_on(&mut self, at: usize, locked: u8) -> Result<(), Violation> {
        let (pod, moving) = self.moving.swap_remove(at);
        match moving {
            Moving::Statement(effect, answered) => {
                let id = self.pods[pod].pod();
                if let Effect::Quiesce {
                    call, count, only, ..
                } = effect
                {
                    if answered {
                        let answers = self.quiesce(pod, call, (count, only), locked);
                        self.moving.push((pod, Moving::Answers(answers)));
                    }
                    return Ok(());
                }
                let answer = self.store.execute(id, &effect, locked);
                if let Some(Event::DeclaredDead(dead, Ok(true))) = &answer {
                    self.check_dead(*dead)?;
                }
                if let Some(answer) = answer.filter(|_| answered) {
                    self.moving.push((pod, Moving::Answer(answer)));
                }
                Ok(())
            }
            Moving::Answer(event) => self.tell(pod, event),
            Moving::Answers(mut answers) => {
                let first = answers.remove(0);
                if !answers.is_empty() {
                    self.moving.push((pod, Moving::Answers(answers)));
                }
                self.tell(pod, first)
            }
        }
    }

    /// Some of the shards are brought to rest: how many, which, and which of them together is up to chance.
    fn quiesce(
        &self,
        pod: usize,
        call: u64,
        (count, only): (u32, Option<ShardId>),
        chance: u8,
    ) -> Vec<Event> {
        let pod = &self.pods[pod];
        let awake = pod.held().filter(|(shard, _)| {
            pod.fence(*shard).is_some() && only.is_none_or(|only| only == *shard)
        });
        let mut shards: Vec<ShardId> = awake.map(|(shard, _)| shard).collect();
        let from = usize::from(chance) % shards.len().max(1);
        shards.rotate_left(from);
        shards.truncate(count as usize - usize::from(chance % 3 == 1));
        let later = shards.split_off(usize::from(chance / 4) % (shards.len() + 1));
        vec![
            Event::Quiesced(call, shards),
            Event::Quiesced(call, later),
            Event::QuiescenceOver(call),
        ]
    }

    fn check_dead(&self, dead: PodId) -> Result<(), Violation> {
        let place = self.pods.iter().position(|it| it.pod() == dead);
        place.map_or(Ok(()), |place| {
            invariants::dead_after_its_lease(&self.pods[place], self.clock(place))
        })
    }

    pub fn happen(&mut self, chance: &Chance) -> Result<(), Violation> {
        match *chance {
            Chance::Time(by) => self.advance_time(by),
            Chance::Move(at, locked) => match pick(&self.moving, at) {
                Some(at) => self.move_on(at, locked),
                None => Ok(()),
            },
            Chance::Fail(at) => {
                let Some(at) = pick(&self.moving, at) else {
                    return Ok(());
                };
                let pod = self.moving[at].0;
                let Moving::Statement(effect, answered @ true) = &mut self.moving[at].1 else {
                    return Ok(());
                };
                *answered = false;
                let effect = effect.clone();
                // What the answer would be does not matter: only its kind.
                let event = match effect {
                    Effect::Quiesce { call, .. } => Event::QuiescenceOver(call),
                    effect => Store::new(0)
                        .execute(self.pods[pod].pod(), &effect, 0)
                        .unwrap(),
                };
                self.tell(pod, failed(&event))
            }
            Chance::Lose(at) => {
                let Some(at) = pick(&self.moving, at) else {
                    return Ok(());
                };
                let (pod, Moving::Answer(event)) = self.moving[at].clone() else {
                    return Ok(());
                };
                self.moving.swap_remove(at);
                self.tell(pod, failed(&event))
            }
            Chance::Twice(at) => {
                let Some(at) = pick(&self.moving, at) else {
                    return Ok(());
                };
                let (pod, Moving::Answer(event)) = self.moving[at].clone() else {
                    return Ok(());
                };
                self.tell(pod, event)
            }
            Chance::Doubt(pod, shard) => self.of_shard(pod, shard, Event::CommitFateUnknown),
            Chance::Refuse(pod, shard) => {
                // Truly refused only: a store never refuses a fence that holds.
                let holds = |store: &Store, fence: Fence| {
                    store.shards[&fence.shard] == (Some(fence.pod), fence.epoch.0)
                };
                let Some(pod) = pick(&self.pods, pod) else {
                    return Ok(());
                };
                let fence = self.pods[pod].fence(self.shard(shard));
                match fence.filter(|fence| !holds(&self.store, *fence)) {
                    Some(fence) => self.tell(pod, Event::Refused(fence)),
                    None => Ok(()),
                }
            }
            Chance::Drain(pod) if pod < 32 => self.tell_one(pod, Event::Drain),
            Chance::Release(pod) if pod < 32 => self.tell_one(pod, Event::Release),
            Chance::Give(pod) => self.tell_one(pod, Event::Given),
            Chance::Wish(pod, shard, to) => match pick(&self.pods, to) {
                Some(to) => {
                    let to = self.pods[to].pod();
                    self.tell_one(pod, Event::Move(self.shard(shard), to))
                }
                None => Ok(()),
            },
            Chance::Drain(_) | Chance::Release(_) => Ok(()),
        }
    }

    fn shard(&self, number: u8) -> ShardId {
        ShardId(u32::from(number) % self.settings.shards)
    }

    fn tell_one(&mut self, pod: u8, event: Event) -> Result<(), Violation> {
        pick(&self.pods, pod).map_or(Ok(()), |pod| self.tell(pod, event))
    }

    fn of_shard(&mut self, pod: u8, shard: u8, event: fn(Fence) -> Event) -> Result<(), Violation> {
        let shard = self.shard(shard);
        let Some(pod) = pick(&self.pods, pod) else {
            return Ok(());
        };
        match self.pods[pod].fence(shard) {
            Some(fence) => self.tell(pod, event(fence)),
            None => Ok(()),
        }
    }

    /// From now on everything is carried out and answered at once, and a new pod comes if all are over.
    pub fn calm_down(&mut self) -> Result<(), Violation> {
        let over = |world: &Self| {
            let mut pods = world.pods.iter();
            pods.all(|pod| matches!(pod.role(), Role::Over | Role::Draining))
        };
        if over(self) {
            self.join(PodId(99));
        }
        for _ in 0..400 {
            self.go_on(1)?;
            if over(self) {
                self.join(PodId(100 + u128::from(self.now)));
            }
            // Draining pods end some time.
            for pod in 0..self.pods.len() {
                if self.pods[pod].role() == Role::Draining {
                    self.tell(pod, Event::Release)?;
                }
            }
        }
        Ok(())
    }

    /// Everything is carried out and answered at once for so many times 50 ms.
    pub fn go_on(&mut self, times: usize) -> Result<(), Violation> {
        self.go_on_by(50, times)
    }

    pub fn go_on_by(&mut self, step_ms: Millis, times: usize) -> Result<(), Violation> {
        for _ in 0..times {
            while !self.moving.is_empty() {
                self.move_on(0, 0)?;
            }
            self.advance_time(step_ms)?;
        }
        Ok(())
    }

    pub fn active(&self) -> usize {
        let pods = self.pods.iter();
        pods.filter(|pod| matches!(pod.role(), Role::Active { .. }))
            .count()
    }
}
