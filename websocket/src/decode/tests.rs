use proptest::prelude::*;

use super::*;
use crate::testing::frame;

fn decode(wire: &[u8], limit: usize, step: usize) -> Result<Vec<Event>, Violation> {
    let mut decoder = Decoder::new(Role::Server, limit, true);
    let mut events = Vec::new();
    for part in wire.chunks(step) {
        decoder.buffer().extend_from_slice(part);
        while let Some(event) = decoder.event()? {
            events.push(event);
        }
    }
    Ok(events)
}

fn text(text: &str) -> Event {
    Event::Message(Message::Text(Bytes::copy_from_slice(text.as_bytes())))
}

fn close(code: u16, reason: &str) -> Event {
    Event::Message(Message::Close {
        code,
        reason: reason.into(),
    })
}

#[test]
fn frames_become_events_however_they_are_cut() {
    let wire = [
        frame(0x81, b"whole"),
        frame(0x01, b"in "),
        frame(0x89, b"ping"),
        frame(0x00, b""),
        frame(0x80, "three \u{1f600}".as_bytes()),
        frame(0x8a, b""),
        frame(0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        frame(0x41, &[0xf2, 0x48, 0xcd]),
        frame(0x80, &[0xc9, 0xc9, 0x07, 0x00]),
        frame(0x82, &[0xff; 200]),
        frame(0x88, b"\x0f\xa0bye"),
    ]
    .concat();
    let expected = vec![
        text("whole"),
        Event::Ping("ping".into()),
        text("in three \u{1f600}"),
        Event::Pong,
        text("Hello"),
        text("Hello"),
        Event::Message(Message::Binary(Bytes::from_static(&[0xff; 200]))),
        close(4000, "bye"),
    ];
    for step in [1, 2, 3, 7, wire.len()] {
        assert_eq!(decode(&wire, 1000, step).unwrap(), expected, "{step}");
    }
    assert_eq!(decode(&frame(0x88, b""), 10, 9).unwrap(), [close(1005, "")]);
}

#[test]
fn mistakes_have_their_codes() {
    let unmasked = vec![0x81, 1, b'a'];
    let long_form = [&[0x81, 0x80 | 126, 0, 5][..], &[0; 9]].concat();
    let longer_form = [&[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 1, 0][..], &[0; 4]].concat();
    let endless = vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let table: Vec<(&str, Vec<u8>, u16)> = vec![
        ("reserved bit", frame(0x91, b"a"), 1002),
        (
            "compressed continuation",
            [frame(0x01, b"a"), frame(0xc0, b"b")].concat(),
            1002,
        ),
        ("compressed ping", frame(0xc9, b""), 1002),
        ("no mask", unmasked, 1002),
        ("type 3", frame(0x83, b""), 1002),
        ("type 11", frame(0x8b, b""), 1002),
        ("nothing to continue", frame(0x80, b"a"), 1002),
        (
            "message in a message",
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
            1002,
        ),
        ("fragmented ping", frame(0x09, b""), 1002),
        ("long ping", frame(0x89, &[0; 126]), 1002),
        ("long pong", frame(0x8a, &[0; 126]), 1002),
        ("length not shortest", long_form, 1002),
        ("length not shortest, eight bytes", longer_form, 1002),
        ("half a close code", frame(0x88, &[3]), 1002),
        ("close code 999", frame(0x88, &999_u16.to_be_bytes()), 1002),
        (
            "close code 1005",
            frame(0x88, &1005_u16.to_be_bytes()),
            1002,
        ),
        (
            "close code 1006",
            frame(0x88, &1006_u16.to_be_bytes()),
            1002,
        ),
        (
            "close code 2000",
            frame(0x88, &2000_u16.to_be_bytes()),
            1002,
        ),
        (
            "close code 5000",
            frame(0x88, &5000_u16.to_be_bytes()),
            1002,
        ),
        ("close reason", frame(0x88, b"\x03\xe8\xff"), 1007),
        ("text", frame(0x81, b"\xff"), 1007),
        (
            "fragmented text",
            [frame(0x01, b"\xc3"), frame(0x80, b"(")].concat(),
            1007,
        ),
        ("text cut off", frame(0x81, b"\xc3"), 1007),
        ("not compressed", frame(0xc1, b"\xff\xff\xff"), 1007),
        ("big", frame(0x82, &[0; 1001]), 1009),
        ("endless", endless, 1009),
        (
            "big in fragments",
            [frame(0x02, &[0; 600]), frame(0x80, &[0; 600])].concat(),
            1009,
        ),
        (
            "big when decompressed",
            frame(
                0xc2,
                &deflate::Deflate::default().compress(&[0; 5000]).unwrap(),
            ),
            1009,
        ),
    ];
    for (name, wire, code) in table {
        for step in [1, wire.len()] {
            let result = decode(&wire, 1000, step);
            assert_eq!(
                result.map_err(|violation| violation.code),
                Err(code),
                "{name}"
            );
        }
    }
    assert!(decode(&frame(0x82, &[0; 1000]), 1000, 1).is_ok());
    let mut plain = Decoder::new(Role::Server, 1000, false);
    plain.buffer().extend_from_slice(&frame(0xc1, b""));
    assert_eq!(plain.event().unwrap_err().code, 1002);
}

#[test]
fn a_client_reads_what_is_not_masked_and_nothing_else() {
    let mut decoder = Decoder::new(Role::Client, 1000, true);
    let compressed = [0xc1, 7, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let wire = [&[0x81, 1, b'a', 0x89, 0][..], &compressed, &[0x88, 0]].concat();
    let mut events = Vec::new();
    for byte in wire {
        decoder.buffer().extend_from_slice(&[byte]);
        events.extend(decoder.event().unwrap());
    }
    let ping = Event::Ping(Bytes::new());
    assert_eq!(events, [text("a"), ping, text("Hello"), close(1005, "")]);
    decoder.buffer().extend_from_slice(&frame(0x81, b"a"));
    assert_eq!(decoder.event().unwrap_err().code, 1002);
}

#[test]
fn what_one_end_writes_the_other_reads() {
    let deflate = Some(deflate::Deflate::default());
    for (from, to) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
        let encoder = crate::Encoder::new(from, deflate);
        let mut decoder = Decoder::new(to, 1 << 20, true);
        for len in [0, 1, 125, 126, 1024, 0xffff, 0x1_0000, 200_000] {
            let message = Message::Binary((0..len).map(|i| (i % 251) as u8).collect());
            let rest = encoder.message(decoder.buffer(), message.clone());
            decoder
                .buffer()
                .extend_from_slice(&rest.unwrap_or_default());
            assert_eq!(decoder.event(), Ok(Some(Event::Message(message))), "{len}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_the_same_way_however_they_are_cut(
        wire in proptest::collection::vec(any::<u8>(), 1..300),
        step in 1..40_usize,
    ) {
        prop_assert_eq!(decode(&wire, 200, step).ok(), decode(&wire, 200, wire.len()).ok());
    }

    #[test]
    fn unmasking_is_byte_by_byte(payload in proptest::collection::vec(any::<u8>(), 0..40), key: [u8; 4]) {
        let mut unmasked = payload.clone();
        mask(&mut unmasked, key);
        for (index, byte) in payload.iter().enumerate() {
            prop_assert_eq!(unmasked[index], byte ^ key[index % 4]);
        }
    }
}
