//! Whatever a peer says, what is allocated for it is in proportion to what it has sent. A program of its own, for the memory of
//! all of it is measured.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use portside_core::ids::{Epoch, WorkerKey};
use portside_exchange::BodyError;
use portside_wire::connection::{Connection, Side};
use portside_wire::frame::{Body, Content, Frame, Head, Kind, Opening, Request};
use portside_wire::limits::Limits;
use portside_worker::bond::InstanceNumber;
use portside_worker::link::{Failure, Push, Scheduled};
use proptest::collection::vec;
use proptest::prelude::*;

/// What each byte may cost: a header of a few is an entry of a map, and a short name a string.
const FOR_EACH: usize = 20;

/// More than is ever sent here at once.
const MUCH: usize = 1 << 30;

/// Counts what is allocated, and the most of it at a time.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator is")]
// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let before = ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        MOST.fetch_max(before + layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// How much more than before was allocated at a time while `act` ran.
fn most_allocated_by(act: impl FnOnce()) -> usize {
    let before = ALLOCATED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    act();
    MOST.load(Ordering::Relaxed) - before
}

fn opening(kind: Kind) -> Opening {
    Opening {
        to: WorkerKey::new("a.js", "x").unwrap(),
        epoch: Epoch(1),
        kind,
        name: Some("name".into()),
        reached: Some(InstanceNumber(7)),
        request: Some("request".into()),
        reconnected: false,
    }
}

fn headers() -> HeaderMap {
    let header = |number: u32| {
        let name = HeaderName::try_from(format!("name-{number}")).unwrap();
        (name, HeaderValue::from(number))
    };
    (0..20).map(header).collect()
}

fn frames() -> Vec<Frame> {
    let failure = Failure {
        thrown: Some(vec![1; 40].into()),
        ..Failure::overloaded("too much")
    };
    let thrown = BodyError::Thrown {
        message: "thrown".to_owned(),
        thrown: vec![2; 40].into(),
    };
    let head = Head {
        status: StatusCode::OK,
        reason: "fine".into(),
        headers: headers(),
        content: Content::Full("body".into()),
    };
    vec![
        Frame::Message {
            data: vec![3; 1000].into(),
            request: Some("request".into()),
        },
        Frame::Head(Box::new(head)),
        Frame::Abort(thrown),
        Frame::Failed(failure),
    ]
}

/// What somebody sends who opens links of all kinds, and says something on each.
fn honest() -> Vec<u8> {
    let now = Duration::ZERO;
    let mut dialer = Connection::new(Side::Dialer, Limits::default(), now);
    let mut listener = Connection::new(Side::Listener, Limits::default(), now);
    let (mut sent, mut answer) = (BytesMut::new(), BytesMut::new());
    listener.transmit(now, MUCH, &mut answer);
    dialer.receive(now, &mut answer);
    let request = Request {
        method: Method::POST,
        url: "http://a/b".to_owned(),
        headers: headers(),
        websocket: false,
        body: Body::Full(vec![4; 500].into()),
    };
    let push = Push {
        path: vec!["name".to_owned(); 50],
        arguments: Some(vec![5; 500]),
    };
    let scheduled = Scheduled {
        time: 1,
        cron: "* * * * *".to_owned(),
    };
    for kind in [
        Kind::Port,
        Kind::Fetch(Box::new(request)),
        Kind::Rpc(Box::new(push)),
        Kind::Scheduled(scheduled),
    ] {
        let link = dialer.open(opening(kind)).unwrap();
        for frame in frames() {
            dialer.send(link, frame).unwrap();
        }
    }
    dialer.transmit(now, MUCH, &mut sent);
    sent.to_vec()
}

/// What stands where something else should: small, or larger than anything.
fn damage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        (1_usize..10).prop_map(|count| [vec![0xff; count - 1], vec![0x7f]].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    fn whatever_is_said(damages in vec((any::<prop::sample::Index>(), damage()), 1..4)) {
        let mut sent = honest();
        for (at, damage) in damages {
            let at = at.index(sent.len());
            let end = sent.len().min(at + damage.len());
            sent[at..end].copy_from_slice(&damage[..end - at]);
        }
        let (bytes, mut sent) = (sent.len(), BytesMut::from(&sent[..]));
        let most = most_allocated_by(|| {
            let now = Duration::ZERO;
            let mut connection = Connection::new(Side::Listener, Limits::default(), now);
            connection.receive(now, &mut sent);
            drop(connection.take_events());
        });
        prop_assert!(most <= FOR_EACH * bytes, "{most} for {bytes}");
    }
}

/// One after the other: each measures the whole process.
#[test]
fn nobody_is_made_to_allocate_much() {
    let most = most_allocated_by(|| drop(vec![0_u8; 10 << 20]));
    assert!(most >= 10 << 20, "it is measured");
    whatever_is_said();
}
