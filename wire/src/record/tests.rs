use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn number() -> impl Strategy<Value = LinkNumber> {
    any::<u64>().prop_map(LinkNumber)
}

fn hello() -> impl Strategy<Value = Hello> {
    any::<([u8; 2], [usize; 5])>().prop_map(|([lowest, highest], sizes)| {
        let [links, frame_bytes, messages, window_bytes, bytes] = sizes;
        let window = Window {
            messages,
            bytes: window_bytes,
        };
        Hello {
            lowest,
            highest,
            links,
            frame_bytes,
            window,
            bytes,
        }
    })
}

fn record() -> impl Strategy<Value = Record> {
    let first = any::<(usize, bool)>().prop_map(|(length, free)| First { length, free });
    let piece = vec(any::<u8>(), 0..100).prop_map(Bytes::from);
    let data = (vec(number(), 1..5), option::of(first), piece);
    let grant =
        (number(), any::<usize>(), any::<usize>()).prop_map(|(link, messages, bytes)| Grant {
            link,
            messages,
            bytes,
        });
    let reason = prop_oneof![
        Just(CloseReason::Closed),
        Just(CloseReason::Terminated),
        Just(CloseReason::Lost),
    ];
    prop_oneof![
        hello().prop_map(Record::Hello),
        data.prop_map(|(links, first, piece)| Record::Data {
            links,
            first,
            piece
        }),
        (any::<usize>(), vec(grant, 0..5))
            .prop_map(|(bytes, grants)| Record::Credit { bytes, grants }),
        (number(), reason).prop_map(|(link, reason)| Record::Close { link, reason }),
        Just(Record::Ping),
        Just(Record::Pong),
        option::of(".{0,50}").prop_map(Record::Bye),
        Just(Record::Skipped),
    ]
}

/// All records that are whole, and the error that ends them.
fn read_all(bytes: &[u8], step: usize) -> (Vec<Record>, Option<Malformed>) {
    let (mut records, mut buffer) = (Vec::new(), BytesMut::new());
    for bytes in bytes.chunks(step) {
        buffer.extend_from_slice(bytes);
        loop {
            match next(&mut buffer) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(error) => return (records, Some(error)),
            }
        }
    }
    (records, None)
}

proptest! {
    #[test]
    fn records_come_back_however_they_are_cut(records in vec(record(), 0..8), step in 1_usize..40) {
        let mut out = BytesMut::new();
        records.iter().for_each(|record| put_record(record, &mut out));
        prop_assert_eq!(read_all(&out, step), (records, None));
    }

    #[test]
    fn any_bytes_are_records_or_refused(bytes in vec(any::<u8>(), 0..300), step in 1_usize..40) {
        read_all(&bytes, step);
    }

    #[test]
    fn whatever_a_record_says_is_read_or_refused(kind in 0_u8..9, body in vec(any::<u8>(), 0..100)) {
        let mut out = BytesMut::new();
        put(kind, &mut out, |out| out.put_slice(&body));
        if let (records, None) = read_all(&out, 1000) {
            let mut again = BytesMut::new();
            records.iter().for_each(|record| put_record(record, &mut again));
            prop_assert_eq!(read_all(&again, 1000), (records, None));
        }
    }
}

#[test]
fn a_long_record_is_refused_before_it_is_there() {
    let mut bytes = BytesMut::new();
    bytes.put_u32(MAX_RECORD as u32 + 1);
    assert!(next(&mut bytes).is_err());
    let mut bytes = BytesMut::new();
    bytes.put_u32(MAX_RECORD as u32);
    assert_eq!(next(&mut bytes), Ok(None));
}

#[test]
fn the_longest_record_that_is_sent_may_be_read() {
    let mut out = BytesMut::new();
    let first = First {
        length: PIECE_BYTES,
        free: false,
    };
    let links = [LinkNumber(u64::MAX); MAX_NAMED];
    put_data(&links, Some(first), &mut out, |out| {
        out.put_bytes(7, PIECE_BYTES);
    });
    assert!(matches!(next(&mut out), Ok(Some(Record::Data { .. }))));
}

#[test]
fn what_a_later_version_may_add_is_skipped_or_refused() {
    let read = |kind, body: &[u8]| {
        let mut out = BytesMut::new();
        put(kind, &mut out, |out| out.put_slice(body));
        next(&mut out)
    };
    assert_eq!(read(200, b"whatever"), Ok(Some(Record::Skipped)));
    assert!(read(100, b"whatever").is_err());
    let mut hello = vec![1, 2, 1, 2, 3, 4, 5];
    let known = read(kinds::HELLO, &hello).unwrap();
    hello.extend(b"and more");
    assert_eq!(read(kinds::HELLO, &hello).unwrap(), known);
}
