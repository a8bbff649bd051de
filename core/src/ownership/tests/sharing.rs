//! Several pods that share the shards, while statements and answers go astray.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::world::{World, chance};
use crate::ids::{PodId, ShardId};
use crate::ownership::members::Revision;
use crate::ownership::{
    Event, MEMBERSHIP_INTERVAL_MS, Millis, OBSERVATION_INTERVAL_MS, PATIENCE_MS, Role,
    SHARED_CLAIM_INTERVAL_MS, Settings, State,
};

const SHARDS: u32 = 8;

/// Pods of these revisions, with the ids 1, 2 and so on.
fn world(revisions: &[u64]) -> World {
    let mut world = World::new(Settings {
        shards: SHARDS,
        max_shards_leaving: 2,
        ..Settings::shared()
    });
    for (id, revision) in (1..).zip(revisions) {
        join(&mut world, id, *revision);
    }
    world
}

fn join(world: &mut World, id: u128, revision: u64) {
    world.store.revisions.insert(PodId(id), Revision(revision));
    world.join(PodId(id));
}

fn shards() -> impl Iterator<Item = ShardId> {
    (0..SHARDS).map(ShardId)
}

/// How many shards each pod owns that can be written, in the order in which they joined.
fn owned(world: &World) -> Vec<usize> {
    let fences = |pod: &State| shards().filter(|it| pod.fence(*it).is_some()).count();
    world.pods.iter().map(fences).collect()
}

/// Every shard belongs to one pod, which knows it.
fn all_agree(world: &World) {
    for shard in shards() {
        let fences = world.living().filter_map(|pod| pod.fence(shard));
        let fences: Vec<_> = fences.map(|it| (Some(it.pod), it.epoch.0)).collect();
        assert_eq!(fences, [world.store.shards[&shard]], "{shard:?}");
    }
}

fn settled(revisions: &[u64]) -> World {
    let mut world = world(revisions);
    world.go_on(200).unwrap();
    all_agree(&world);
    world
}

const STEP_MS: Millis = 20;
/// For so long a shard may have no owner: until somebody has seen for long enough that its pod does nothing, and then for long
/// enough that nobody else claims what it left. Each of these is late by up to one step of the test's time.
const LONGEST: Millis = PATIENCE_MS
    + 2 * OBSERVATION_INTERVAL_MS
    + SHARED_CLAIM_INTERVAL_MS
    + MEMBERSHIP_INTERVAL_MS
    + 5 * STEP_MS;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Nothing that must hold is broken. When things calm down the pods of the newest revision have their shares, those that drain have
    /// nothing, no shard is in doubt, and nothing moves any more.
    #[test]
    fn whatever_happens_everybody_has_its_share_in_the_end(
        revisions in prop::collection::vec(1..3_u64, 1..5),
        chances in prop::collection::vec(chance(), 0..300),
    ) {
        let mut world = world(&revisions);
        for chance in &chances {
            world.happen(chance).map_err(|violation| TestCaseError::fail(format!("{chance:?}: {violation}")))?;
        }
        if world.active() == 0 {
            join(&mut world, 50, 2);
        }
        prop_assert_eq!(world.go_on(400), Ok(()));
        all_agree(&world);
        let serving: Vec<_> = world.pods.iter().filter(|pod| matches!(pod.role(), Role::Active { .. })).collect();
        let revision = |pod: &PodId| world.store.revisions[pod];
        let newest = serving.iter().map(|it| revision(&it.pod())).max();
        let (newest, others): (Vec<_>, Vec<_>) = world.pods.iter().partition(|pod| {
            matches!(pod.role(), Role::Active { .. }) && Some(revision(&pod.pod())) == newest
        });
        prop_assert!(others.iter().all(|pod| pod.held().count() == 0));
        let shares: BTreeSet<usize> = newest.iter().map(|pod| pod.held().count()).collect();
        prop_assert!(shares.last().unwrap() - shares.first().unwrap() <= 1, "{:?}", shares);
        let before = world.store.shards.clone();
        world.go_on(200).unwrap();
        prop_assert_eq!(before, world.store.shards.clone());
    }

    /// Whenever pods end without a word.
    #[test]
    fn no_shard_is_without_an_owner_for_longer_than_a_lease_and_a_claim(
        pods in 2..5_usize,
        ends in prop::collection::vec((0..200_u64, 0..4_usize), 0..4),
    ) {
        let mut world = world(&vec![1; pods]);
        let mut killed = BTreeSet::new();
        let mut since = vec![0; SHARDS as usize];
        let mut ends: VecDeque<_> = ends.into_iter().collect();
        let mut next = ends.pop_front();
        for _ in 0..1_000 {
            world.go_on_by(STEP_MS, 1).unwrap();
            for (shard, since) in shards().zip(&mut since) {
                let owner = world.store.shards[&shard].0;
                if owner.is_some_and(|owner| !killed.contains(&owner)) {
                    *since = world.now;
                }
                prop_assert!(world.now - *since <= LONGEST, "{:?} at {}", shard, world.now);
            }
            next = next.map(|(wait, pod)| (wait.saturating_sub(1), pod));
            if let Some((0, pod)) = next {
                // One is always left.
                if pod + 1 < pods {
                    world.kill(pod);
                    killed.insert(world.pods[pod].pod());
                }
                next = ends.pop_front();
            }
        }
    }
}

#[test]
fn pods_share_evenly_and_newcomers_get_their_share() {
    let mut world = settled(&[1]);
    assert_eq!(owned(&world), [8]);
    join(&mut world, 2, 1);
    world.go_on(200).unwrap();
    all_agree(&world);
    assert_eq!(owned(&world), [4, 4]);
    join(&mut world, 3, 1);
    world.go_on(200).unwrap();
    all_agree(&world);
    assert_eq!(owned(&world), [3, 3, 2]);
    // Each shard that moved did so once.
    let epochs: u64 = world.store.shards.values().map(|it| it.1).sum();
    assert_eq!(epochs, 8 + 4 + 2);
}

#[test]
fn a_rollout_moves_everything_once_and_drained_pods_own_nothing() {
    let mut world = settled(&[1, 1]);
    let before: u64 = world.store.shards.values().map(|it| it.1).sum();
    join(&mut world, 3, 2);
    join(&mut world, 4, 2);
    for old in [0, 1] {
        world.tell(old, Event::Drain).unwrap();
    }
    // There is an owner all the time.
    for _ in 0..300 {
        world.go_on(1).unwrap();
        assert!(shards().all(|shard| world.store.is_owned(shard)));
    }
    all_agree(&world);
    assert_eq!(owned(&world), [0, 0, 4, 4]);
    let after: u64 = world.store.shards.values().map(|it| it.1).sum();
    assert_eq!(after - before, u64::from(SHARDS));
}

#[test]
fn what_was_rolled_back_gives_everything_back() {
    let mut world = settled(&[1, 1]);
    join(&mut world, 3, 2);
    world.go_on(30).unwrap();
    assert!(owned(&world)[2] > 0);
    world.tell(2, Event::Drain).unwrap();
    world.go_on(200).unwrap();
    all_agree(&world);
    assert_eq!(owned(&world), [4, 4, 0]);
}

#[test]
fn a_pod_that_is_alone_keeps_its_shards_while_it_drains() {
    let mut world = settled(&[1]);
    world.tell(0, Event::Drain).unwrap();
    world.go_on(100).unwrap();
    assert_eq!(owned(&world), [8]);
}

/// It learns of it at once, not at its next look.
#[test]
fn a_pod_that_is_told_that_it_was_given_shards_reads_which() {
    let mut world = settled(&[1, 1]);
    let shard = shards()
        .find(|it| world.pods[0].fence(*it).is_some())
        .unwrap();
    let row = world.store.shards.get_mut(&shard).unwrap();
    *row = (Some(PodId(2)), row.1 + 1);
    world.tell(1, Event::Given).unwrap();
    world.go_on_by(1, 2).unwrap();
    assert!(world.pods[1].fence(shard).is_some());
}

/// A tenth of a second to see the last renewal, patience, a tenth to be sure; then its share is claimed at once.
#[test]
fn what_a_killed_pod_had_is_owned_again_within_four_seconds() {
    for later in 0..10 {
        let mut world = settled(&[1, 1, 1]);
        world.go_on_by(50, later).unwrap();
        world.kill(0);
        let killed = world.now;
        while world.store.owned(PodId(1)).len() == 3 {
            world.go_on_by(5, 1).unwrap();
        }
        world.go_on_by(5, 2).unwrap();
        all_agree(&world);
        assert!(world.now - killed <= 4_000, "{}", world.now - killed);
    }
}
