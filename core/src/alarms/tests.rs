use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn worker(name: &str) -> WorkerKey {
    WorkerKey::new("w.js", name).unwrap()
}

const ME: Receiver = Receiver(1);

/// All that is due.
fn take_due(alarms: &mut Alarms, now: i64) -> Vec<(WorkerKey, Alarm)> {
    std::iter::from_fn(|| alarms.take_due(now)).collect()
}

/// The same, in the hands of [`ME`].
fn deliver(alarms: &mut Alarms, now: i64) -> Vec<(WorkerKey, Alarm)> {
    let due = take_due(alarms, now);
    for (worker, _) in &due {
        alarms.delivered(worker, ME);
    }
    due
}

fn commit(alarms: &mut Alarms, worker: &WorkerKey, change: AlarmChange, now: i64) {
    if let Some(ticket) = alarms.submitted(worker, change) {
        alarms.settled(worker, ticket, Fate::Committed, now);
    }
}

#[test]
fn due_alarms_are_taken_once_in_order() {
    let mut alarms = Alarms::default();
    for (name, due) in [("b", 20), ("a", 30), ("a", 10), ("c", 40)] {
        commit(
            &mut alarms,
            &worker(name),
            AlarmChange::Set(Alarm::at(due)),
            0,
        );
    }
    let due = [(worker("a"), Alarm::at(10)), (worker("b"), Alarm::at(20))];
    assert_eq!(take_due(&mut alarms, 30), due);
    assert_eq!(take_due(&mut alarms, 30), []);
}

#[test]
fn what_comes_due_is_known_before() {
    let mut alarms = Alarms::default();
    for (name, due) in [("late", 10), ("next", 30), ("soon", 20), ("later", 31)] {
        let alarm = AlarmChange::Set(Alarm::at(due));
        commit(&mut alarms, &worker(name), alarm, 0);
    }
    let due = |alarms: &Alarms| -> Vec<_> { alarms.due_between(10, 30).cloned().collect() };
    assert_eq!(due(&alarms), [worker("soon"), worker("next")]);
    commit(&mut alarms, &worker("soon"), AlarmChange::Clear, 11);
    assert_eq!(due(&alarms), [worker("next")]);
}

#[test]
fn what_is_late_waits_and_is_not_with_its_worker() {
    let mut alarms = Alarms::default();
    let named = ["late", "later", "postponed", "due"].map(worker);
    for (worker, due) in named.iter().zip([10, 20, 5, 9_000]) {
        commit(&mut alarms, worker, AlarmChange::Set(Alarm::at(due)), 0);
    }
    assert_eq!(alarms.overdue(5), (0, 0), "due now is not late");
    assert_eq!(alarms.overdue(15), (2, 10));
    assert_eq!(alarms.take_due(15), Some((named[2].clone(), Alarm::at(5))));
    assert_eq!(alarms.overdue(15), (1, 5), "with its worker");
    // Without room for it: it is late since it was due, not since then.
    alarms.postponed(&named[2], 15);
    assert_eq!(alarms.overdue(100), (3, 95));
}

#[test]
fn an_alarm_without_room_for_its_worker_is_due_again_soon() {
    let mut alarms = Alarms::default();
    let (a, b) = (worker("a"), worker("b"));
    alarms.read(0).unwrap();
    alarms.found(Some(vec![]), 0);
    for one in [&a, &b] {
        commit(&mut alarms, one, AlarmChange::Set(Alarm::at(10)), 0);
    }
    assert_eq!(take_due(&mut alarms, 10).len(), 2);
    alarms.postponed(&a, 20);
    assert_eq!(
        alarms.instance_ended(&a, ME, false, 21),
        None,
        "none had it"
    );
    assert_eq!(alarms.next(21), 20 + POSTPONED_MS);
    assert_eq!(take_due(&mut alarms, 19 + POSTPONED_MS), []);
    let again = [(a.clone(), Alarm::at(10))];
    assert_eq!(take_due(&mut alarms, 20 + POSTPONED_MS), again);
    alarms.postponed(&a, 300);
    commit(&mut alarms, &a, AlarmChange::Clear, 301);
    assert_eq!(
        take_due(&mut alarms, 9_999),
        [],
        "it was disarmed meanwhile"
    );
}

#[test]
fn an_alarm_that_is_taken_before_its_time_is_delivered_once() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    let (soon, late) = (Alarm::at(10), Alarm::at(10 * HORIZON_MS));
    commit(&mut alarms, &a, AlarmChange::Set(soon), 0);
    assert!(alarms.take(&a, soon));
    assert!(!alarms.take(&a, soon), "it is on its way");
    assert_eq!(alarms.delivery(&a), Delivery::UnderWay);
    assert_eq!(take_due(&mut alarms, 99), []);
    alarms.delivered(&a, ME);
    commit(&mut alarms, &a, AlarmChange::ClearIf { scheduled: 10 }, 5);
    assert_eq!(alarms.delivery(&a), Delivery::None);
    assert_eq!(take_due(&mut alarms, 99), [], "it was handled");

    // One that is due later than what is in memory, and fails: it is tried again as any other.
    commit(&mut alarms, &a, AlarmChange::Set(late), 100);
    assert!(alarms.take(&a, late));
    alarms.delivered(&a, ME);
    let Some(change @ AlarmChange::RetryIf { next }) = alarms.instance_ended(&a, ME, false, 101)
    else {
        panic!("a retry")
    };
    assert!(!alarms.take(&a, late), "how it failed is being stored");
    assert_eq!(alarms.delivery(&a), Delivery::UnderWay);
    commit(&mut alarms, &a, change, 102);
    assert_eq!(alarms.delivery(&a), Delivery::Of(next));
    assert_eq!(take_due(&mut alarms, next.due), [(a.clone(), next)]);

    // What was replaced meanwhile is found out by the worker.
    assert!(!alarms.take(&a, next));
    alarms.not_matched(&a, next);
    assert!(alarms.take(&a, late));
}

#[test]
fn an_instance_that_ends_in_its_handler_is_retried_once() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    commit(&mut alarms, &a, AlarmChange::Set(Alarm::at(10)), 0);
    assert_eq!(
        alarms.instance_ended(&a, ME, false, 5),
        None,
        "not delivered yet"
    );
    assert_eq!(deliver(&mut alarms, 10).len(), 1);
    let Some(change @ AlarmChange::RetryIf { next }) = alarms.instance_ended(&a, ME, false, 11)
    else {
        panic!("a retry")
    };
    assert_eq!((next.scheduled, next.retries), (10, 1));
    assert_eq!(alarms.instance_ended(&a, ME, false, 12), None);
    commit(&mut alarms, &a, change, 13);
    assert_eq!(take_due(&mut alarms, next.due), [(a, next)]);
}

#[test]
fn an_alarm_fails_only_with_the_receiver_that_has_it() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    commit(&mut alarms, &a, AlarmChange::Set(Alarm::at(10)), 0);
    assert_eq!(deliver(&mut alarms, 10).len(), 1);
    commit(&mut alarms, &a, AlarmChange::Set(Alarm::at(20)), 11);
    assert_eq!(take_due(&mut alarms, 20).len(), 1);
    assert_eq!(alarms.instance_ended(&a, ME, false, 21), None, "on its way");
    alarms.delivered(&a, Receiver(2));
    assert_eq!(
        alarms.instance_ended(&a, ME, false, 22),
        None,
        "its successor's"
    );
    assert!(alarms.instance_ended(&a, Receiver(2), false, 23).is_some());
}

#[test]
fn a_retry_does_not_replace_the_alarm_that_the_handler_set() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    let (old, new) = (Alarm::at(10), Alarm::at(20));
    commit(&mut alarms, &a, AlarmChange::Set(old), 0);
    deliver(&mut alarms, 10);
    // The handler's turn is on its way to the store when its instance ends.
    let set = alarms.submitted(&a, AlarmChange::Set(new)).unwrap();
    let change = alarms.instance_ended(&a, ME, false, 11).unwrap();
    let retry = alarms.submitted(&a, change).unwrap();
    alarms.settled(&a, set, Fate::Committed, 12);
    alarms.settled(&a, retry, Fate::Committed, 12);
    assert_eq!(take_due(&mut alarms, 20), [(a, new)]);
}

#[test]
fn fates_that_come_in_another_order_than_the_commits_change_nothing() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    let first = alarms
        .submitted(&a, AlarmChange::Set(Alarm::at(10)))
        .unwrap();
    let second = alarms.submitted(&a, AlarmChange::Clear).unwrap();
    alarms.settled(&a, second, Fate::Committed, 0);
    alarms.settled(&a, first, Fate::Committed, 0);
    assert_eq!(take_due(&mut alarms, 99), []);
}

#[test]
fn a_condition_that_is_not_met_does_not_touch_a_delivery() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    commit(&mut alarms, &a, AlarmChange::Set(Alarm::at(10)), 0);
    deliver(&mut alarms, 10);
    commit(&mut alarms, &a, AlarmChange::ClearIf { scheduled: 7 }, 11);
    assert!(alarms.instance_ended(&a, ME, false, 12).is_some());
}

#[test]
fn an_alarm_that_its_worker_did_not_know_is_read_again() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    commit(&mut alarms, &a, AlarmChange::Set(Alarm::at(10)), 0);
    assert!(alarms.read(0).is_some());
    alarms.found(Some(vec![]), 0);
    take_due(&mut alarms, 10);
    alarms.not_matched(&a, Alarm::at(10));
    let later = HORIZON_MS / 2 + 1;
    assert!(alarms.read(later).is_some());
    alarms.found(Some(vec![(a.clone(), Alarm::at(10))]), later);
    assert_eq!(take_due(&mut alarms, later), [(a, Alarm::at(10))]);
}

/// Its worker could not be loaded here: nothing failed, and what is stored is delivered when it is read again.
#[test]
fn an_alarm_that_was_turned_away_with_its_worker_is_read_again() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    let stored = || Some(vec![(worker("a"), Alarm::at(10))]);
    assert!(alarms.read(0).is_some());
    alarms.found(stored(), 0);
    assert_eq!(deliver(&mut alarms, 10).len(), 1);
    alarms.turned_away(&a, Receiver(2));
    alarms.read_again();
    assert!(alarms.read(11).is_some());
    alarms.found(stored(), 11);
    assert_eq!(take_due(&mut alarms, 11), [], "another has it");
    alarms.turned_away(&a, ME);
    assert_eq!(
        alarms.instance_ended(&a, ME, false, 12),
        None,
        "it did not fail"
    );
    alarms.read_again();
    assert!(alarms.read(12).is_some());
    alarms.found(stored(), 12);
    assert_eq!(take_due(&mut alarms, 12), [(a, Alarm::at(10))]);
}

/// How long each delivery waits after the one before, while `fail` says that the store failed at it.
fn waits(alarms: &mut Alarms, count: usize, fail: impl Fn(&mut Alarms, i64)) -> Vec<i64> {
    let (mut now, mut waits) = (10, vec![]);
    assert_eq!(deliver(alarms, now).len(), 1);
    for _ in 0..count {
        fail(alarms, now);
        let failed = now;
        while deliver(alarms, now).is_empty() {
            if alarms.read(now).is_some() {
                alarms.found(Some(vec![(worker("a"), Alarm::at(10))]), now);
            }
            now = alarms.next(now);
        }
        waits.push(now - failed);
    }
    waits
}

#[test]
fn an_alarm_whose_worker_the_store_does_not_load_waits_ever_longer_and_fails_not() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    commit(&mut alarms, &a, AlarmChange::Set(Alarm::at(10)), 0);
    let fail = |alarms: &mut Alarms, now: i64| {
        alarms.store_failed(&worker("a"), Receiver(2), now);
        assert_eq!(take_due(alarms, now + HORIZON_MS), [], "another has it");
        alarms.store_failed(&worker("a"), ME, now);
        assert_eq!(alarms.instance_ended(&worker("a"), ME, false, now), None);
    };
    let waited = waits(&mut alarms, 6, fail);
    assert_eq!(waited, [250, 500, 1_000, 2_000, 4_000, 4_000]);
    // It recovered: the next outage is a new one.
    commit(&mut alarms, &a, AlarmChange::Set(Alarm::at(10)), 0);
    assert_eq!(waits(&mut alarms, 2, fail), [250, 500]);
}

#[test]
fn an_alarm_whose_retry_may_not_be_stored_is_read_at_once_and_waits_ever_longer() {
    let (mut alarms, a) = (Alarms::default(), worker("a"));
    commit(&mut alarms, &a, AlarmChange::Set(Alarm::at(10)), 0);
    let fail = |alarms: &mut Alarms, now: i64| {
        let change = alarms.instance_ended(&worker("a"), ME, false, now).unwrap();
        let retry = alarms.submitted(&worker("a"), change).unwrap();
        let same = alarms.submitted(&worker("a"), change).unwrap();
        alarms.settled(&worker("a"), retry, Fate::Unknown, now);
        alarms.settled(&worker("a"), same, Fate::Unknown, now);
        assert_eq!(alarms.next(now), now, "it is read");
    };
    let waited = waits(&mut alarms, 6, fail);
    assert_eq!(waited, [250, 500, 1_000, 2_000, 4_000, 4_000]);
}

/// What is due later than that is not put off, and whoever is put off delays nobody else.
#[test]
fn a_failing_store_delays_no_alarm_that_is_due_later() {
    let (mut alarms, a, b) = (Alarms::default(), worker("a"), worker("b"));
    let set = AlarmChange::Set(Alarm::at(1_000));
    let unknown = alarms.submitted(&a, set).unwrap();
    alarms.settled(&a, unknown, Fate::Unknown, 0);
    assert!(alarms.read(0).is_some());
    let page = vec![(b.clone(), Alarm::at(0)), (a.clone(), Alarm::at(1_000))];
    alarms.found(Some(page), 0);
    assert_eq!(take_due(&mut alarms, 0), [(b, Alarm::at(0))]);
    assert_eq!(take_due(&mut alarms, 1_000), [(a, Alarm::at(1_000))]);
}

#[test]
fn what_was_read_before_a_change_is_not_believed_after_it() {
    let (mut alarms, a, b) = (Alarms::default(), worker("a"), worker("b"));
    assert!(alarms.read(0).is_some());
    commit(&mut alarms, &a, AlarmChange::Clear, 1);
    let pending = alarms.submitted(&b, AlarmChange::Clear).unwrap();
    let older = vec![(a, Alarm::at(5)), (b.clone(), Alarm::at(5))];
    alarms.found(Some(older), 2);
    assert_eq!(take_due(&mut alarms, 9), []);
    alarms.settled(&b, pending, Fate::Committed, 9);
    assert_eq!(take_due(&mut alarms, 9), []);
}

/// The store: what `Store::alarms` would find.
fn page(
    stored: &BTreeMap<(i64, WorkerId), (WorkerKey, Alarm)>,
    query: Query,
) -> Vec<(WorkerKey, Alarm)> {
    let rows = stored.iter();
    rows.filter(|(place, _)| {
        query.after.is_none_or(|after| **place > after) && place.0 <= query.until
    })
    .take(query.limit)
    .map(|(_, row)| row.clone())
    .collect()
}

#[test]
fn more_than_a_page_of_due_alarms_is_delivered_at_once_behind_handlers_that_take_long() {
    let mut alarms = Alarms::default();
    let count = PAGE * 2 + 1;
    let stored = (0..count).map(|n| {
        let key = worker(&n.to_string());
        ((5, key.id()), (key, Alarm::at(5)))
    });
    let stored: BTreeMap<_, _> = stored.collect();
    let (mut delivered, mut now) = (HashSet::new(), 10);
    // No handler ends, and no time passes: the clock counts the pages.
    while let Some(query) = alarms.read(10) {
        alarms.found(Some(page(&stored, query)), 10);
        delivered.extend(
            take_due(&mut alarms, 10)
                .into_iter()
                .map(|(worker, _)| worker),
        );
        now += 1;
    }
    assert_eq!(delivered.len(), count);
    assert_eq!(now, 13);
}

#[test]
fn shards_that_are_gained_are_read_at_once() {
    let mut alarms = Alarms::default();
    assert!(alarms.read(0).is_some());
    alarms.read_again(); // while a reading without them is under way
    alarms.found(Some(vec![]), 1);
    assert_eq!(alarms.read(1).map(|query| query.after), Some(None));
    alarms.found(Some(vec![]), 1);
    assert_eq!(alarms.read(1), None);
}

#[test]
fn a_failed_reading_is_tried_again_soon() {
    let mut alarms = Alarms::default();
    assert!(alarms.read(0).is_some());
    alarms.found(None, 0);
    assert_eq!(alarms.read(0), None);
    assert_eq!(alarms.next(0), READ_RETRY_INTERVAL_MS);
    assert!(alarms.read(READ_RETRY_INTERVAL_MS).is_some());
}

#[derive(Debug, Clone)]
enum Chance {
    Change(usize, u8, i64),
    Settle(usize),
    Read,
    Answer(bool),
    Time(i64),
    Instance(usize),
    StoreFails(usize),
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        4 => (0..3_usize, 0..6_u8, 0..9_i64).prop_map(|(worker, what, time)| Chance::Change(worker, what, time)),
        6 => (0..8_usize).prop_map(Chance::Settle),
        3 => Just(Chance::Read),
        3 => any::<bool>().prop_map(Chance::Answer),
        3 => (0..20_000_i64).prop_map(Chance::Time),
        1 => (0..3_usize).prop_map(Chance::Instance),
        1 => (0..3_usize).prop_map(Chance::StoreFails),
    ]
}

proptest! {
    /// Whatever order things come in: what is stored in the end, and due, is delivered; and nothing else.
    #[test]
    fn what_is_stored_is_delivered(chances in prop::collection::vec(chance(), 0..80)) {
        let keys = [worker("a"), worker("b"), worker("c")];
        let mut alarms = Alarms::new(2);
        let mut stored: [Option<Alarm>; 3] = [None; 3];
        let (mut now, mut under_way, mut answer) = (0_i64, vec![], None);
        let rows = |stored: &[Option<Alarm>; 3]| {
            let rows = stored.iter().zip(&keys);
            rows.filter_map(|(alarm, key)| Some(((alarm.as_ref()?.due, key.id()), (key.clone(), (*alarm)?))))
                .collect::<BTreeMap<_, _>>()
        };
        for chance in chances {
            match chance {
                Chance::Change(at, what, time) => {
                    let time = now + time * 3_000;
                    let scheduled = stored[at].map_or(time, |alarm| alarm.scheduled);
                    let change = match what {
                        0 | 1 => AlarmChange::Set(Alarm::at(time)),
                        2 => AlarmChange::Clear,
                        3 => AlarmChange::ClearIf { scheduled },
                        4 => AlarmChange::RetryIf { next: Alarm { scheduled, retries: 1, due: time } },
                        _ => AlarmChange::Set(Alarm::at(now + 10 * HORIZON_MS)),
                    };
                    let ticket = alarms.submitted(&keys[at], change).unwrap();
                    // Durable at once; the answer comes when it comes. What is refused by chance has no effect.
                    let fate = match time % 7 {
                        3 => Fate::Refused,
                        4 | 5 => Fate::Unknown,
                        _ => Fate::Committed,
                    };
                    if fate == Fate::Committed || time % 7 == 4 {
                        stored[at] = alarm::apply(stored[at], change);
                    }
                    under_way.push((at, ticket, fate));
                }
                Chance::Settle(at) if !under_way.is_empty() => {
                    let (at, ticket, fate) = under_way.swap_remove(at % under_way.len());
                    alarms.settled(&keys[at], ticket, fate, now);
                }
                Chance::Read => {
                    if let Some(query) = alarms.read(now) {
                        answer = Some(page(&rows(&stored), query));
                    }
                }
                Chance::Answer(fails) => {
                    if let Some(page) = answer.take() {
                        alarms.found((!fails).then_some(page), now);
                    }
                }
                Chance::Time(by) => now += by,
                // Its alarm is retried some time; here it only must not be forgotten.
                Chance::Instance(at) => {
                    if let Some(change) = alarms.instance_ended(&keys[at], ME, false, now) {
                        stored[at] = alarm::apply(stored[at], change);
                        let ticket = alarms.submitted(&keys[at], change).unwrap();
                        under_way.push((at, ticket, Fate::Committed));
                    }
                }
                Chance::StoreFails(at) => {
                    for (key, _) in deliver(&mut alarms, now) {
                        alarms.store_failed(&key, ME, now);
                    }
                    alarms.store_failed(&keys[at], ME, now);
                }
                Chance::Settle(_) => {}
            }
        }
        // Calm: everything is answered, and each delivery is handled.
        for (at, ticket, fate) in under_way {
            alarms.settled(&keys[at], ticket, fate, now);
        }
        if let Some(page) = answer {
            alarms.found(Some(page), now);
        }
        for at in 0..3 {
            if let Some(change) = alarms.instance_ended(&keys[at], ME, false, now) {
                stored[at] = alarm::apply(stored[at], change);
                commit(&mut alarms, &keys[at], change, now);
            }
        }
        let mut delivered = stored.map(|alarm| alarm.is_none());
        for _ in 0..2_000 {
            while let Some(query) = alarms.read(now) {
                let page = page(&rows(&stored), query);
                alarms.found(Some(page), now);
            }
            for (key, alarm) in take_due(&mut alarms, now) {
                let at = keys.iter().position(|it| *it == key).unwrap();
                prop_assert_eq!(stored[at], Some(alarm), "not what is stored");
                prop_assert!(alarm.due <= now);
                delivered[at] = true;
                stored[at] = None;
                commit(&mut alarms, &key, AlarmChange::Clear, now);
            }
            if delivered == [true; 3] {
                break;
            }
            now = alarms.next(now).max(now + 1);
        }
        prop_assert_eq!(delivered, [true; 3], "{:?} {:?}", stored, alarms);
    }
}
