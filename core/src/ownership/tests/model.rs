//! Several pods of which one owns all shards, while statements and answers go astray.

use proptest::prelude::*;

use super::world::{Moving, World, chance};
use crate::ids::{PodId, ShardId};
use crate::ownership::{Effect, Event, Member, Role, Settings};

const SHARDS: u32 = 4;

fn world(pods: u128) -> World {
    let mut world = World::new(Settings {
        shards: SHARDS,
        ..Settings::default()
    });
    for id in 1..=pods {
        world.join(PodId(id));
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Nothing that must hold is broken, and when things calm down one pod is active and no shard in doubt.
    #[test]
    fn whatever_happens_one_pod_is_active_in_the_end(
        pods in 1..4_u128,
        chances in prop::collection::vec(chance(), 0..200),
    ) {
        let mut world = world(pods);
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
        let mut world = world(2);
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
    let mut world = world(2);
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
        let mut world = world(2);
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
