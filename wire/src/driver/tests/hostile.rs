//! Peers with the right key that do not keep the rules.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::connection::Violation;
use crate::record::{Hello, Record, put_record};

type Tls = TlsStream<DuplexStream>;

/// A victim, and the transport of a peer that has said hello and that somebody else speaks for.
async fn victim(limits: Limits) -> (End, Tls) {
    victim_over(duplex(64 << 10), limits).await
}

async fn victim_over((one, other): (DuplexStream, DuplexStream), limits: Limits) -> (End, Tls) {
    let [peer, own] = [Key::generate().unwrap(), Key::generate().unwrap()];
    let connector = peer.connector(own.fingerprint()).unwrap();
    let hostile = async {
        let mut stream = connector.connect(no_name(), one).await.unwrap();
        let mut hello = BytesMut::new();
        put_record(&Record::Hello(Hello::new(&limits)), &mut hello);
        stream.write_all(&hello).await.unwrap();
        stream.flush().await.unwrap();
        TlsStream::Client(stream)
    };
    let (stream, accepted) = tokio::join!(
        hostile,
        accept(other, &own, only(peer.fingerprint()), limits)
    );
    (End::drive(accepted.unwrap()), stream)
}

async fn says(stream: &mut Tls, record: &Record) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    put_record(record, &mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// The one link is lost, and the connection over.
async fn over(mut victim: End, link: LinkNumber) -> Ending {
    assert_eq!(victim.closed().await, (link, CloseReason::Lost));
    assert!(victim.heard.recv().await.is_none(), "it ends once");
    victim.driven.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn garbage() {
    let (victim, mut stream) = victim(Limits::default()).await;
    let link = victim.links.open(opening(Kind::Port)).unwrap();
    stream.write_all(&[0xee; 1000]).await.unwrap();
    stream.flush().await.unwrap();
    let ending = over(victim, link).await;
    assert!(
        matches!(ending, Ending::Violated(Violation::Malformed(_))),
        "{ending}"
    );
    let mut goodbye = Vec::new();
    stream.read_to_end(&mut goodbye).await.unwrap();
    assert!(
        String::from_utf8_lossy(&goodbye).contains("too long"),
        "it is told why"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_what_says_nothing() {
    let (victim, mut stream) = victim(Limits::default()).await;
    let link = victim.links.open(opening(Kind::Port)).unwrap();
    let mut pings = BytesMut::new();
    (0..10_000).for_each(|_| put_record(&Record::Ping, &mut pings));
    let _ = stream.write_all(&pings).await; // it may be cut off before the end
    let ending = over(victim, link).await;
    assert!(
        matches!(ending, Ending::Violated(Violation::Excess(_))),
        "{ending}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_there_any_more() {
    let (victim, _half_open) = victim(Limits::default()).await;
    let link = victim.links.open(opening(Kind::Port)).unwrap();
    let start = Instant::now();
    let ending = over(victim, link).await;
    assert!(matches!(ending, Ending::Silent(_)), "{ending}");
    let waited = start.elapsed();
    let bounds = Duration::from_secs(4)..Duration::from_secs(6);
    assert!(bounds.contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_speaks_but_does_not_listen() {
    let (victim, mut stream) = victim(Limits::default()).await;
    let link = victim.links.open(opening(Kind::Port)).unwrap();
    for _ in 0..10 {
        victim
            .links
            .send(link, message(vec![0; 1_000_000]))
            .unwrap();
    }
    let chatter = tokio::spawn(async move {
        while says(&mut stream, &Record::Ping).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let start = Instant::now();
    let ending = over(victim, link).await;
    assert!(matches!(ending, Ending::Stuck(_)), "{ending}");
    assert!(start.elapsed() < Duration::from_secs(7));
    chatter.await.unwrap();
}

/// What is owed to it is little, and fits into buffers on the way for long.
#[tokio::test(start_paused = true)]
async fn one_that_does_not_listen_to_little_either() {
    let (victim, mut stream) = victim_over(narrow(), Limits::default()).await;
    let link = victim.links.open(opening(Kind::Port)).unwrap();
    let chatter = tokio::spawn(async move {
        while says(&mut stream, &Record::Ping).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let start = Instant::now();
    let ending = over(victim, link).await;
    assert!(matches!(ending, Ending::Stuck(_)), "{ending}");
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(40), "{waited:?}");
    chatter.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_away_in_the_middle_of_a_frame() {
    let (victim, mut stream) = victim(Limits::default()).await;
    let link = victim.links.open(opening(Kind::Port)).unwrap();
    stream.write_all(&[0, 0, 1, 0, 2]).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    let ending = over(victim, link).await;
    assert!(matches!(ending, Ending::Broken(_)), "{ending}");
}

#[tokio::test(start_paused = true)]
async fn one_that_speaks_another_version() {
    let [peer, own] = [Key::generate().unwrap(), Key::generate().unwrap()];
    let (one, other) = duplex(64 << 10);
    let connector = peer.connector(own.fingerprint()).unwrap();
    let newer = async {
        let stream = connector.connect(no_name(), one).await.unwrap();
        let mut stream = TlsStream::Client(stream);
        let hello = Hello {
            lowest: 7,
            highest: 9,
            ..Hello::new(&Limits::default())
        };
        says(&mut stream, &Record::Hello(hello)).await.unwrap();
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.unwrap();
        told
    };
    let known = only(peer.fingerprint());
    let (told, accepted) = tokio::join!(newer, accept(other, &own, known, Limits::default()));
    let ended = accepted.err();
    assert!(matches!(
        ended,
        Some(ConnectError::Ended(Ending::Version {
            lowest: 7,
            highest: 9
        }))
    ));
    assert!(String::from_utf8_lossy(&told).contains("versions 7 to 9"));
}
