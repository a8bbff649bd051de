//! One pod, its store played by hand.

use crate::ids::{Epoch, Fence, PodId, ShardId};
use crate::ownership::invariants::{Violation, settled_is_past};
use crate::ownership::{
    Call, Effect, Ended, Event, FateUnknown, LEASE_MS, Mechanisms, Member, Millis, Role, Settings,
    State,
};

const ME: PodId = PodId(5);
const FIRST: PodId = PodId(1);

fn settings() -> Settings {
    Settings {
        shards: 4,
        ..Settings::default()
    }
}

fn fence(shard: u32, epoch: u64) -> Fence {
    Fence {
        pod: ME,
        shard: ShardId(shard),
        epoch: Epoch(epoch),
    }
}

fn shards(epochs: &[(u32, u64)]) -> Vec<(ShardId, Epoch)> {
    let shards = epochs.iter();
    shards
        .map(|&(shard, epoch)| (ShardId(shard), Epoch(epoch)))
        .collect()
}

fn members(pods: &[(PodId, u64)]) -> Vec<Member> {
    let member = |&(pod, renewed)| Member {
        pod,
        renewed,
        wants: true,
    };
    pods.iter().map(member).collect()
}

fn call(effects: &[Effect], wanted: fn(&Effect) -> Option<Call>) -> Call {
    let found = effects.iter().find_map(wanted);
    found.unwrap_or_else(|| panic!("not asked for: {effects:?}"))
}

fn observe(effect: &Effect) -> Option<Call> {
    matches!(effect, Effect::Observe(_)).then_some(())?;
    number(effect)
}

fn claim(effect: &Effect) -> Option<Call> {
    matches!(effect, Effect::Claim { .. }).then_some(())?;
    number(effect)
}

fn read(effect: &Effect) -> Option<Call> {
    matches!(effect, Effect::ReadOwned(_)).then_some(())?;
    number(effect)
}

fn renew(effect: &Effect) -> Option<Call> {
    matches!(effect, Effect::Renew { .. }).then_some(())?;
    number(effect)
}

fn number(effect: &Effect) -> Option<Call> {
    match *effect {
        Effect::Observe(call)
        | Effect::ReadOwned(call)
        | Effect::Renew { call, .. }
        | Effect::Claim { call, .. }
        | Effect::Advance(call, _) => Some(call),
        _ => None,
    }
}

fn advances(effects: &[Effect]) -> Vec<(Call, Fence)> {
    let advances = effects.iter().filter_map(|effect| match *effect {
        Effect::Advance(call, fence) => Some((call, fence)),
        _ => None,
    });
    advances.collect()
}

/// A pod that has been told that it is first, and what it then asked for.
fn claiming() -> (State, Call) {
    let mut pod = State::new(ME, settings(), 0);
    let effects = pod.step(Event::Wanted, 0);
    pod.step(Event::Renewed(call(&effects, renew), Ok(true)), 0);
    let observed = Event::Observed(call(&effects, observe), Ok(members(&[(ME, 0)])));
    let effects = pod.step(observed, 1);
    (pod, call(&effects, claim))
}

fn active() -> State {
    let (mut pod, claim) = claiming();
    let all = shards(&[(0, 1), (1, 1), (2, 9), (3, 1)]);
    pod.step(Event::Claimed(claim, Ok(all)), 2);
    assert_eq!(pod.role(), Role::Active { term: 9 });
    pod
}

#[test]
fn a_lease_ends_by_the_pods_own_clock_and_resumes_in_the_same_term() {
    let mut pod = active();
    let effects = pod.step(Event::Woken, 500);
    let renewal = call(&effects, renew);
    assert_eq!(pod.lease_valid_until(), LEASE_MS);
    pod.step(Event::Woken, LEASE_MS - 1);
    assert_eq!(pod.role(), Role::Active { term: 9 });
    pod.step(Event::Woken, LEASE_MS);
    assert_eq!(pod.role(), Role::Standby);
    // It counts from when it was sent.
    let renewed_until = 500 + LEASE_MS;
    pod.step(Event::Renewed(renewal, Ok(true)), LEASE_MS + 400);
    assert_eq!(pod.role(), Role::Active { term: 9 });
    assert_eq!(pod.lease_valid_until(), renewed_until);
    pod.step(Event::Renewed(renewal, Ok(true)), LEASE_MS + 450);
    assert_eq!(
        pod.lease_valid_until(),
        renewed_until,
        "the same answer once more"
    );
}

/// The connection was gone, which was noticed after a second: there is time for another try before the lease ends.
#[test]
fn a_renewal_that_was_long_in_vain_is_tried_again_at_once() {
    let mut pod = active();
    let renewal = call(&pod.step(Event::Woken, 500), renew);
    let mut effects = pod.step(Event::Renewed(renewal, Err(FateUnknown)), 1_500);
    effects.extend(pod.step(Event::Woken, 1_500));
    let renewal = call(&effects, renew);
    // What fails at once waits.
    let effects = pod.step(Event::Renewed(renewal, Err(FateUnknown)), 1_501);
    assert!(
        effects.iter().all(|effect| renew(effect).is_none()),
        "{effects:?}"
    );
    call(&pod.step(Event::Woken, 2_000), renew);
}

/// Whether those who found the lease expired are told, in whatever role and whether or not the pod noticed that it had.
#[test]
fn what_waits_for_the_lease_hears_of_its_renewal() {
    for (is_draining, notices) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut pod = active();
        let renewal = call(&pod.step(Event::Woken, 500), renew);
        if is_draining {
            pod.step(Event::Drain, 600);
        }
        if notices {
            pod.step(Event::Woken, LEASE_MS + 100);
        }
        let effects = pod.step(Event::Renewed(renewal, Ok(true)), LEASE_MS + 200);
        let extended = Effect::LeaseExtended { expired: LEASE_MS };
        assert!(effects.contains(&extended), "{effects:?}");
        let effects = pod.step(Event::Renewed(renewal, Ok(true)), LEASE_MS + 201);
        let told = |effect: &Effect| matches!(effect, Effect::LeaseExtended { .. });
        assert!(!effects.iter().any(told), "the same answer once more");
    }
}

#[test]
fn a_pod_that_was_declared_dead_is_over_for_good() {
    let mut pod = active();
    let renewal = call(&pod.step(Event::Woken, 500), renew);
    pod.step(Event::Renewed(renewal, Ok(false)), 501);
    assert_eq!(
        (pod.role(), pod.ended()),
        (Role::Over, Some(Ended::DeclaredDead))
    );
    let late = Event::Claimed(99, Ok(shards(&[(0, 77)])));
    assert_eq!(pod.step(late, 502), []);
    assert_eq!(pod.fence(ShardId(0)), None);
    assert!(pod.is_settled(fence(0, 1)));
}

#[test]
fn the_answer_to_an_advance_that_was_carried_out_may_be_lost() {
    let mut pod = active();
    let old = fence(0, 1);
    let effects = pod.step(Event::CommitFateUnknown(old), 10);
    let [(first, advanced)] = advances(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(advanced, old);
    assert_eq!(pod.fence(ShardId(0)), None, "a load would tell nothing yet");
    pod.step(Event::Advanced(first, old, Err(FateUnknown)), 20);
    let effects = pod.step(Event::Woken, 520);
    let [(second, _)] = advances(&effects)[..] else {
        panic!("{effects:?}")
    };
    // The first was carried out, so this one finds another epoch.
    let effects = pod.step(Event::Advanced(second, old, Ok(None)), 530);
    let reading = call(&effects, read);
    assert!(!pod.is_settled(old));
    let owned = shards(&[(0, 2), (1, 1), (2, 9), (3, 1)]);
    let effects = pod.step(Event::Owned(reading, Ok(owned)), 540);
    assert!(effects.contains(&Effect::Settled(old)), "{effects:?}");
    assert_eq!(pod.fence(ShardId(0)), Some(fence(0, 2)));
    assert_eq!(pod.role(), Role::Active { term: 9 });
}

#[test]
fn the_winner_of_two_advances_may_be_heard_last() {
    let mut pod = active();
    let old = fence(0, 1);
    let effects = pod.step(Event::CommitFateUnknown(old), 10);
    let (advance, _) = advances(&effects)[0];
    // A load under the old epoch is refused first.
    let effects = pod.step(Event::Refused(old), 11);
    let reading = call(&effects, read);
    pod.step(Event::Advanced(advance, old, Ok(Some(Epoch(2)))), 12);
    assert_eq!(pod.fence(ShardId(0)), Some(fence(0, 2)));
    // What was read before is older than that, and no reason to doubt.
    let owned = shards(&[(0, 1), (1, 1), (2, 9), (3, 1)]);
    let effects = pod.step(Event::Owned(reading, Ok(owned)), 13);
    assert_eq!(pod.fence(ShardId(0)), Some(fence(0, 2)));
    assert_eq!(pod.ended(), None);
    call(&effects, read);
}

#[test]
fn the_answer_to_a_claim_that_was_carried_out_may_be_lost() {
    let (mut pod, claim) = claiming();
    let effects = pod.step(Event::Claimed(claim, Err(FateUnknown)), 30);
    let reading = call(&effects, read);
    let all = shards(&[(0, 1), (1, 1), (2, 1), (3, 1)]);
    pod.step(Event::Owned(reading, Ok(all)), 31);
    assert_eq!(pod.role(), Role::Active { term: 1 });
}

#[test]
fn a_claim_that_is_carried_out_late_is_found() {
    let (mut pod, first) = claiming();
    let reading = call(&pod.step(Event::Claimed(first, Err(FateUnknown)), 30), read);
    let effects = pod.step(Event::Owned(reading, Ok(vec![])), 31);
    // Now it is carried out. The next claim finds nothing free, not even for this pod.
    let mut now = 31;
    let mut events = vec![];
    let mut effects = effects;
    while !matches!(pod.role(), Role::Active { .. }) {
        for effect in &effects {
            match *effect {
                Effect::Observe(call) => {
                    events.push(Event::Observed(call, Ok(members(&[(ME, 0)]))))
                }
                Effect::Claim { call, .. } => events.push(Event::Claimed(call, Ok(vec![]))),
                Effect::ReadOwned(call) => {
                    let all = shards(&[(0, 1), (1, 1), (2, 1), (3, 1)]);
                    events.push(Event::Owned(call, Ok(all)));
                }
                _ => {}
            }
        }
        now += 50;
        assert!(now < 2_900, "it never becomes active");
        effects = pod.step(events.pop().unwrap_or(Event::Woken), now);
    }
}

/// A pod that had two shards, and has seen that it is not first: the call that gives these up, and their fences.
fn giving_way() -> (State, Call, Vec<Fence>) {
    let (mut pod, claim) = claiming();
    let effects = pod.step(Event::Claimed(claim, Ok(shards(&[(0, 1), (1, 1)]))), 2);
    let effects = match effects.iter().find_map(observe) {
        Some(_) => effects,
        None => pod.step(Event::Woken, 101),
    };
    let observing = call(&effects, observe);
    let both = members(&[(FIRST, 0), (ME, 0)]);
    let effects = pod.step(Event::Observed(observing, Ok(both)), 102);
    let released = effects.into_iter().find_map(|effect| match effect {
        Effect::ReleaseShards(call, fences) => Some((call, fences)),
        _ => None,
    });
    let (call, fences) = released.expect("it gives them up");
    (pod, call, fences)
}

#[test]
fn a_pod_that_has_a_part_and_is_not_first_gives_it_up() {
    let (pod, _, released) = giving_way();
    assert_eq!(released, [fence(0, 1), fence(1, 1)]);
    assert_eq!(pod.held().count(), 0);
}

/// Whose answer was lost: what the pod still has can be taken from it at any time, until it has that in a new epoch.
#[test]
fn a_release_may_be_carried_out_late() {
    let (mut pod, release, released) = giving_way();
    let effects = pod.step(Event::ShardsReleased(release, Err(FateUnknown)), 103);
    let owned = Event::Owned(call(&effects, read), Ok(shards(&[(0, 1), (1, 1)])));
    let effects = pod.step(owned, 104);
    assert_eq!(pod.fence(ShardId(0)), None);
    let advances = advances(&effects);
    let advanced: Vec<_> = advances.iter().map(|(_, fence)| *fence).collect();
    assert_eq!(advanced, released);
    let (advance, old) = advances[0];
    pod.step(Event::Advanced(advance, old, Ok(Some(Epoch(2)))), 105);
    assert_eq!(pod.fence(ShardId(0)), Some(fence(0, 2)));
}

#[test]
fn a_pod_is_declared_dead_by_one_call_at_a_time() {
    let mut pod = State::new(ME, settings(), 0);
    let mut effects = pod.step(Event::Wanted, 0);
    let mut declared = 0;
    for now in (0..10_000).step_by(50) {
        let events: Vec<Event> = effects
            .iter()
            .filter_map(|effect| match *effect {
                Effect::Observe(call) => {
                    Some(Event::Observed(call, Ok(members(&[(FIRST, 7), (ME, now)]))))
                }
                Effect::Renew { call, .. } => Some(Event::Renewed(call, Ok(true))),
                Effect::ReadOwned(call) => Some(Event::Owned(call, Ok(vec![]))),
                _ => None,
            })
            .collect();
        let dead = |effect: &&Effect| matches!(effect, Effect::DeclareDead { .. });
        declared += effects.iter().filter(dead).count();
        effects = pod.step(Event::Woken, now);
        for event in events {
            effects.extend(pod.step(event, now));
        }
    }
    assert_eq!(declared, 1, "the first has no answer yet");
    let failed = Event::DeclaredDead(FIRST, Err(FateUnknown));
    effects = pod.step(failed, 10_000);
    effects.extend(pod.step(Event::Woken, 10_100));
    let observing = call(&effects, observe);
    let effects = pod.step(
        Event::Observed(observing, Ok(members(&[(FIRST, 7), (ME, 1)]))),
        10_101,
    );
    let again = Effect::DeclareDead {
        pod: FIRST,
        seen: 7,
    };
    assert!(effects.contains(&again), "{effects:?}");
}

#[test]
fn a_pod_says_at_once_that_it_wants_shards_and_that_it_does_not_any_more() {
    let said = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match *effect {
            Effect::Renew { call, wants } => Some((call, wants)),
            _ => None,
        })
    };
    let mut pod = State::new(ME, settings(), 0);
    pod.step(Event::Woken, 0);
    let (first, wants) = said(&pod.step(Event::Woken, 500)).unwrap();
    assert!(!wants);
    pod.step(Event::Renewed(first, Ok(true)), 510);
    let (second, wants) = said(&pod.step(Event::Wanted, 520)).unwrap();
    assert!(wants);
    pod.step(Event::Renewed(second, Ok(true)), 530);
    let (_, wants) = said(&pod.step(Event::Drain, 540)).unwrap();
    assert!(!wants);
}

#[test]
fn an_active_pod_gives_nothing_up_while_its_lease_has_expired() {
    let mut pod = active();
    let effects = pod.step(Event::Woken, 4_000);
    assert_eq!(pod.role(), Role::Standby);
    assert!(effects.iter().find_map(observe).is_none(), "{effects:?}");
}

#[test]
fn a_refused_fence_that_is_anothers_ends_the_activity() {
    let mut pod = active();
    let reading = call(&pod.step(Event::Refused(fence(2, 9)), 10), read);
    assert_eq!(pod.fence(ShardId(2)), None);
    let rest = shards(&[(0, 1), (1, 1), (3, 1)]);
    let effects = pod.step(Event::Owned(reading, Ok(rest)), 11);
    assert_eq!(pod.role(), Role::Standby);
    call(&effects, renew);
}

#[test]
fn an_older_database_ends_the_pod() {
    let mut pod = active();
    let reading = call(&pod.step(Event::Refused(fence(2, 9)), 10), read);
    let older = shards(&[(0, 1), (1, 1), (2, 4), (3, 1)]);
    pod.step(Event::Owned(reading, Ok(older)), 11);
    assert_eq!(pod.ended(), Some(Ended::StoreWentBack));
}

#[test]
fn a_draining_pod_settles_and_then_releases() {
    let mut pod = active();
    pod.step(Event::Drain, 10);
    assert_eq!(pod.role(), Role::Draining);
    assert_eq!(pod.fence(ShardId(1)), Some(fence(1, 1)));
    let effects = pod.step(Event::CommitFateUnknown(fence(1, 1)), 11);
    let (advance, _) = advances(&effects)[0];
    let effects = pod.step(
        Event::Advanced(advance, fence(1, 1), Ok(Some(Epoch(2)))),
        12,
    );
    assert!(effects.contains(&Effect::Settled(fence(1, 1))));
    assert!(pod.step(Event::Release, 13).contains(&Effect::Release));
    assert_eq!(pod.role(), Role::Over);
    assert_eq!(pod.released(), None);
    pod.step(Event::Released(Ok(())), 14);
    assert_eq!(pod.released(), Some(Ok(())));
}

#[test]
fn what_was_loaded_under_a_fence_ends_with_it() {
    let mut pod = active();
    assert!(pod.still_holds(fence(1, 1)));
    pod.step(Event::Drain, 10);
    assert!(pod.still_holds(fence(1, 1)), "it finishes what it has");
    // Whatever comes of the commit, the shard moves on.
    let effects = pod.step(Event::CommitFateUnknown(fence(1, 1)), 11);
    assert!(!pod.still_holds(fence(1, 1)));
    assert!(pod.still_holds(fence(3, 1)), "another shard");
    let (advance, _) = advances(&effects)[0];
    let advanced = Event::Advanced(advance, fence(1, 1), Ok(Some(Epoch(2))));
    pod.step(advanced, 12);
    assert!(!pod.still_holds(fence(1, 1)));
    assert!(pod.still_holds(fence(1, 2)));
    pod.step(Event::Refused(fence(3, 1)), 13);
    assert!(!pod.still_holds(fence(3, 1)));
    pod.step(Event::Renewed(1, Ok(false)), 14);
    assert!(!pod.still_holds(fence(1, 2)), "it was declared dead");
}

#[test]
fn few_advances_are_under_way_at_a_time_and_all_come_to_an_end() {
    let settings = Settings {
        shards: 64,
        ..Settings::default()
    };
    let mut pod = State::new(ME, settings, 0);
    let effects = pod.step(Event::Wanted, 0);
    let observed = Event::Observed(call(&effects, observe), Ok(members(&[(ME, 0)])));
    let claiming = call(&pod.step(observed, 1), claim);
    let all: Vec<_> = (0..64).map(|shard| (shard, 1)).collect();
    pod.step(Event::Claimed(claiming, Ok(shards(&all))), 2);
    let mut under_way = vec![];
    let mut settled = 0;
    let mut now: Millis = 3;
    for shard in 0..64 {
        under_way.extend(advances(
            &pod.step(Event::CommitFateUnknown(fence(shard, 1)), now),
        ));
    }
    while let Some((call, fence)) = under_way.pop() {
        assert!(under_way.len() < super::super::MAX_ADVANCES_IN_FLIGHT);
        now += 1;
        let effects = pod.step(Event::Advanced(call, fence, Ok(Some(Epoch(2)))), now);
        settled += effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Settled(_)))
            .count();
        under_way.extend(advances(&effects));
    }
    assert_eq!(settled, 64);
}

#[test]
fn without_settling_a_load_comes_too_early() {
    let settings = |mechanisms| Settings {
        shards: 1,
        mechanisms,
        ..Settings::default()
    };
    let settle = |mechanisms| {
        let mut pod = State::new(ME, settings(mechanisms), 0);
        let effects = pod.step(Event::Wanted, 0);
        let observed = Event::Observed(call(&effects, observe), Ok(members(&[(ME, 0)])));
        let claiming = call(&pod.step(observed, 1), claim);
        pod.step(Event::Claimed(claiming, Ok(shards(&[(0, 1)]))), 2);
        let old = fence(0, 1);
        let mut effects = pod.step(Event::CommitFateUnknown(old), 3);
        if let [(call, fence)] = advances(&effects)[..] {
            effects = pod.step(Event::Advanced(call, fence, Ok(Some(Epoch(2)))), 4);
        }
        assert!(effects.contains(&Effect::Settled(old)));
        settled_is_past(&pod, old)
    };
    assert_eq!(settle(Mechanisms::default()), Ok(()));
    let violation = settle(Mechanisms::default().without_settling());
    assert!(matches!(
        violation,
        Err(Violation::SettledInTheSameEpoch { .. })
    ));
}
