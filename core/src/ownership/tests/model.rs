//! Several pods on one model of the store. Statements are carried out in any order; answers get lost, come late or twice;
//! pods stop and go on.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::ids::{Epoch, Fence, PodId, ShardId};
use crate::ownership::invariants::{self, Violation};
use crate::ownership::{Effect, Event, FateUnknown, Member, Millis, Role, Settings, State};

const SHARDS: u32 = 4;

/// The tables `pod` and `shard`.
#[derive(Debug, Default)]
struct Store {
    alive: BTreeMap<PodId, (u64, bool)>,
    shards: BTreeMap<ShardId, (Option<PodId>, u64)>,
}

impl Store {
    fn new() -> Self {
        let shards = (0..SHARDS).map(|shard| (ShardId(shard), (None, 0)));
        Self {
            alive: BTreeMap::new(),
            shards: shards.collect(),
        }
    }

    fn owned(&self, pod: PodId) -> Vec<(ShardId, Epoch)> {
        let owned = self.shards.iter();
        owned
            .filter(|(_, (owner, _))| *owner == Some(pod))
            .map(|(shard, (_, epoch))| (*shard, Epoch(*epoch)))
            .collect()
    }

    /// Takes what is free but the shards that are `locked`, one bit each.
    fn claim(&mut self, pod: PodId, locked: u8) -> Vec<(ShardId, Epoch)> {
        if !self.alive.contains_key(&pod) {
            return vec![];
        }
        let mut claimed = vec![];
        for (shard, (owner, epoch)) in &mut self.shards {
            let is_free = owner.is_none_or(|owner| !self.alive.contains_key(&owner));
            if is_free && locked & (1 << shard.0) == 0 {
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
            Effect::Observe(call) => {
                let alive = self.alive.iter();
                let alive = alive.map(|(&pod, &(renewed, wants))| Member {
                    pod,
                    renewed,
                    wants,
                });
                Event::Observed(*call, Ok(alive.collect()))
            }
            Effect::DeclareDead { pod, seen } => {
                if self.alive.get(pod).is_some_and(|row| row.0 == *seen) {
                    self.alive.remove(pod);
                }
                Event::DeclaredDead(*pod, Ok(!self.alive.contains_key(pod)))
            }
            Effect::Claim { call, .. } => Event::Claimed(*call, Ok(self.claim(pod, locked))),
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
            Effect::Release => {
                self.alive.remove(&pod);
                for (shard, epoch) in self.owned(pod) {
                    let fence = Fence { pod, shard, epoch };
                    self.move_on(fence, None);
                }
                Event::Released(Ok(()))
            }
            Effect::LeaseExtended { .. } | Effect::WakeAt(_) | Effect::Settled(_) => return None,
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
        Event::ShardsReleased(call, _) => Event::ShardsReleased(call, Err(unknown)),
        Event::Released(_) => Event::Released(Err(unknown)),
        other => other,
    }
}

/// A statement on its way, or its answer.
#[derive(Debug, Clone)]
enum Moving {
    /// Not carried out. If its pod was told that it failed, the answer is dropped.
    Statement(Effect, bool),
    Answer(Event),
}

#[derive(Debug)]
struct World {
    now: Millis,
    store: Store,
    pods: Vec<State>,
    /// By how many per mille each pod's clock is too fast.
    fast: Vec<Millis>,
    moving: Vec<(usize, Moving)>,
    settled: BTreeSet<(PodId, ShardId, Epoch)>,
}

/// What chance does next; the numbers choose among what there is.
#[derive(Debug, Clone)]
enum Chance {
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
}

fn chance() -> impl Strategy<Value = Chance> {
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
    ]
}

fn pick<T>(list: &[T], number: u8) -> Option<usize> {
    (!list.is_empty()).then(|| usize::from(number) % list.len())
}

impl World {
    fn new(pods: u128) -> Self {
        let mut world = Self {
            now: 0,
            store: Store::new(),
            pods: vec![],
            fast: vec![],
            moving: vec![],
            settled: BTreeSet::new(),
        };
        for id in 1..=pods {
            world.join(PodId(id));
        }
        world
    }

    fn join(&mut self, id: PodId) {
        let settings = Settings {
            shards: SHARDS,
            ..Settings::default()
        };
        self.store.alive.insert(id, (0, false));
        self.fast.push(0);
        let now = self.clock(self.pods.len());
        self.pods.push(State::new(id, settings, now));
        self.tell(self.pods.len() - 1, Event::Wanted).unwrap();
    }

    fn clock(&self, pod: usize) -> Millis {
        self.now + self.now * self.fast[pod] / 1_000
    }

    /// Gives a pod an event, and checks everything.
    fn tell(&mut self, pod: usize, event: Event) -> Result<(), Violation> {
        let before: Vec<_> = self.pods[pod].held().collect();
        let now = self.clock(pod);
        let effects = self.pods[pod].step(event, now);
        for effect in effects {
            if let Effect::Settled(fence) = effect {
                self.settled.insert((fence.pod, fence.shard, fence.epoch));
            } else if !matches!(effect, Effect::LeaseExtended { .. } | Effect::WakeAt(_)) {
                self.moving.push((pod, Moving::Statement(effect, true)));
            }
        }
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

    fn advance_time(&mut self, by: Millis) -> Result<(), Violation> {
        self.now += by;
        for pod in 0..self.pods.len() {
            self.tell(pod, Event::Woken)?;
        }
        Ok(())
    }

    /// Moves a statement or answer on; returns its pod's event, if it has one.
    fn move_on(&mut self, at: usize, locked: u8) -> Result<(), Violation> {
        let (pod, moving) = self.moving.swap_remove(at);
        match moving {
            Moving::Statement(effect, answered) => {
                let id = self.pods[pod].pod();
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
        }
    }

    fn check_dead(&self, dead: PodId) -> Result<(), Violation> {
        let place = self.pods.iter().position(|it| it.pod() == dead);
        place.map_or(Ok(()), |place| {
            invariants::dead_after_its_lease(&self.pods[place], self.clock(place))
        })
    }

    fn happen(&mut self, chance: &Chance) -> Result<(), Violation> {
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
                let event = Store::new().execute(self.pods[pod].pod(), &effect, 0);
                self.tell(pod, failed(&event.unwrap()))
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
                let fence = self.pods[pod].fence(ShardId(u32::from(shard) % SHARDS));
                match fence.filter(|fence| !holds(&self.store, *fence)) {
                    Some(fence) => self.tell(pod, Event::Refused(fence)),
                    None => Ok(()),
                }
            }
            Chance::Drain(pod) if pod < 32 => self.tell_one(pod, Event::Drain),
            Chance::Release(pod) if pod < 32 => self.tell_one(pod, Event::Release),
            Chance::Drain(_) | Chance::Release(_) => Ok(()),
        }
    }

    fn tell_one(&mut self, pod: u8, event: Event) -> Result<(), Violation> {
        pick(&self.pods, pod).map_or(Ok(()), |pod| self.tell(pod, event))
    }

    fn of_shard(&mut self, pod: u8, shard: u8, event: fn(Fence) -> Event) -> Result<(), Violation> {
        let shard = ShardId(u32::from(shard) % SHARDS);
        let Some(pod) = pick(&self.pods, pod) else {
            return Ok(());
        };
        match self.pods[pod].fence(shard) {
            Some(fence) => self.tell(pod, event(fence)),
            None => Ok(()),
        }
    }

    /// From now on everything is carried out and answered at once, and a new pod comes if all are over.
    fn calm_down(&mut self) -> Result<(), Violation> {
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
    fn go_on(&mut self, times: usize) -> Result<(), Violation> {
        self.go_on_by(50, times)
    }

    fn go_on_by(&mut self, step_ms: Millis, times: usize) -> Result<(), Violation> {
        for _ in 0..times {
            while !self.moving.is_empty() {
                self.move_on(0, 0)?;
            }
            self.advance_time(step_ms)?;
        }
        Ok(())
    }

    fn active(&self) -> usize {
        let pods = self.pods.iter();
        pods.filter(|pod| matches!(pod.role(), Role::Active { .. }))
            .count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Nothing that must hold is broken, and when things calm down one pod is active and no shard in doubt.
    #[test]
    fn whatever_happens_one_pod_is_active_in_the_end(
        pods in 1..4_u128,
        chances in prop::collection::vec(chance(), 0..200),
    ) {
        let mut world = World::new(pods);
        for chance in &chances {
            world.happen(chance).map_err(|violation| TestCaseError::fail(format!("{chance:?}: {violation}")))?;
        }
        prop_assert_eq!(world.calm_down(), Ok(()));
        prop_assert_eq!(world.active(), 1, "{:?} {:#?}", world.store, world.pods);
        for pod in world.pods.iter().filter(|pod| matches!(pod.role(), Role::Active { .. })) {
            for shard in (0..SHARDS).map(ShardId) {
                let fence = pod.fence(shard).expect("every shard can be written");
                prop_assert_eq!(world.store.shards[&shard], (Some(fence.pod), fence.epoch.0));
            }
        }
    }
}

/// Both have claimed a part at the same time.
#[test]
fn of_two_pods_with_a_part_each_one_becomes_active() {
    for first_has in [0b0011, 0b1100] {
        let mut world = World::new(2);
        for _ in 0..20 {
            for at in (0..world.moving.len()).rev() {
                let (pod, moving) = &world.moving[at];
                let is_claim = matches!(moving, Moving::Statement(Effect::Claim { .. }, _));
                // Each is told that it is alone, so that both claim.
                if let Moving::Answer(Event::Observed(call, Ok(_))) = moving {
                    let (pod, call) = (*pod, *call);
                    let alone = vec![Member {
                        pod: world.pods[pod].pod(),
                        renewed: 0,
                        wants: true,
                    }];
                    world.moving.swap_remove(at);
                    world.tell(pod, Event::Observed(call, Ok(alone))).unwrap();
                } else {
                    let of_pod = [!first_has, first_has][*pod];
                    let locked = if is_claim { of_pod } else { 0 };
                    world.move_on(at, locked).unwrap();
                }
            }
            if world.pods.iter().all(|pod| pod.held().count() == 2) {
                break;
            }
            world.advance_time(20).unwrap();
        }
        assert!(world.pods.iter().all(|pod| pod.held().count() == 2));
        world.calm_down().unwrap();
        assert_eq!(world.active(), 1);
    }
}

#[test]
fn the_number_of_a_renewal_that_was_forgotten_does_not_come_again() {
    const A: PodId = PodId(1);
    let mut world = World::new(2);
    world.go_on(20).unwrap();
    let earlier = world.store.alive[&A];
    while world.store.alive[&A] == earlier {
        world.go_on(1).unwrap();
    }
    let seen = world.store.alive[&A];
    // As if a replica that had not got the last one had taken the database's place.
    world.store.alive.insert(A, earlier);
    while world.store.alive[&A] == earlier {
        world.go_on(1).unwrap();
    }
    assert_ne!(
        world.store.alive[&A], seen,
        "who saw it takes the pod for dead"
    );
}

/// One clock goes a tenth too fast and the other a tenth too slow: by 1.1 / 0.9. Time is the slow one's.
#[test]
fn a_fast_clock_declares_nobody_dead_whose_lease_is_valid_by_a_slow_one() {
    let clocks = [0, 50, 100, 150, 199, 223];
    // The observer looks at any time after a renewal.
    for (fast, steps) in clocks
        .into_iter()
        .flat_map(|fast| (200..400).step_by(20).map(move |it| (fast, it)))
    {
        let mut world = World::new(2);
        world.fast[1] = fast;
        world.go_on_by(11, steps).unwrap();
        assert!(matches!(world.pods[0].role(), Role::Active { .. }));
        // From now on the store hears nothing of the first.
        while world.pods[1].role() == Role::Standby {
            world.moving.retain(|(pod, _)| *pod == 1);
            world
                .go_on_by(11, 1)
                .unwrap_or_else(|violation| panic!("{fast} per mille: {violation}"));
        }
    }
}
