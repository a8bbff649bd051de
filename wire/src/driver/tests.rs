mod hostile;
mod keys;

use std::collections::HashMap;

use bytes::Bytes;
use portside_core::ids::{Epoch, WorkerKey};
use tokio::io::{DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::*;
use crate::frame::{Kind, Request};

/// One side of a connection that somebody drives.
struct End {
    links: Links,
    heard: UnboundedReceiver<Arrival>,
    driven: JoinHandle<Ending>,
}

impl End {
    fn drive<S>((links, driver): (Links, Driver<S>)) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, heard) = unbounded_channel();
        let driven = tokio::spawn(driver.run(move |arrival| {
            let _ = sender.send(arrival); // who does not listen takes it all the same
        }));
        Self {
            links,
            heard,
            driven,
        }
    }

    async fn hear(&mut self) -> Arrival {
        self.heard.recv().await.expect("there is more to come")
    }

    /// The next frame, taken at once.
    async fn frame(&mut self) -> (LinkNumber, Frame) {
        match self.hear().await {
            Event::Frame { link, frame, .. } => (link, frame),
            other => panic!("no frame: {}", name(&other)),
        }
    }

    async fn opened(&mut self) -> (LinkNumber, Opening) {
        match self.hear().await {
            Event::Opened { link, opening, .. } => (link, *opening),
            other => panic!("no opening: {}", name(&other)),
        }
    }

    async fn closed(&mut self) -> (LinkNumber, CloseReason) {
        match self.hear().await {
            Event::Closed { link, reason } => (link, reason),
            other => panic!("no close: {}", name(&other)),
        }
    }
}

fn name(arrival: &Arrival) -> &'static str {
    match arrival {
        Event::Opened { .. } => "opened",
        Event::Accepted { .. } => "accepted",
        Event::Refused { .. } => "refused",
        Event::Frame { .. } => "frame",
        Event::Room { .. } => "room",
        Event::Closed { .. } => "closed",
    }
}

fn only(peer: Fingerprint) -> Arc<dyn Peers> {
    Arc::new(move |known: &Fingerprint| *known == peer)
}

fn opening(kind: Kind) -> Opening {
    Opening {
        to: WorkerKey::new("a.js", "x").unwrap(),
        epoch: Epoch(1),
        kind,
        name: None,
        reached: None,
        request: None,
        reconnected: false,
    }
}

const ACCEPTED: Accepted = Accepted { epoch: Epoch(1) };

fn message(data: impl Into<Bytes>) -> Frame {
    Frame::Message {
        data: data.into(),
        request: None,
    }
}

async fn connect<S>(streams: (S, S), limits: Limits) -> [End; 2]
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let keys = [Key::generate().unwrap(), Key::generate().unwrap()];
    let [dialer, listener] = [keys[0].fingerprint(), keys[1].fingerprint()];
    let accepted = accept(streams.1, &keys[1], only(dialer), limits);
    let dialed = dial(streams.0, &keys[0], listener, limits);
    let (dialed, accepted) = tokio::join!(dialed, accepted);
    let ends = [End::drive(dialed.unwrap()), End::drive(accepted.unwrap())];
    assert_eq!(
        (ends[0].links.peer(), ends[1].links.peer()),
        (listener, dialer)
    );
    ends
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialed, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialed.unwrap(), accepted.unwrap().0)
}

/// So narrow that two sides that write at once would wait for each other.
fn narrow() -> (DuplexStream, DuplexStream) {
    duplex(1000)
}

#[tokio::test]
async fn a_request_and_its_answer_with_bodies() {
    let [mut caller, mut owner] = connect(tcp().await, Limits::default()).await;
    let request = Request {
        method: http::Method::POST,
        url: "http://a/b".to_owned(),
        headers: http::HeaderMap::new(),
        websocket: false,
        body: crate::frame::Body::Follows,
    };
    let sent = opening(Kind::Fetch(Box::new(request)));
    let link = caller.links.open(sent.clone()).unwrap();
    let chunk = Bytes::from(vec![5; 300_000]);
    caller
        .links
        .send(link, Frame::Chunk(chunk.clone()))
        .unwrap();
    caller.links.send(link, Frame::End).unwrap();
    assert_eq!(owner.opened().await, (link, sent));
    owner.links.accept(link, ACCEPTED);
    assert_eq!(owner.frame().await, (link, Frame::Chunk(chunk.clone())));
    assert_eq!(owner.frame().await, (link, Frame::End));
    let head = crate::frame::Head {
        status: http::StatusCode::OK,
        reason: Bytes::new(),
        headers: http::HeaderMap::new(),
        content: crate::frame::Content::Follows,
    };
    let answer = [Frame::Head(Box::new(head)), Frame::Chunk(chunk), Frame::End];
    for frame in &answer {
        owner.links.send(link, frame.clone()).unwrap();
    }
    owner.links.close(link, CloseReason::Closed);
    assert!(matches!(
        caller.hear().await,
        Event::Accepted {
            accepted: ACCEPTED,
            ..
        }
    ));
    for frame in answer {
        assert_eq!(caller.frame().await, (link, frame));
    }
    assert_eq!(caller.closed().await, (link, CloseReason::Closed));
    caller.links.end();
    assert_eq!(caller.driven.await.unwrap(), Ending::Ended);
    assert_eq!(owner.driven.await.unwrap(), Ending::Left);
}

#[tokio::test]
async fn the_longest_message_passes_where_little_fits() {
    let [caller, mut owner] = connect(duplex(64 << 10), Limits::default()).await;
    let link = caller.links.open(opening(Kind::Port)).unwrap();
    let longest = Bytes::from(vec![9; 32 << 20]);
    caller.links.send(link, message(longest.clone())).unwrap();
    owner.opened().await;
    assert!(owner.frame().await == (link, message(longest)));
}

/// Each of many links has its own order, and both sides send at once over a transport that holds next to nothing.
#[tokio::test]
async fn many_links_both_ways_at_once() {
    const LINKS: usize = 100;
    const MESSAGES: u32 = 20;
    let [mut caller, mut owner] = connect(narrow(), Limits::default()).await;
    let open = || caller.links.open(opening(Kind::Port)).unwrap();
    let links: Vec<_> = (0..LINKS).map(|_| open()).collect();
    for _ in &links {
        let (link, _) = owner.opened().await;
        owner.links.accept(link, ACCEPTED);
    }
    for number in 0..MESSAGES {
        for link in &links {
            let data = [&number.to_be_bytes()[..], &[0; 500]].concat();
            caller.links.send(*link, message(data.clone())).unwrap();
            owner.links.send(*link, message(data)).unwrap();
        }
    }
    for end in [&mut caller, &mut owner] {
        let mut next = HashMap::<LinkNumber, u32>::new();
        while next.values().sum::<u32>() < LINKS as u32 * MESSAGES {
            let Event::Frame { link, frame, .. } = end.hear().await else {
                continue; // it is accepted
            };
            let number = next.entry(link).or_default();
            let Frame::Message { data, .. } = frame else {
                panic!("a message");
            };
            assert_eq!(data[..4], number.to_be_bytes());
            *number += 1;
        }
    }
}

/// Whoever sends wakes the driver, from whatever thread: nothing is left lying until something else happens.
#[tokio::test]
async fn what_other_threads_send_leaves_at_once() {
    const MESSAGES: usize = 5_000;
    let hour = Duration::from_secs(3_600);
    let mut limits = Limits {
        keep_alive: hour, // else that would wake it
        silence: 2 * hour,
        ..Limits::default()
    };
    limits.window.messages = MESSAGES + 1;
    let [caller, mut owner] = connect(tcp().await, limits).await;
    let threads = [(); 4].map(|()| {
        let links = caller.links.clone();
        std::thread::spawn(move || {
            let link = links.open(opening(Kind::Port)).unwrap();
            for number in 0..MESSAGES {
                links.send(link, message(number.to_string())).unwrap();
            }
        })
    });
    let mut next = HashMap::<LinkNumber, usize>::new();
    let all = async {
        while next.values().sum::<usize>() < threads.len() * MESSAGES {
            if let Event::Frame { link, frame, .. } = owner.hear().await {
                let number = next.entry(link).or_default();
                assert_eq!(frame, message(number.to_string()));
                *number += 1;
            }
        }
    };
    let in_time = timeout(Duration::from_secs(30), all).await;
    in_time.expect("all of it arrives");
    for thread in threads {
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_is_slow_on_one_link_hears_the_others() {
    let [caller, mut owner] = connect(tcp().await, Limits::default()).await;
    let [slow, quick] = [(); 2].map(|()| caller.links.open(opening(Kind::Port)).unwrap());
    let mut sent = 0;
    while caller.links.send(slow, message(vec![0; 100_000])).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 167, "16 MiB");
    let mut held = Vec::new();
    for _ in 0..sent + 2 {
        held.push(owner.hear().await);
    }
    for _ in 0..1000 {
        caller.links.send(quick, message("quick")).unwrap();
        assert_eq!(owner.frame().await, (quick, message("quick")));
    }
    assert_eq!(caller.links.send(slow, message("")), Ok(()));
    let full = caller.links.send(slow, message(vec![0; 100_000]));
    assert_eq!(full, Err(SendError::Full));
    drop(held);
    let mut caller = caller;
    assert!(matches!(caller.hear().await, Event::Room { link } if link == slow));
}

#[tokio::test]
async fn whoever_drops_a_driver_ends_its_links() {
    let [mut caller, mut owner] = connect(tcp().await, Limits::default()).await;
    let link = caller.links.open(opening(Kind::Port)).unwrap();
    owner.opened().await;
    caller.driven.abort();
    assert_eq!(caller.closed().await, (link, CloseReason::Lost));
    assert_eq!(owner.closed().await, (link, CloseReason::Lost));
    assert!(matches!(owner.driven.await.unwrap(), Ending::Broken(_)));
    assert_eq!(caller.links.open(opening(Kind::Port)), Err(OpenError::Gone));
    assert_eq!(caller.links.send(link, Frame::End), Err(SendError::Gone));
    assert!(!caller.links.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_happens_stays() {
    let [mut caller, mut owner] = connect(narrow(), Limits::default()).await;
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    let link = caller.links.open(opening(Kind::Port)).unwrap();
    assert_eq!(owner.opened().await.0, link);
    owner.links.accept(link, ACCEPTED);
    assert!(matches!(caller.hear().await, Event::Accepted { .. }));
}
