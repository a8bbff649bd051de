use super::*;

const REGISTERED: Found = Found::Registered {
    is_believed: true,
    answers: false,
};
const ANSWERS: Found = Found::Registered {
    is_believed: true,
    answers: true,
};
const UNBELIEVED: Found = Found::Registered {
    is_believed: false,
    answers: false,
};
const READY: Found = Found::Withdrawn { is_ready: true };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_server_that_is_silent_for_a_minute_is_withdrawn() {
    let mut silence = Silence::default();
    let begin = Instant::now();
    let mut at = |second: u64, found| silence.step(found, begin + seconds(second));
    assert_eq!(at(0, REGISTERED), Step::Nothing);
    assert_eq!(at(50, ANSWERS), Step::Nothing);
    assert_eq!(at(70, REGISTERED), Step::Nothing);
    assert_eq!(at(129, REGISTERED), Step::Nothing);
    assert_eq!(at(130, REGISTERED), Step::Withdraw);
    assert_eq!(at(131, Found::Withdrawn { is_ready: false }), Step::Nothing);
    assert_eq!(at(140, READY), Step::Register);
    assert_eq!(at(141, ANSWERS), Step::Nothing);
    assert_eq!(at(142, Found::Nothing), Step::Nothing);
}

#[test]
fn one_that_was_not_believed_could_not_answer() {
    let mut silence = Silence::default();
    let begin = Instant::now();
    let mut at = |second: u64, found| silence.step(found, begin + seconds(second));
    assert_eq!(at(0, REGISTERED), Step::Nothing);
    assert_eq!(at(59, UNBELIEVED), Step::Believe);
    assert_eq!(at(61, REGISTERED), Step::Nothing);
    assert_eq!(at(121, REGISTERED), Step::Withdraw);
}

#[test]
fn one_that_somebody_keeps_from_being_believed_is_withdrawn_all_the_same() {
    let mut silence = Silence::default();
    let begin = Instant::now();
    let mut at = |second: u64, found| silence.step(found, begin + seconds(second));
    assert_eq!(at(0, UNBELIEVED), Step::Believe);
    assert_eq!(at(60, REGISTERED), Step::Nothing);
    assert_eq!(at(119, UNBELIEVED), Step::Believe);
    assert_eq!(at(120, UNBELIEVED), Step::Withdraw);
}

/// Its pods are ready, and the cluster cannot reach them.
#[test]
fn one_that_never_answers_is_registered_ever_more_seldom() {
    let mut silence = Silence::default();
    let mut now = Instant::now();
    let mut waits = vec![];
    for _ in 0..12 {
        while silence.step(REGISTERED, now) != Step::Withdraw {
            now += seconds(5);
        }
        let withdrawn = now;
        while silence.step(READY, now) != Step::Register {
            now += seconds(5);
        }
        waits.push((now - withdrawn).as_secs());
    }
    assert_eq!(waits[..4], [5, 10, 20, 40]);
    assert_eq!(waits[11], 900);
}
