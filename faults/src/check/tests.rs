//! Each property, by the smallest history that breaks it and one beside it that does not.

use super::*;
use crate::history::Entry;

/// A client that says nothing more of itself than that it did not wait for others.
const CLIENT: u32 = 1;
const INSTANCE: Instance = 7;

fn operation(action: Action, invoked: Micros, completed: Micros, answer: Answer) -> Operation {
    Operation {
        client: CLIENT,
        at_pod: false,
        after: None,
        action,
        invoked,
        completed,
        outcome: Ok((INSTANCE, answer)),
    }
}

/// An append that was answered.
fn append(value: u32, invoked: Micros, completed: Micros, index: usize) -> Operation {
    operation(
        Action::Append(value),
        invoked,
        completed,
        Answer::Appended(index),
    )
}

/// Anything that was not.
fn unknown(action: Action, invoked: Micros, completed: Micros) -> Operation {
    let outcome = Err("status 503".to_owned());
    Operation {
        client: CLIENT,
        at_pod: false,
        after: None,
        action,
        invoked,
        completed,
        outcome,
    }
}

fn entries(values: &[u32]) -> Vec<Entry> {
    values
        .iter()
        .map(|value| Entry {
            value: *value,
            by: INSTANCE,
        })
        .collect()
}

fn contents(values: &[u32]) -> Contents {
    Contents {
        first: entries(values),
        second: entries(values),
        ..Contents::default()
    }
}

fn read(values: &[u32], invoked: Micros, completed: Micros) -> Operation {
    operation(
        Action::Read,
        invoked,
        completed,
        Answer::Contents(contents(values)),
    )
}

fn by(instance: Instance, mut operation: Operation) -> Operation {
    if let Ok((by, _)) = &mut operation.outcome {
        *by = instance;
    }
    operation
}

fn kinds(operations: Vec<Operation>) -> Vec<Kind> {
    kinds_of(&History {
        operations,
        ..History::default()
    })
}

fn kinds_of(history: &History) -> Vec<Kind> {
    check(history)
        .iter()
        .map(|violation| violation.kind)
        .collect()
}

/// Appends, a read and an unanswered append that has happened, all of it right.
fn sound() -> Vec<Operation> {
    vec![
        append(1, 0, 10, 0),
        append(2, 20, 30, 1),
        unknown(Action::Append(3), 25, 60),
        read(&[1, 2], 40, 50),
        append(4, 70, 80, 3),
        read(&[1, 2, 3, 4], 100, 110),
    ]
}

#[test]
fn a_sound_history_has_no_violations() {
    assert_eq!(kinds(sound()), []);
}

#[test]
fn what_is_not_known_may_have_happened_or_not_at_any_time() {
    // It takes effect long after its client gave up.
    let late = vec![
        unknown(Action::Append(1), 0, 10),
        read(&[], 20, 30),
        read(&[1], 40, 50),
    ];
    assert_eq!(kinds(late), []);
    let never = vec![unknown(Action::Append(1), 0, 10), read(&[], 20, 30)];
    assert_eq!(kinds(never), []);
}

#[test]
fn operations_at_the_same_time_may_come_in_either_order() {
    let both = vec![
        append(1, 0, 100, 1),
        append(2, 0, 100, 0),
        read(&[], 0, 100),
        read(&[2, 1], 200, 210),
    ];
    assert_eq!(kinds(both), []);
}

#[test]
fn an_answered_write_that_is_gone_is_lost() {
    let gone = vec![
        append(1, 0, 10, 0),
        append(2, 20, 30, 1),
        read(&[1], 40, 50),
    ];
    assert_eq!(kinds(gone), [Kind::Lost]);
    let mut accepted = operation(Action::Later(1), 0, 10, Answer::Accepted);
    assert_eq!(
        kinds(vec![accepted.clone(), read(&[], 40, 50)]),
        [Kind::Lost]
    );
    accepted.outcome = Err("status 500".to_owned());
    assert_eq!(kinds(vec![accepted, read(&[], 40, 50)]), []);
}

#[test]
fn what_was_read_and_is_gone_is_lost() {
    // Nobody was told of 2 but a reader.
    let gone = vec![
        append(1, 0, 10, 0),
        unknown(Action::Append(2), 20, 25),
        read(&[1, 2], 20, 30),
        append(3, 40, 50, 1),
        read(&[1, 3], 60, 70),
    ];
    assert_eq!(kinds(gone), [Kind::Lost]);
}

#[test]
fn a_part_of_a_turn_is_torn() {
    let mut operations = sound();
    if let Ok((_, Answer::Contents(contents))) = &mut operations[3].outcome {
        contents.second.pop();
    }
    assert_eq!(kinds(operations), [Kind::Torn]);
}

#[test]
fn a_turn_that_was_ended_half_way_leaves_nothing() {
    let mut operations = sound();
    operations[2].action = Action::Half(3);
    assert_eq!(kinds(operations), [Kind::Torn]);
}

#[test]
fn a_value_cannot_wait_for_the_alarm_that_has_appended_it() {
    let mut operations = vec![
        operation(Action::Later(1), 0, 10, Answer::Accepted),
        read(&[1], 20, 30),
    ];
    assert_eq!(kinds(operations.clone()), []);
    if let Ok((_, Answer::Contents(contents))) = &mut operations[1].outcome {
        contents.pending.push(1);
    }
    assert_eq!(kinds(operations), [Kind::Torn]);
}

#[test]
fn a_write_that_is_there_twice_is_found_whether_it_was_answered_or_not() {
    assert_eq!(
        kinds(vec![append(1, 0, 10, 0), read(&[1, 1], 20, 30)]),
        [Kind::Order, Kind::Twice]
    );
    assert_eq!(
        kinds(vec![
            unknown(Action::Append(1), 0, 10),
            read(&[1, 1], 20, 30)
        ]),
        [Kind::Twice]
    );
}

#[test]
fn a_read_that_does_not_have_what_was_answered_before_is_stale() {
    let mut operations = sound();
    operations.push(read(&[1], 35, 45));
    assert_eq!(kinds(operations), [Kind::Stale]);
    // One that began before the answer is not.
    let mut operations = sound();
    operations.push(read(&[1], 29, 45));
    assert_eq!(kinds(operations), []);
}

#[test]
fn a_read_that_has_less_than_an_earlier_one_is_stale() {
    let operations = vec![
        unknown(Action::Append(1), 0, 10),
        read(&[1], 20, 30),
        read(&[], 40, 50),
        read(&[1], 60, 70),
    ];
    assert_eq!(kinds(operations), [Kind::Stale]);
}

#[test]
fn a_value_that_waits_for_its_alarm_is_never_nowhere() {
    let accepted = operation(Action::Later(1), 0, 10, Answer::Accepted);
    let operations = vec![accepted, read(&[], 20, 30), read(&[1], 40, 50)];
    assert_eq!(kinds(operations), [Kind::Stale]);
}

#[test]
fn a_value_cannot_be_read_before_it_was_asked_for() {
    let operations = vec![read(&[1], 0, 10), append(1, 20, 30, 0), read(&[1], 40, 50)];
    assert_eq!(kinds(operations), [Kind::Order]);
}

#[test]
fn appends_are_in_the_order_in_which_they_were_answered() {
    let operations = vec![
        append(1, 0, 10, 1),
        append(2, 20, 30, 0),
        read(&[2, 1], 40, 50),
    ];
    assert_eq!(kinds(operations), [Kind::Order]);
}

#[test]
fn what_comes_over_one_socket_is_done_in_its_order_and_without_gaps() {
    let burst = |values: &[u32]| {
        let mut second = unknown(Action::Append(2), 0, 10);
        second.after = Some(1);
        vec![
            unknown(Action::Append(1), 0, 10),
            second,
            read(values, 20, 30),
        ]
    };
    for fine in [&[1, 2][..], &[1], &[]] {
        assert_eq!(kinds(burst(fine)), []);
    }
    assert_eq!(kinds(burst(&[2, 1])), [Kind::Order]);
    assert_eq!(kinds(burst(&[2])), [Kind::Order]);
}

#[test]
fn an_append_has_the_index_that_was_answered() {
    let operations = vec![
        append(1, 0, 10, 1),
        append(2, 0, 10, 0),
        read(&[1, 2], 40, 50),
    ];
    assert_eq!(kinds(operations), [Kind::Order]);
}

#[test]
fn an_instance_does_not_append_after_its_successor() {
    let list = |owners: [Instance; 3]| {
        let mut list = contents(&[1, 2, 3]);
        for (at, owner) in owners.into_iter().enumerate() {
            (list.first[at].by, list.second[at].by) = (owner, owner);
        }
        vec![operation(Action::Read, 40, 50, Answer::Contents(list))]
    };
    assert_eq!(kinds(list([1, 2, 2])), []);
    assert_eq!(kinds(list([1, 2, 1])), [Kind::TwoOwners]);
}

#[test]
fn an_instance_does_not_answer_after_its_successor() {
    let reads = |third| {
        vec![
            by(1, read(&[], 0, 10)),
            by(2, read(&[], 20, 30)),
            by(third, read(&[], 40, 50)),
        ]
    };
    assert_eq!(kinds(reads(2)), []);
    assert_eq!(kinds(reads(1)), [Kind::TwoOwners]);
    // At the same time nobody knows who was first.
    let mut together = reads(1);
    together[1].invoked = 5;
    assert_eq!(kinds(together), []);
}

#[test]
fn nothing_leaves_a_worker_that_is_not_in_it() {
    let history = |values: &[u32]| History {
        operations: vec![unknown(Action::Relay(1), 0, 10), read(values, 20, 30)],
        mirrored: vec![Mirrored {
            value: 1,
            told: true,
        }],
        ..History::default()
    };
    assert_eq!(kinds_of(&history(&[1])), []);
    assert_eq!(kinds_of(&history(&[])), [Kind::Leaked]);
}

#[test]
fn an_alarm_comes() {
    let overdue = |overdue| {
        let accepted = operation(Action::Later(1), 0, 10, Answer::Accepted);
        let operations = vec![accepted, read(&[1], 20, 30)];
        History {
            operations,
            overdue,
            ..History::default()
        }
    };
    assert_eq!(kinds_of(&overdue(vec![])), []);
    assert_eq!(kinds_of(&overdue(vec![1])), [Kind::NoAlarm]);
    let mut waiting = contents(&[]);
    waiting.pending.push(1);
    let operations = vec![
        operation(Action::Later(1), 0, 10, Answer::Accepted),
        operation(Action::Read, 20, 30, Answer::Contents(waiting)),
    ];
    assert_eq!(kinds(operations), [Kind::NoAlarm]);
}

#[test]
fn a_worker_answers_when_all_is_well() {
    assert_eq!(
        kinds(vec![unknown(Action::Read, 0, 10)]),
        [Kind::Unanswered]
    );
    let silent = History {
        operations: sound(),
        silent: true,
        ..History::default()
    };
    assert_eq!(kinds_of(&silent), [Kind::Unanswered]);
}

#[test]
fn a_damaged_database_is_found() {
    let damaged = History {
        operations: sound(),
        damage: Some("a page is missing".to_owned()),
        ..History::default()
    };
    assert_eq!(kinds_of(&damaged), [Kind::Damaged]);
}

#[test]
fn a_violation_says_when_and_of_what() {
    let operations = vec![
        append(1, 0, 10, 0),
        append(2, 20, 30, 1),
        read(&[1], 40, 50),
    ];
    let found = check(&History {
        operations,
        ..History::default()
    });
    assert_eq!((found[0].value, found[0].at), (Some(2), 30));
    assert_eq!(
        found[0].message,
        "2 was answered, and is not there in the end"
    );
}

/// A read of one entry, with these alarms and marks beside it.
fn with(change: impl FnOnce(&mut Contents)) -> Vec<Kind> {
    let mut read = read(&[1], 20, 30);
    if let Ok((_, Answer::Contents(contents))) = &mut read.outcome {
        change(contents);
    }
    kinds(vec![append(1, 0, 10, 0), read])
}

#[test]
fn a_mark_that_was_deleted_is_not_there_and_the_last_one_is() {
    assert_eq!(with(|it| it.marks = Some(vec![0])), []);
    assert_eq!(with(|it| it.marks = Some(vec![])), [Kind::Torn]);
    assert_eq!(with(|it| it.marks = Some(vec![0, 1])), [Kind::Torn]);
    let empty = |marks| {
        let mut contents = contents(&[]);
        contents.marks = Some(marks);
        let read = operation(Action::Read, 20, 30, Answer::Contents(contents));
        kinds(vec![read])
    };
    assert_eq!(empty(vec![]), []);
    assert_eq!(empty(vec![0]), [Kind::Torn]);
}

#[test]
fn each_setting_of_the_alarm_comes() {
    let alarms = |sets: &[u64], fired: &[(u64, bool)]| {
        with(|it| {
            it.sets = sets.to_vec();
            it.fired = fired.to_vec();
        })
    };
    assert_eq!(alarms(&[5, 9], &[(5, false), (9, true)]), []);
    assert_eq!(alarms(&[5, 9], &[(9, false)]), [Kind::NoAlarm]);
    assert_eq!(alarms(&[5, 9], &[(5, false)]), [Kind::NoAlarm]);
    // Somebody waits for the last one: whether it comes in time is seen elsewhere.
    let waits = with(|it| {
        it.sets = vec![5, 9];
        it.fired = vec![(5, false)];
        it.pending = vec![2];
    });
    assert_eq!(waits, []);
}

#[test]
fn an_alarm_comes_once_for_a_setting_unless_it_is_tried_again() {
    let fired = |fired: &[(u64, bool)]| {
        with(|it| {
            it.sets = vec![5];
            it.fired = fired.to_vec();
        })
    };
    assert_eq!(fired(&[(5, false), (5, false)]), [Kind::WrongAlarm]);
    assert_eq!(fired(&[(5, false), (5, true)]), []);
    assert_eq!(fired(&[(5, false), (7, false)]), [Kind::WrongAlarm]);
}
