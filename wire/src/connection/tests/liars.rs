//! A side that breaks the rules: it is cut off, told why, and its links are lost.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::Encoded;
use crate::limits::{FRAME_OVERHEAD, FREE_BYTES};
use crate::record::{First, Grant, Record, put_data, put_record};

/// A listener before somebody whose every byte is made up here.
struct Victim {
    connection: Connection,
    now: Duration,
}

impl Victim {
    fn unacquainted() -> Self {
        let now = Duration::ZERO;
        let connection = Connection::new(Side::Listener, NARROW, now);
        Self { connection, now }
    }

    fn new() -> Self {
        let mut victim = Self::unacquainted();
        victim.hear(&Record::Hello(Hello::new(&NARROW)));
        assert!(victim.connection.is_ready());
        victim
    }

    /// With a link that is open, and a frame on its way to the liar.
    fn with_link() -> (Self, LinkNumber) {
        let mut victim = Self::new();
        let link = LinkNumber(0);
        victim.frame(link, Item::Open(Box::new(opening(1))), true);
        match victim.next_event() {
            Some(Event::Opened { held, .. }) => victim.connection.taken(held),
            event => panic!("{event:?}"),
        }
        victim.connection.accept(link, accepted(1));
        victim.connection.send(link, message("secret")).unwrap();
        victim
            .connection
            .transmit(Duration::from_secs(1), 10_000, &mut BytesMut::new());
        (victim, link)
    }

    fn next_event(&mut self) -> Option<Event> {
        self.connection.events.pop_front()
    }

    fn hear(&mut self, record: &Record) {
        let mut bytes = BytesMut::new();
        put_record(record, &mut bytes);
        self.connection.receive(self.now, &mut bytes);
    }

    fn frame(&mut self, link: LinkNumber, item: Item, free: bool) {
        let frame = Encoded::from(item);
        let length = frame.len();
        let mut bytes = BytesMut::new();
        put_data(&[link], Some(First { length, free }), &mut bytes, |out| {
            frame.write_piece(0, length, out);
        });
        self.connection.receive(self.now, &mut bytes);
    }

    fn piece(&mut self, link: LinkNumber, first: Option<First>, bytes: usize) {
        let piece = vec![0; bytes].into();
        let links = vec![link];
        self.hear(&Record::Data {
            links,
            first,
            piece,
        });
    }

    /// It was cut off, was told why, and every link it had is lost.
    #[track_caller]
    fn has_cut_off(mut self, why: &str) {
        let Some(Ending::Violated(violation)) = self.connection.ending().cloned() else {
            panic!("nobody minds: {why}");
        };
        assert!(violation.to_string().contains(why), "{violation}");
        let known: Vec<_> = self.connection.take_events().into();
        let lost = |event: &Event| {
            matches!(
                event,
                Event::Closed {
                    reason: CloseReason::Lost,
                    ..
                }
            )
        };
        assert!(known.last().is_none_or(lost));
        assert!(self.connection.links.is_empty());
        let mut goodbye = BytesMut::new();
        self.connection.transmit(self.now, 1000, &mut goodbye);
        assert!(String::from_utf8_lossy(&goodbye).contains(why));
    }
}

#[test]
fn greetings() {
    let mut silent = Victim::unacquainted();
    silent.hear(&Record::Ping);
    silent.has_cut_off("did not say hello");
    let mut twice = Victim::new();
    twice.hear(&Record::Hello(Hello::new(&NARROW)));
    twice.has_cut_off("hello twice");
    let mut newer = Victim::unacquainted();
    let hello = Hello {
        lowest: 2,
        highest: 3,
        ..Hello::new(&NARROW)
    };
    newer.hear(&Record::Hello(hello));
    let ending = newer.connection.ending();
    assert!(matches!(
        ending,
        Some(Ending::Version {
            lowest: 2,
            highest: 3
        })
    ));
    let mut wider = Victim::unacquainted();
    wider.hear(&Record::Hello(Hello {
        highest: 9,
        ..Hello::new(&NARROW)
    }));
    assert!(wider.connection.is_ready(), "version 1 is among them");
}

#[test]
fn links_that_are_not_there() {
    let mut foreign = Victim::new();
    foreign.frame(LinkNumber(1), Item::Frame(message("")), true);
    foreign.has_cut_off("not there");
    let mut unopened = Victim::new();
    unopened.frame(LinkNumber(0), Item::Frame(message("")), true);
    unopened.has_cut_off("wrong time");
    let mut closed = Victim::new();
    closed.hear(&Record::Close {
        link: LinkNumber(0),
        reason: CloseReason::Closed,
    });
    closed.has_cut_off("has not");
    let mut many = Victim::new();
    for n in 0..=NARROW.links as u64 {
        many.frame(LinkNumber(2 * n), Item::Open(Box::new(opening(1))), true);
    }
    many.has_cut_off("too many links");
}

#[test]
fn frames_at_the_wrong_time() {
    for item in [Item::Open(Box::new(opening(1))), Item::Accept(accepted(1))] {
        let (mut victim, link) = Victim::with_link();
        victim.frame(link, item, true);
        victim.has_cut_off("wrong time");
    }
    let (mut late, link) = Victim::with_link();
    let reason = CloseReason::Closed;
    late.hear(&Record::Close { link, reason });
    assert_eq!(late.next_event(), Some(Event::Closed { link, reason }));
    late.frame(link, Item::Frame(message("after the close")), true);
    late.has_cut_off("has closed");
}

#[test]
fn an_answer_before_it_is_asked_for() {
    let mut victim = Victim::new();
    let link = victim.connection.open(opening(1)).unwrap();
    victim.frame(link, Item::Frame(message("not accepted")), true);
    victim.has_cut_off("wrong time");
}

#[test]
fn more_than_the_windows() {
    let (mut messages, link) = Victim::with_link();
    for _ in 0..4 {
        messages.frame(link, Item::Frame(message("one too many")), false);
    }
    messages.has_cut_off("on a link than its window");
    let (mut bytes, link) = Victim::with_link();
    for _ in 0..2 {
        bytes.piece(
            link,
            Some(First {
                length: 150_000,
                free: false,
            }),
            50_000,
        );
        bytes.piece(link, None, 50_000);
        bytes.piece(link, None, 50_000);
    }
    assert!(bytes.connection.ending().is_some());
    let mut connection = Victim::new();
    for link in [0, 2] {
        connection.piece(
            LinkNumber(link),
            Some(First {
                length: 200_000,
                free: false,
            }),
            1,
        );
    }
    connection.has_cut_off("connection's window allows");
}

#[test]
fn more_than_is_free() {
    let (mut large, link) = Victim::with_link();
    let size = FREE_BYTES - FRAME_OVERHEAD;
    large.frame(link, Item::Frame(message(vec![0; size])), true);
    large.has_cut_off("outside of the connection's window");
    let (mut second, link) = Victim::with_link();
    for _ in 0..2 {
        second.frame(link, Item::Frame(message("free")), true);
    }
    second.has_cut_off("outside of the connection's window");
}

#[test]
fn frames_that_are_not_what_they_say() {
    let first = |length| {
        Some(First {
            length,
            free: false,
        })
    };
    type Pieces<'a> = &'a [(Option<First>, usize)];
    let cases: [(Pieces<'_>, &str); 6] = [
        (&[(first(250_001), 1)], "too long"),
        (&[(first(10), 11)], "longer than it said"),
        (&[(first(10), 5), (None, 6)], "longer than it said"),
        (&[(first(10), 0)], "empty"),
        (&[(first(10), 5), (first(10), 5)], "within another"),
        (&[(None, 5)], "no frame"),
    ];
    for (pieces, why) in cases {
        let (mut victim, link) = Victim::with_link();
        for (first, bytes) in pieces {
            victim.piece(link, *first, *bytes);
        }
        victim.has_cut_off(why);
    }
    let (mut victim, link) = Victim::with_link();
    victim.hear(&Record::Data {
        links: vec![link, LinkNumber(2)],
        first: first(10),
        piece: vec![0; 5].into(),
    });
    victim.has_cut_off("for several links");
}

#[test]
fn credit_for_what_was_not_sent() {
    let grant = |link, messages, bytes| Grant {
        link: LinkNumber(link),
        messages,
        bytes,
    };
    let lies = [
        (100_000, vec![]),
        (0, vec![]),
        (0, vec![grant(2, 1, 1)]),
        (0, vec![grant(0, 9, 1)]),
        (0, vec![grant(0, 1, 100_000)]),
        (0, vec![grant(0, 0, 0)]),
    ];
    for (bytes, grants) in lies {
        let (mut victim, _) = Victim::with_link();
        victim.hear(&Record::Credit { bytes, grants });
        victim.has_cut_off("took what was not sent");
    }
    let (mut victim, _) = Victim::with_link();
    victim.hear(&Record::Pong);
    victim.has_cut_off("nobody asked");
}

#[test]
fn chatter_is_borne_for_a_while() {
    let mut slow = Victim::new();
    for _ in 0..5_000 {
        slow.now += Duration::from_millis(10);
        slow.hear(&Record::Ping);
    }
    assert!(slow.connection.ending().is_none());
    for record in [Record::Ping, Record::Skipped] {
        let mut victim = Victim::new();
        (0..2_000).for_each(|_| victim.hear(&record));
        victim.has_cut_off("too often");
    }
}

#[test]
fn what_may_be_skipped_takes_its_place_and_gives_it_back() {
    let (mut victim, link) = Victim::with_link();
    for n in 1..100_u64 {
        victim.now = Duration::from_secs(n);
        victim.frame(link, Item::Skipped, true);
        let mut out = BytesMut::new();
        victim.connection.transmit(victim.now, 1000, &mut out);
        victim
            .connection
            .transmit(victim.now + Duration::from_millis(5), 1000, &mut out);
    }
    assert_eq!(victim.connection.ending(), None);
    assert_eq!(victim.next_event(), None);
}

#[test]
fn what_is_said_after_the_end_is_nothing() {
    let (mut victim, link) = Victim::with_link();
    victim.connection.end();
    while victim.next_event().is_some() {}
    victim.frame(link, Item::Frame(message("late")), true);
    assert_eq!(victim.next_event(), None);
    assert_eq!(victim.connection.ending(), Some(&Ending::Ended));
}

fn bounded(connection: &Connection) -> bool {
    let partial = |link: &Link| {
        link.partial
            .as_ref()
            .map_or(0, |partial| partial.bytes.len())
    };
    let buffered: usize = connection.links.values().map(partial).sum();
    connection.links.len() <= 2 * NARROW.links
        && buffered <= NARROW.bytes + NARROW.links * FREE_BYTES
        && connection.receiving.held <= NARROW.bytes
}

/// Records that make sense by themselves, on few links, with lengths around the limits.
fn record() -> impl Strategy<Value = Record> {
    let link = || (0_u64..4).prop_map(LinkNumber);
    let first = (
        prop_oneof![0_usize..40, 3_000_usize..5_000, 100_000_usize..260_000],
        any::<bool>(),
    )
        .prop_map(|(length, free)| First { length, free });
    let open = Encoded::from(Item::Open(Box::new(opening(1))));
    let mut open_bytes = BytesMut::new();
    open.write_piece(0, usize::MAX / 2, &mut open_bytes);
    let open_bytes = open_bytes.freeze();
    let opens = any::<bool>();
    let data = (
        vec(link(), 1..3),
        prop::option::of(first),
        vec(0_u8..20, 0..40),
    );
    prop_oneof![
        2 => (link(), opens).prop_map(move |(link, free)| Record::Data {
            links: vec![link],
            first: Some(First { length: open_bytes.len(), free }),
            piece: open_bytes.clone(),
        }),
        4 => data.prop_map(|(links, first, piece)| Record::Data { links, first, piece: piece.into() }),
        1 => (0_usize..200, link(), 0_usize..2, 0_usize..100).prop_map(|(bytes, link, messages, taken)| {
            Record::Credit { bytes, grants: vec![Grant { link, messages, bytes: taken }] }
        }),
        1 => link().prop_map(|link| Record::Close { link, reason: CloseReason::Closed }),
        1 => Just(Record::Ping),
        1 => Just(Record::Skipped),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_borne_or_cut_off(bytes in vec(any::<u8>(), 0..400)) {
        let mut victim = Victim::new();
        victim.connection.receive(victim.now, &mut BytesMut::from(&bytes[..]));
        prop_assert!(bounded(&victim.connection));
    }

    #[test]
    fn any_records_are_borne_within_the_limits(records in vec(record(), 0..40)) {
        let (mut victim, _) = Victim::with_link();
        let mut ended = 0;
        for record in &records {
            victim.hear(record);
            prop_assert!(bounded(&victim.connection));
            while let Some(event) = victim.next_event() {
                match event {
                    Event::Closed { .. } => ended += 1,
                    Event::Opened { link, held, .. } => {
                        victim.connection.taken(held);
                        victim.connection.accept(link, accepted(1));
                    }
                    Event::Frame { held, .. } => victim.connection.taken(held),
                    _ => {}
                }
            }
            victim.connection.transmit(victim.now, 100_000, &mut BytesMut::new());
        }
        if victim.connection.ending().is_some() {
            prop_assert!(victim.connection.links.is_empty() && ended > 0);
        }
    }
}
