use bytes::BytesMut;
use http::{HeaderName, HeaderValue};
use portside_worker::link::FailureCode;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..50).prop_map(Bytes::from)
}

fn arc() -> impl Strategy<Value = Arc<[u8]>> {
    vec(any::<u8>(), 0..50).prop_map(Arc::from)
}

fn name() -> impl Strategy<Value = Option<Arc<str>>> {
    option::of(".{0,20}".prop_map(Arc::from))
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let header = ("[a-z0-9-]{1,12}", vec(0x20_u8..0x7f, 0..20));
    let header = header.prop_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_bytes(&value).unwrap())
    });
    vec(header, 0..6).prop_map(|headers| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        map
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    let code = prop_oneof![
        Just(FailureCode::Overloaded),
        Just(FailureCode::Unavailable),
        Just(FailureCode::Failed),
        Just(FailureCode::Reset),
    ];
    let failure = (
        code,
        any::<u64>(),
        ".{0,20}",
        option::of(arc()),
        any::<bool>(),
    );
    failure.prop_map(
        |(code, retry_after_ms, message, thrown, is_overload)| Failure {
            code,
            retry_after_ms,
            message,
            thrown,
            is_overload,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let body = prop_oneof![bytes().prop_map(Body::Full), Just(Body::Follows)];
    let request = ("[A-Z]{1,9}", ".{0,40}", headers(), any::<bool>(), body);
    request.prop_map(|(method, url, headers, websocket, body)| Request {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        url,
        headers,
        websocket,
        body,
    })
}

pub(crate) fn opening() -> impl Strategy<Value = Opening> {
    let push = (vec(".{0,9}", 0..4), option::of(vec(any::<u8>(), 0..50)));
    let kind = prop_oneof![
        Just(Kind::Port),
        request().prop_map(|request| Kind::Fetch(Box::new(request))),
        push.prop_map(|(path, arguments)| Kind::Rpc(Box::new(Push { path, arguments }))),
        (any::<i64>(), ".{0,20}")
            .prop_map(|(time, cron)| Kind::Scheduled(Scheduled { time, cron })),
        bytes().prop_map(Kind::Adopt),
    ];
    let reached = option::of(any::<u64>());
    let names = (".{0,20}", ".{0,20}", name(), name());
    let opening = (names, any::<u64>(), kind, reached, any::<bool>());
    opening.prop_map(
        |((script, worker, name, request), epoch, kind, reached, reconnected)| Opening {
            to: WorkerKey::new(&script, &worker).unwrap(),
            epoch: Epoch(epoch),
            kind,
            name,
            reached: reached.map(InstanceNumber),
            request,
            reconnected,
        },
    )
}

pub(crate) fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        (option::of(any::<u128>()), any::<u64>()).prop_map(|(owner, epoch)| Refusal::NotOwner {
            owner: owner.map(PodId),
            epoch: Epoch(epoch),
        }),
        failure().prop_map(Refusal::Failed),
    ]
}

fn head() -> impl Strategy<Value = Head> {
    let content = prop_oneof![
        bytes().prop_map(Content::Full),
        Just(Content::Follows),
        Just(Content::Socket(Lasts::No)),
        Just(Content::Socket(Lasts::Reopened)),
        Just(Content::Socket(Lasts::Kept)),
    ];
    let head = (100_u16..1000, bytes(), headers(), content);
    head.prop_map(|(status, reason, headers, content)| Head {
        status: StatusCode::from_u16(status).unwrap(),
        reason,
        headers,
        content,
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        ".{0,30}".prop_map(|text| Message::Text(text.into())),
        bytes().prop_map(Message::Binary),
        (any::<u16>(), ".{0,30}").prop_map(|(code, reason)| Message::Close { code, reason }),
    ]
}

fn body_error() -> impl Strategy<Value = BodyError> {
    prop_oneof![
        ".{0,30}".prop_map(BodyError::Incomplete),
        (".{0,30}", arc()).prop_map(|(message, thrown)| BodyError::Thrown { message, thrown }),
        any::<usize>().prop_map(|limit| BodyError::TooLarge { limit }),
    ]
}

fn reason() -> impl Strategy<Value = CloseReason> {
    prop_oneof![
        Just(CloseReason::Closed),
        Just(CloseReason::Terminated),
        Just(CloseReason::Lost),
    ]
}

pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (bytes(), name()).prop_map(|(data, request)| Frame::Message { data, request }),
        head().prop_map(|head| Frame::Head(Box::new(head))),
        bytes().prop_map(Frame::Resolve),
        any::<[bool; 2]>().prop_map(|[succeeded, no_retry]| Frame::Ran(Ran {
            succeeded,
            no_retry
        })),
        bytes().prop_map(Frame::Chunk),
        Just(Frame::End),
        body_error().prop_map(Frame::Abort),
        Just(Frame::Unread),
        message().prop_map(Frame::Socket),
        failure().prop_map(Frame::Failed),
        reason().prop_map(Frame::Parted),
        any::<u64>().prop_map(|number| Frame::Reached(InstanceNumber(number))),
        any::<u64>().prop_map(Frame::Heard),
        any::<(bool, u64)>().prop_map(|(connected, heard)| Frame::Moved { connected, heard }),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        opening().prop_map(|opening| Item::Open(Box::new(opening))),
        any::<u64>().prop_map(|epoch| Item::Accept(Accepted {
            epoch: Epoch(epoch),
        })),
        refusal().prop_map(Item::Refuse),
        frame().prop_map(Item::Frame),
        Just(Item::Skipped),
    ]
}

fn written(item: Item) -> Bytes {
    let encoded = Encoded::from(item);
    let mut out = BytesMut::new();
    // In pieces of three bytes: so each border between what is written and the payload is crossed in some way.
    let mut start = 0;
    while start < encoded.len() {
        start += encoded.write_piece(start, 3, &mut out);
    }
    assert_eq!(out.len(), encoded.len());
    out.freeze()
}

proptest! {
    #[test]
    fn items_come_back(item in item()) {
        prop_assert_eq!(decode(written(item.clone())), Ok(item));
    }

    #[test]
    fn any_bytes_are_an_item_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(item) = decode(bytes.into()) {
            let again = decode(written(item.clone()));
            prop_assert_eq!(again, Ok(item));
        }
    }

    #[test]
    fn damaged_items_are_read_or_refused(item in item(), at: prop::sample::Index, to: u8, cut: bool) {
        let mut bytes = written(item).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if cut {
            bytes.truncate(at);
        }
        let _ = decode(bytes.into());
    }
}

#[test]
fn more_names_than_allowed_are_neither_sent_nor_read() {
    let call = |names: usize| Opening {
        to: WorkerKey::new("a.js", "").unwrap(),
        epoch: Epoch(1),
        kind: Kind::Rpc(Box::new(Push {
            path: vec![String::new(); names],
            arguments: None,
        })),
        name: None,
        reached: None,
        request: None,
        reconnected: false,
    };
    let read = |opening| decode(written(Item::Open(Box::new(opening))));
    assert!(call(MAX_NAMES).is_sendable() && read(call(MAX_NAMES)).is_ok());
    assert!(!call(MAX_NAMES + 1).is_sendable() && read(call(MAX_NAMES + 1)).is_err());
}

// What a link in one process has, one between pods has as well: what is new there does not compile here.
use portside_worker::link;

const _: fn(&link::Kind) -> fn(&Kind) -> bool = |kind| match kind {
    link::Kind::Port => |kind| matches!(kind, Kind::Port),
    link::Kind::Fetch(_) => |kind| matches!(kind, Kind::Fetch(_)),
    link::Kind::Rpc(_) => |kind| matches!(kind, Kind::Rpc(_)),
    link::Kind::Scheduled(_) => |kind| matches!(kind, Kind::Scheduled(_)),
    link::Kind::Adopt(_) => |kind| matches!(kind, Kind::Adopt(_)),
    // It goes to no other process.
    link::Kind::Evaluate(_) => |_| false,
};
const _: fn(&link::Frame) -> fn(&Frame) -> bool = |frame| match frame {
    link::Frame::Message { .. } => |frame| matches!(frame, Frame::Message { .. }),
    link::Frame::Head(_) => |frame| matches!(frame, Frame::Head(_)),
    link::Frame::Resolve(_) => |frame| matches!(frame, Frame::Resolve(_)),
    link::Frame::Ran(_) => |frame| matches!(frame, Frame::Ran(_)),
    link::Frame::Chunk { .. } => |frame| matches!(frame, Frame::Chunk(_)),
    link::Frame::End => |frame| matches!(frame, Frame::End),
    link::Frame::Abort(_) => |frame| matches!(frame, Frame::Abort(_)),
    link::Frame::Socket(_) => |frame| matches!(frame, Frame::Socket(_)),
    link::Frame::Failed(_) => |frame| matches!(frame, Frame::Failed(_)),
};
const _: fn(&link::Content) -> fn(&Content) -> bool = |content| match content {
    link::Content::Full(_) => |content| matches!(content, Content::Full(_)),
    link::Content::Follows => |content| matches!(content, Content::Follows),
    link::Content::Socket(_) | link::Content::Hibernatable(_) | link::Content::Spliced(_) => {
        |content| matches!(content, Content::Socket(_))
    }
};
