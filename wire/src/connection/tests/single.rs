//! What one link, or a few, do in order.

use portside_core::ids::PodId;
use portside_worker::link::Failure;

use super::*;
use crate::frame::Refusal;

fn frames(events: &[Event]) -> Vec<(LinkNumber, Frame)> {
    let frames = events.iter().filter_map(|event| match event {
        Event::Frame { link, frame, .. } => Some((*link, frame.clone())),
        _ => None,
    });
    frames.collect()
}

#[test]
fn what_is_sent_at_once_arrives_with_the_link() {
    let mut pair = Pair::new(NARROW);
    let link = pair.sides[DIALER].open(opening(7)).unwrap();
    pair.sides[DIALER].send(link, message("first")).unwrap();
    pair.settle();
    let heard = pair.events(LISTENER);
    assert!(matches!(&heard[0], Event::Opened { opening: o, .. } if **o == opening(7)));
    assert_eq!(frames(&heard), [(link, message("first"))]);
}

#[test]
fn who_has_not_accepted_a_link_says_nothing_on_it() {
    let mut pair = Pair::new(NARROW);
    let link = pair.sides[DIALER].open(opening(1)).unwrap();
    pair.settle();
    let early = pair.sides[LISTENER].send(link, message("early"));
    assert_eq!(early, Err(SendError::NotAccepted));
    pair.sides[LISTENER].accept(link, accepted(1));
    pair.sides[LISTENER].accept(link, accepted(1));
    pair.sides[LISTENER].send(link, message("now")).unwrap();
    pair.settle();
    let heard = pair.events(DIALER);
    assert!(
        matches!(heard[..], [Event::Accepted { .. }, Event::Frame { .. }]),
        "{heard:?}"
    );
}

#[test]
fn a_link_that_is_refused_is_over_for_both() {
    let refusals = [
        Refusal::NotOwner {
            owner: Some(PodId(7)),
            epoch: Epoch(9),
        },
        Refusal::Failed(Failure::overloaded("full")),
    ];
    for refusal in refusals {
        let mut pair = Pair::new(NARROW);
        let link = pair.sides[DIALER].open(opening(1)).unwrap();
        pair.sides[DIALER].send(link, message("not run")).unwrap();
        pair.settle();
        pair.sides[LISTENER].refuse(link, refusal.clone());
        pair.settle();
        assert_eq!(pair.events(DIALER), [Event::Refused { link, refusal }]);
        assert_eq!(
            pair.sides[DIALER].send(link, message("late")),
            Err(SendError::Gone)
        );
        assert!(pair.sides.iter().all(|side| side.links.is_empty()));
    }
}

#[test]
fn an_owner_of_an_epoch_that_is_over_loses_the_link() {
    let mut pair = Pair::new(NARROW);
    let link = pair.sides[DIALER].open(opening(5)).unwrap();
    pair.settle();
    pair.sides[LISTENER].accept(link, accepted(4));
    pair.sides[LISTENER].send(link, message("stale")).unwrap();
    pair.settle();
    let reason = CloseReason::Lost;
    assert_eq!(pair.events(DIALER), [Event::Closed { link, reason }]);
    let heard = pair.events(LISTENER);
    assert!(heard.contains(&Event::Closed { link, reason }), "{heard:?}");
}

#[test]
fn a_close_comes_behind_what_was_sent_and_says_why() {
    for reason in [
        CloseReason::Closed,
        CloseReason::Terminated,
        CloseReason::Lost,
    ] {
        let mut pair = Pair::new(NARROW);
        let link = pair.open();
        pair.sides[LISTENER]
            .send(link, message(vec![1; 100_000]))
            .unwrap();
        pair.sides[LISTENER].close(link, reason);
        pair.sides[LISTENER].close(link, CloseReason::Closed);
        pair.settle();
        let heard = pair.events(DIALER);
        assert!(matches!(heard[0], Event::Frame { .. }));
        assert_eq!(heard[1..], [Event::Closed { link, reason }]);
        assert_eq!(pair.events(LISTENER), [], "it knows");
        assert!(pair.sides.iter().all(|side| side.links.is_empty()));
    }
}

#[test]
fn a_link_is_full_in_messages_and_bytes_until_they_are_taken() {
    let mut pair = Pair::new(NARROW);
    let link = pair.open();
    let send = |pair: &mut Pair, size| pair.sides[DIALER].send(link, message(vec![0; size]));
    for _ in 0..3 {
        send(&mut pair, 1).unwrap();
    }
    assert_eq!(send(&mut pair, 1), Err(SendError::Full), "messages");
    let end = pair.sides[DIALER].send(link, Frame::End);
    assert_eq!(end, Ok(()), "it needs no room");
    pair.settle();
    assert_eq!(
        send(&mut pair, 1),
        Err(SendError::Full),
        "received is not taken"
    );
    for event in pair.events(LISTENER) {
        if let Event::Frame { held, .. } = event {
            pair.sides[LISTENER].taken(held);
        }
    }
    pair.settle();
    assert_eq!(pair.events(DIALER), [Event::Room { link }]);
    send(&mut pair, 150_000).unwrap();
    assert_eq!(send(&mut pair, 50_000), Err(SendError::Full), "bytes");
    send(&mut pair, 40_000).unwrap();
}

#[test]
fn a_long_message_and_slow_links_keep_no_other_from_its_turn() {
    let mut pair = Pair::new(NARROW);
    let [slow, long, short] = std::array::from_fn(|_| pair.open());
    let dialer = &mut pair.sides[DIALER];
    for _ in 0..3 {
        dialer.send(slow, message(vec![0; 60_000])).unwrap(); // which nobody takes
    }
    dialer.send(long, message(vec![1; 100_000])).unwrap();
    dialer.send(short, message("short")).unwrap();
    pair.settle();
    let order: Vec<_> = frames(&pair.events(LISTENER))
        .iter()
        .map(|(link, _)| *link)
        .collect();
    let at = |link| order.iter().position(|other| *other == link).unwrap();
    assert!(at(short) < at(long), "{order:?}");
    assert!(order.len() == 5 && at(slow) == 0);
}

#[test]
fn a_full_connection_lets_a_short_frame_through_and_is_fair_to_who_waits() {
    let mut pair = Pair::new(NARROW);
    let [first, second, third, fourth] = std::array::from_fn(|_| pair.open());
    let dialer = &mut pair.sides[DIALER];
    dialer.send(first, message(vec![0; 200_000])).unwrap();
    dialer.send(second, message(vec![0; 150_000])).unwrap(); // no room
    dialer.send(third, message(vec![0; 10_000])).unwrap(); // has room, but came later
    dialer.send(fourth, message("short")).unwrap();
    pair.settle();
    let mut heard = pair.events(LISTENER);
    let links: Vec<_> = frames(&heard).iter().map(|(link, _)| *link).collect();
    assert_eq!(links, [fourth, first]);
    let Some(Event::Frame { held, .. }) = heard.pop() else {
        panic!("a frame");
    };
    pair.sides[LISTENER].taken(held);
    pair.settle();
    let links: Vec<_> = frames(&pair.events(LISTENER))
        .iter()
        .map(|(link, _)| *link)
        .collect();
    assert_eq!(
        links,
        [third, second],
        "both fit; the shorter is complete first"
    );
}

#[test]
fn a_broadcast_is_sent_once() {
    let limits = Limits {
        links: 1000,
        ..NARROW
    };
    let mut pair = Pair::new(limits);
    let links: Vec<_> = (0..500).map(|_| pair.open()).collect();
    for link in &links {
        pair.sides[DIALER]
            .send(*link, message(vec![7; 1000]))
            .unwrap();
    }
    pair.transmit(DIALER, usize::MAX / 2);
    let bytes = pair.wires[DIALER].len();
    assert!(bytes < 1000 + links.len() * 3, "{bytes} bytes");
    pair.settle();
    let heard: Vec<_> = frames(&pair.events(LISTENER)).into_iter().collect();
    let sent = links.iter().map(|link| (*link, message(vec![7; 1000])));
    assert_eq!(heard, sent.collect::<Vec<_>>());
}

#[test]
fn frames_that_only_begin_alike_are_not_mixed_up() {
    let mut pair = Pair::new(NARROW);
    let [one, other] = std::array::from_fn(|_| pair.open());
    pair.sides[DIALER].send(one, message("same")).unwrap();
    pair.sides[DIALER].send(one, message("different")).unwrap();
    pair.sides[DIALER].send(other, message("same")).unwrap();
    pair.sides[DIALER]
        .send(other, message("differing"))
        .unwrap();
    pair.settle();
    let heard = frames(&pair.events(LISTENER));
    let of = |link| {
        heard
            .iter()
            .filter(move |(on, _)| *on == link)
            .map(|(_, frame)| frame)
    };
    assert!(of(one).eq(&[message("same"), message("different")]));
    assert!(of(other).eq(&[message("same"), message("differing")]));
}

#[test]
fn what_is_too_long_is_not_sent_and_changes_nothing() {
    let mut pair = Pair::new(NARROW);
    let link = pair.open();
    let too_long = pair.sides[DIALER].send(link, message(vec![0; 250_001]));
    assert!(matches!(
        too_long,
        Err(SendError::TooLong { limit: 250_000, .. })
    ));
    pair.sides[DIALER].send(link, message("short")).unwrap();
    pair.settle();
    assert_eq!(frames(&pair.events(LISTENER)), [(link, message("short"))]);
}

#[test]
fn no_more_links_are_opened_than_the_other_side_takes() {
    let mut pair = Pair::new(NARROW);
    let links: Vec<_> = (0..6).map(|_| pair.open()).collect();
    let full = pair.sides[DIALER].open(opening(1));
    assert_eq!(full, Err(OpenError::TooMany { limit: 6 }));
    pair.sides[LISTENER].open(opening(1)).unwrap(); // has its own
    pair.sides[DIALER].close(links[0], CloseReason::Closed);
    assert!(
        pair.sides[DIALER].open(opening(1)).is_err(),
        "the other side does not know yet"
    );
    pair.settle();
    pair.sides[DIALER].open(opening(1)).unwrap();
}

#[test]
fn the_end_of_a_connection_is_the_end_of_each_link() {
    let mut pair = Pair::new(NARROW);
    let [open, closed] = std::array::from_fn(|_| pair.open());
    pair.sides[DIALER].close(closed, CloseReason::Closed);
    pair.settle();
    pair.events(LISTENER);
    pair.sides[DIALER].end();
    pair.settle();
    let (link, reason) = (open, CloseReason::Lost);
    for (side, ending) in [(DIALER, Ending::Ended), (LISTENER, Ending::Left)] {
        assert_eq!(pair.events(side), [Event::Closed { link, reason }]);
        assert_eq!(pair.sides[side].ending(), Some(&ending));
        assert_eq!(pair.sides[side].open(opening(1)), Err(OpenError::Gone));
    }
}

#[test]
fn who_hears_nothing_asks_and_then_gives_up() {
    let mut pair = Pair::new(NARROW);
    let link = pair.open();
    pair.now = pair.sides[DIALER].deadline();
    let dialer = &mut pair.sides[DIALER];
    dialer.tick(pair.now);
    assert!(dialer.wants_to_send(), "it asks");
    pair.settle();
    assert!(pair.sides[DIALER].deadline() > pair.now, "it was answered");
    // From now on nothing arrives.
    for _ in 0..2 {
        pair.now = pair.sides[DIALER].deadline();
        pair.sides[DIALER].tick(pair.now);
    }
    let ending = pair.sides[DIALER].ending().cloned();
    assert!(matches!(ending, Some(Ending::Silent(quiet)) if quiet >= NARROW.silence));
    let reason = CloseReason::Lost;
    assert_eq!(pair.events(DIALER), [Event::Closed { link, reason }]);
}

#[test]
fn credit_waits_a_moment_for_company() {
    let mut pair = Pair::new(Limits::default());
    let link = pair.open();
    pair.sides[DIALER].send(link, message("a")).unwrap();
    pair.settle();
    let Some(Event::Frame { held, .. }) = pair.events(LISTENER).pop() else {
        panic!("a frame");
    };
    pair.sides[LISTENER].taken(held);
    pair.transmit(LISTENER, 1000);
    assert!(pair.wires[LISTENER].is_empty(), "not yet");
    pair.now = pair.sides[LISTENER].send_deadline().unwrap();
    pair.transmit(LISTENER, 1000);
    assert!(!pair.wires[LISTENER].is_empty(), "now");
}
