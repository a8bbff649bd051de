//! One pod that shares the shards, by hand.

use crate::ids::{Epoch, Fence, PodId, ShardId};
use crate::ownership::members::{
    KeyFingerprint, MapVersion, Membership, Participant, Peer, Revision,
};
use crate::ownership::{
    Call, Effect, Event, FateUnknown, GIVEN_INTERVAL_MS, Member, Settings, State, Unmovable,
};

const ME: PodId = PodId(1);
const OTHER: PodId = PodId(2);
const THIRD: PodId = PodId(3);

fn member(pod: PodId, wants: bool) -> Member {
    Member {
        pod,
        renewed: 1,
        wants,
    }
}

/// Who wants shards, and owns so many of nine.
fn membership(owns: &[(PodId, u32)]) -> Membership {
    let participant = |&(pod, owns): &(PodId, u32)| Participant {
        name: String::new(),
        member: member(pod, true),
        peer: Some(Peer {
            address: String::new(),
            revision: Revision(1),
            protocol: 1,
            key: KeyFingerprint([0; 32]),
        }),
        owns,
    };
    Membership {
        map_version: MapVersion(7),
        free: 9 - owns.iter().map(|it| it.1).sum::<u32>(),
        participants: owns.iter().map(participant).collect(),
    }
}

/// A pod with its clock.
struct Pod {
    state: State,
    now: u64,
}

impl Pod {
    fn tell(&mut self, event: Event) -> Vec<Effect> {
        self.now += 1;
        let effects = self.state.step(event, self.now);
        let is_routine = |effect: &Effect| {
            matches!(
                effect,
                Effect::WakeAt(_) | Effect::Renew { .. } | Effect::LeaseExtended { .. }
            )
        };
        effects.into_iter().filter(|it| !is_routine(it)).collect()
    }

    /// The call of the next count of who owns how much, in half a second.
    fn counts(&mut self) -> Call {
        for _ in 0..100 {
            self.now += 20;
            for effect in self.tell(Event::Woken) {
                match effect {
                    Effect::ObserveMembership(call) => return call,
                    Effect::Observe(call) => {
                        drop(self.tell(Event::Observed(call, Err(FateUnknown))))
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        panic!("it does not ask");
    }

    /// How often it asks the store something in five seconds, if these are alive.
    fn looks(&mut self, alive: &[PodId]) -> u64 {
        let (end, mut looks) = (self.now + 5_000, 0);
        while self.now < end {
            self.now += 9;
            let mut asked = self.tell(Event::Woken);
            while let Some(effect) = asked.pop() {
                looks += 1;
                let answer = match effect {
                    Effect::Observe(call) => {
                        let members = alive.iter().map(|&pod| Member {
                            renewed: looks,
                            ..member(pod, false)
                        });
                        Event::Observed(call, Ok(members.collect()))
                    }
                    Effect::ObserveMembership(call) => {
                        Event::MembershipObserved(call, Err(FateUnknown))
                    }
                    other => panic!("{other:?}"),
                };
                asked.extend(self.tell(answer));
            }
        }
        looks
    }

    /// What it does once it has seen this.
    fn sees(&mut self, owns: &[(PodId, u32)]) -> Vec<Effect> {
        let call = self.counts();
        self.tell(Event::MembershipObserved(call, Ok(membership(owns))))
    }
}

/// It owns the first shards, in epoch 1. At most 5 leave at a time.
fn owning(count: u32) -> Pod {
    let settings = Settings {
        shards: 9,
        max_shards_leaving: 5,
        ..Settings::shared()
    };
    let mut pod = Pod {
        state: State::new(ME, settings, 0),
        now: 0,
    };
    let effects = pod.tell(Event::Wanted);
    let [Effect::ObserveMembership(call)] = effects[..] else {
        panic!("{effects:?}");
    };
    let others = [(ME, 0), (OTHER, 9 - count)];
    let effects = pod.tell(Event::MembershipObserved(call, Ok(membership(&others))));
    if let [Effect::Claim { call, .. }] = effects[..] {
        let claimed = (0..count).map(|shard| (ShardId(shard), Epoch(1)));
        pod.tell(Event::Claimed(call, Ok(claimed.collect())));
    }
    assert_eq!(pod.state.held().count(), count as usize);
    assert_eq!(pod.state.map_version(), Some(MapVersion(7)));
    pod
}

fn fence(shard: u32) -> Fence {
    Fence {
        pod: ME,
        shard: ShardId(shard),
        epoch: Epoch(1),
    }
}

/// The one that brings shards to rest for `wanted`, and how many.
fn quiesce(effects: &[Effect], wanted: PodId) -> (Call, u32) {
    let quiesce = |effect: &Effect| match *effect {
        Effect::Quiesce {
            call, count, to, ..
        } if to == wanted => Some((call, count)),
        _ => None,
    };
    effects.iter().find_map(quiesce).unwrap()
}

fn rest(shards: &[u32]) -> Vec<ShardId> {
    shards.iter().copied().map(ShardId).collect()
}

/// Two shards have been brought to rest and are being moved to the other pod.
fn moving() -> (Pod, Call) {
    let mut pod = owning(9);
    let effects = pod.sees(&[(ME, 9), (OTHER, 0)]);
    let (call, _) = quiesce(&effects, OTHER);
    let effects = pod.tell(Event::Quiesced(call, rest(&[3, 4])));
    let [Effect::HandOver(call, fences, OTHER)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(fences[..], [fence(3), fence(4)]);
    (pod, *call)
}

#[test]
fn a_pod_claims_its_part_of_what_is_free() {
    let mut pod = owning(0);
    let effects = pod.sees(&[(ME, 0), (OTHER, 0), (THIRD, 0)]);
    assert!(
        matches!(effects[..], [Effect::Claim { limit: 3, .. }]),
        "{effects:?}"
    );
}

/// One that was alone looks seldom, and another may have come since.
#[test]
fn who_drains_looks_at_once_for_those_who_want_its_shards() {
    let mut pod = owning(9);
    pod.sees(&[(ME, 9)]);
    let effects = pod.tell(Event::Drain);
    let [Effect::ObserveMembership(call)] = effects[..] else {
        panic!("{effects:?}");
    };
    assert!(!pod.state.has_handed_over(), "it does not know yet");
    // As of before the store knew that it drains.
    let alone = membership(&[(ME, 9)]);
    pod.tell(Event::MembershipObserved(call, Ok(alone.clone())));
    assert!(!pod.state.has_handed_over(), "it does not know yet");
    let call = pod.counts();
    let mut both = membership(&[(ME, 9), (OTHER, 0)]);
    both.participants[0].member.wants = false;
    let effects = pod.tell(Event::MembershipObserved(call, Ok(both)));
    assert_eq!(quiesce(&effects, OTHER).1, 5);
    assert!(!pod.state.has_handed_over());
    let call = pod.counts();
    let mut alone = alone;
    alone.participants[0].member.wants = false;
    pod.tell(Event::MembershipObserved(call, Ok(alone)));
    assert!(pod.state.has_handed_over(), "nobody would have them");
}

/// Another has not seen yet that it drains.
#[test]
fn who_drains_looks_once_more_whether_others_have_given_it_something() {
    let mut pod = owning(0);
    let effects = pod.tell(Event::Drain);
    let [Effect::ObserveMembership(call)] = effects[..] else {
        panic!("{effects:?}");
    };
    assert!(!pod.state.has_handed_over(), "it does not know yet");
    let mut seen = membership(&[(ME, 1), (OTHER, 8)]);
    seen.participants[0].member.wants = false;
    let effects = pod.tell(Event::MembershipObserved(call, Ok(seen)));
    assert!(!pod.state.has_handed_over());
    let [Effect::ReadOwned(call)] = effects[..] else {
        panic!("{effects:?}");
    };
    pod.tell(Event::Owned(call, Ok(vec![(ShardId(4), Epoch(2))])));
    assert!(!pod.state.has_handed_over());
}

/// It has been free for a while: the other pod does not come.
#[test]
fn a_pod_takes_what_nobody_takes() {
    let mut pod = owning(4);
    pod.sees(&[(ME, 4), (OTHER, 5)]);
    let seen = [(ME, 4), (OTHER, 0)];
    let mut limits = vec![];
    for _ in 0..4 {
        for effect in pod.sees(&seen) {
            if let Effect::Claim { call, limit } = effect {
                limits.push(limit);
                let effects = pod.tell(Event::Claimed(call, Err(FateUnknown)));
                let [Effect::ReadOwned(call)] = effects[..] else {
                    panic!("{effects:?}");
                };
                let owned = pod.state.held().collect();
                pod.tell(Event::Owned(call, Ok(owned)));
            }
        }
    }
    assert_eq!(limits.first(), Some(&1));
    assert_eq!(limits.last(), Some(&5));
}

#[test]
fn what_leaves_already_is_not_planned_again() {
    let mut pod = owning(9);
    let seen = [(ME, 9), (OTHER, 0), (THIRD, 0)];
    let effects = pod.sees(&seen);
    let (first, count) = quiesce(&effects, OTHER);
    assert_eq!(count, 3);
    let (second, count) = quiesce(&effects, THIRD);
    assert_eq!(count, 2);
    assert_eq!(pod.sees(&seen), [], "five are on their way");
    // None could be brought to rest for the third: there is room for two, and they are for it.
    assert_eq!(pod.tell(Event::QuiescenceOver(second)), []);
    let effects = pod.sees(&seen);
    assert_eq!((effects.len(), quiesce(&effects, THIRD).1), (1, 2));
    // Once the first three are being moved, too.
    assert_eq!(pod.tell(Event::Quiesced(first, rest(&[0, 1, 2]))).len(), 1);
    assert_eq!(pod.sees(&seen), []);
}

#[test]
fn what_leaves_is_counted_as_gone_even_if_its_target_is() {
    let mut pod = owning(9);
    let effects = pod.sees(&[(ME, 9), (OTHER, 0), (THIRD, 0)]);
    let (call, _) = quiesce(&effects, THIRD);
    assert_eq!(pod.tell(Event::QuiescenceOver(call)), []);
    // Of nine it is to have five now; three are on their way to the other pod, which has gone.
    let effects = pod.sees(&[(ME, 9), (THIRD, 0)]);
    assert_eq!((effects.len(), quiesce(&effects, THIRD).1), (1, 1));
}

/// Else two that drain would give to each other, for as long as each takes the other to want shards.
#[test]
fn a_pod_that_drains_gives_everything_once_others_can_see_that_it_drains() {
    let mut pod = owning(4);
    let effects = pod.tell(Event::Drain);
    let [Effect::ObserveMembership(call)] = effects[..] else {
        panic!("{effects:?}");
    };
    let owns = [(ME, 4), (OTHER, 5)];
    let seen = Event::MembershipObserved(call, Ok(membership(&owns)));
    assert_eq!(pod.tell(seen), []);
    let mut seen = membership(&owns);
    seen.participants[0].member.wants = false;
    let call = pod.counts();
    let effects = pod.tell(Event::MembershipObserved(call, Ok(seen)));
    assert_eq!(quiesce(&effects, OTHER).1, 4);
}

#[test]
fn what_is_handed_over_has_no_fence_and_is_waited_for() {
    let (mut pod, call) = moving();
    let has = |pod: &Pod, shard| {
        (
            pod.state.fence(ShardId(shard)),
            pod.state.is_in_doubt(ShardId(shard)),
        )
    };
    assert_eq!(has(&pod, 3), (None, true));
    assert_eq!(has(&pod, 5), (Some(fence(5)), false));
    // One of them has moved; the other has not, for its fence did not hold or the target is dead.
    let moved = vec![(ShardId(3), Epoch(2))];
    pod.tell(Event::HandedOver(call, Ok(moved)));
    assert_eq!(has(&pod, 3), (None, false));
    assert_eq!(has(&pod, 4), (Some(fence(4)), false));
    assert_eq!(pod.state.held().count(), 8);
}

#[test]
fn a_hand_over_of_unknown_fate_is_settled() {
    let (mut pod, call) = moving();
    let effects = pod.tell(Event::HandedOver(call, Err(FateUnknown)));
    let advances = |effect: &Effect| match effect {
        Effect::Advance(call, fence) => Some((*call, *fence)),
        _ => None,
    };
    let advances: Vec<_> = effects.iter().filter_map(advances).collect();
    let [(stays, a), (moved, b)] = advances[..] else {
        panic!("{effects:?}");
    };
    assert_eq!([a, b], [fence(3), fence(4)]);
    // One was not moved, and now cannot be any more; the other one was.
    pod.tell(Event::Advanced(stays, a, Ok(Some(Epoch(2)))));
    assert_eq!(pod.state.fence(ShardId(3)).unwrap().epoch, Epoch(2));
    let effects = pod.tell(Event::Advanced(moved, b, Ok(None)));
    let [Effect::ReadOwned(call)] = effects[..] else {
        panic!("{effects:?}");
    };
    let owned = pod.state.held().filter(|(shard, _)| *shard != ShardId(4));
    let owned: Vec<_> = owned.collect();
    pod.tell(Event::Owned(call, Ok(owned)));
    assert!(!pod.state.is_in_doubt(ShardId(4)) && pod.state.held().count() == 8);
}

/// A commit of it ended in doubt, or the store refused it: somebody reports it at rest, and is wrong.
#[test]
fn what_is_in_doubt_is_not_handed_over() {
    let mut pod = owning(9);
    let effects = pod.sees(&[(ME, 9), (OTHER, 0)]);
    let (call, _) = quiesce(&effects, OTHER);
    pod.tell(Event::CommitFateUnknown(fence(3)));
    pod.tell(Event::Refused(fence(4)));
    let effects = pod.tell(Event::Quiesced(call, rest(&[3, 4, 5])));
    let given = |effect: &Effect| matches!(effect, Effect::HandOver(_, fences, _) if fences[..] == [fence(5)]);
    assert!(effects.iter().any(given), "{effects:?}");
}

/// One that a worker keeps busy must not hold up the others.
#[test]
fn each_shard_is_handed_over_as_soon_as_it_is_at_rest() {
    let mut pod = owning(9);
    let effects = pod.sees(&[(ME, 9), (OTHER, 0)]);
    let (call, count) = quiesce(&effects, OTHER);
    assert_eq!(count, 4);
    for shard in [3, 5] {
        let effects = pod.tell(Event::Quiesced(call, rest(&[shard])));
        let [Effect::HandOver(_, fences, OTHER)] = &effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(fences[..], [fence(shard)]);
    }
    // Two are moved and two are awaited: none is left to begin with, until it is known that these do not come.
    assert_eq!(pod.sees(&[(ME, 9), (OTHER, 0)]), []);
    pod.tell(Event::QuiescenceOver(call));
    let effects = pod.sees(&[(ME, 9), (OTHER, 0)]);
    assert_eq!(quiesce(&effects, OTHER).1, 2);
    assert_eq!(pod.tell(Event::Quiesced(call, rest(&[7]))), []);
}

/// Somebody wants a certain shard elsewhere: it goes, and a later look makes even again what pods own.
#[test]
fn a_shard_is_moved_to_the_pod_that_is_named() {
    let mut pod = owning(3);
    assert_eq!(pod.sees(&[(ME, 3), (OTHER, 3), (THIRD, 3)]), []);
    let wish = |to| Event::Move(ShardId(2), to);
    let effects = pod.tell(wish(THIRD));
    let [
        Effect::Quiesce {
            call,
            count: 1,
            to: THIRD,
            only: Some(ShardId(2)),
        },
    ] = effects[..]
    else {
        panic!("{effects:?}");
    };
    let effects = pod.tell(Event::Quiesced(call, rest(&[2])));
    let [Effect::HandOver(moving, _, THIRD)] = &effects[..] else {
        panic!("{effects:?}");
    };
    pod.tell(Event::QuiescenceOver(call));
    let moved = vec![(ShardId(2), Epoch(2))];
    let effects = pod.tell(Event::HandedOver(*moving, Ok(moved)));
    let [Effect::ObserveMembership(count)] = effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(pod.state.held().count(), 2);
    assert_eq!(
        pod.state.can_move(ShardId(2), THIRD),
        Err(Unmovable::NotOwned)
    );
    // It does not take back what it was to give.
    let seen = membership(&[(ME, 2), (OTHER, 3), (THIRD, 4)]);
    assert_eq!(pod.tell(Event::MembershipObserved(count, Ok(seen))), []);
}

#[test]
fn a_shard_is_not_moved_to_a_pod_that_would_not_keep_it() {
    let mut pod = owning(9);
    let can = |pod: &Pod, to| pod.state.can_move(ShardId(2), to);
    assert_eq!(can(&pod, OTHER), Ok(()));
    assert_eq!(can(&pod, THIRD), Err(Unmovable::NoSuchPod));
    let mut seen = membership(&[(ME, 9), (OTHER, 0), (THIRD, 0)]);
    seen.participants[1].member.wants = false;
    let older = seen.participants[2].peer.as_mut().unwrap();
    older.revision = Revision(0);
    let call = pod.counts();
    pod.tell(Event::MembershipObserved(call, Ok(seen)));
    assert_eq!(can(&pod, OTHER), Err(Unmovable::TakesNone));
    assert_eq!(can(&pod, THIRD), Err(Unmovable::TakesNone));
    assert_eq!(can(&pod, ME), Err(Unmovable::NoSuchPod));
    assert_eq!(can(&pod, PodId(9)), Err(Unmovable::NoSuchPod));
    for to in [ME, OTHER, THIRD, PodId(9)] {
        assert_eq!(pod.tell(Event::Move(ShardId(2), to)), []);
    }
    // Five at a time leave as it is, and no sixth.
    pod.sees(&[(ME, 9), (OTHER, 0), (THIRD, 0)]);
    assert_eq!(can(&pod, OTHER), Err(Unmovable::TooMany));
    pod.tell(Event::Drain);
    assert_eq!(can(&pod, OTHER), Err(Unmovable::NotOwned));
}

/// Whatever another pod says.
#[test]
fn what_is_said_to_be_given_is_read_at_a_bounded_rate() {
    let mut pod = owning(4);
    let mut reads = 0;
    let end = pod.now + 9 * GIVEN_INTERVAL_MS;
    while pod.now < end {
        let mut effects = pod.tell(Event::Given);
        effects.extend(pod.tell(Event::Woken));
        for effect in effects {
            if let Effect::ReadOwned(call) = effect {
                reads += 1;
                let owned = pod.state.held().collect();
                pod.tell(Event::Owned(call, Ok(owned)));
            }
        }
    }
    assert!((8..=10).contains(&reads), "{reads}");
}

#[test]
fn a_pod_reads_what_it_owns_when_the_store_has_more_of_it() {
    let reads = |effects: &[Effect]| matches!(effects, [Effect::ReadOwned(_)]);
    let mut pod = owning(4);
    assert!(!reads(&pod.sees(&[(ME, 4), (OTHER, 5)])));
    let mut more = pod.sees(&[(ME, 5), (OTHER, 4)]);
    more.retain(|it| !matches!(it, Effect::Quiesce { .. }));
    assert!(reads(&more), "{more:?}");
    let mut pod = owning(4);
    assert!(reads(&pod.sees(&[(ME, 3), (OTHER, 6)])));
    // The store has moved them already.
    let (mut pod, _) = moving();
    let effects = pod.sees(&[(ME, 7), (OTHER, 2)]);
    assert!(
        !effects.iter().any(|it| matches!(it, Effect::ReadOwned(_))),
        "{effects:?}"
    );
}

#[test]
fn who_comes_is_a_reason_to_count() {
    let mut pod = owning(9);
    pod.sees(&[(ME, 9)]);
    pod.now += 2_000;
    let effects = pod.tell(Event::Woken);
    let [Effect::Observe(call)] = effects[..] else {
        panic!("{effects:?}");
    };
    let alive = vec![member(ME, true), member(OTHER, false)];
    let effects = pod.tell(Event::Observed(call, Ok(alive)));
    assert!(
        matches!(effects[..], [Effect::ObserveMembership(_)]),
        "{effects:?}"
    );
}

/// So that a pod drains as fast as its shards come to rest.
#[test]
fn what_has_moved_is_a_reason_to_count() {
    let (mut pod, call) = moving();
    let moved = vec![(ShardId(3), Epoch(2)), (ShardId(4), Epoch(2))];
    let effects = pod.tell(Event::HandedOver(call, Ok(moved)));
    assert!(
        matches!(effects[..], [Effect::ObserveMembership(_)]),
        "{effects:?}"
    );
    // A target that is dead is none.
    let (mut pod, call) = moving();
    assert_eq!(pod.tell(Event::HandedOver(call, Ok(vec![]))), []);
}

#[test]
fn a_pod_that_is_over_hands_nothing_over() {
    let (mut pod, call) = moving();
    assert_eq!(pod.state.leaving().count(), 2);
    pod.tell(Event::Release);
    assert_eq!(pod.state.leaving().count(), 0);
    assert_eq!(pod.tell(Event::HandedOver(call, Ok(vec![]))), []);
    assert_eq!(pod.state.held().count(), 0);
}

#[test]
fn a_pod_that_is_alone_and_has_all_looks_less_often_until_somebody_comes() {
    let mut pod = owning(9);
    assert!(pod.looks(&[ME, OTHER]) > 40);
    // The first look finds that nobody else is there any more.
    pod.looks(&[ME]);
    let looks = pod.looks(&[ME]);
    assert!((2..=4).contains(&looks), "{looks}");
    assert!(pod.looks(&[ME, OTHER]) > 25);
    // Who lacks shards has something to wait for.
    let mut pod = owning(5);
    assert!(pod.looks(&[ME]) > 40);
}
