//! Long bodies in both directions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use portside_crds::sidecar::State;
use portside_exchange::{Body, Response};

use crate::support::{Cluster, Pod, Sent, full, read, text, until, within};

const CHUNK: usize = 64 << 10;
/// More than all buffers on the way hold.
const CHUNKS: usize = 1024;

fn chunk(n: usize) -> Bytes {
    vec![u8::try_from(n % 251).unwrap(); CHUNK].into()
}

/// All chunks, counting those that were taken.
fn counted(taken: &Arc<AtomicUsize>) -> impl futures::Stream<Item = Bytes> + Send + Sync + use<> {
    let taken = taken.clone();
    futures::stream::iter(0..CHUNKS).map(move |n| {
        taken.fetch_add(1, Ordering::SeqCst);
        chunk(n)
    })
}

fn upload(taken: &Arc<AtomicUsize>) -> Sent {
    let frames = counted(taken).map(|chunk| Ok(Frame::data(chunk)));
    BodyExt::boxed(StreamBody::new(frames))
}

fn response(stream: impl futures::Stream<Item = Bytes> + Send + 'static) -> Response {
    Response {
        body: Body::Stream(Box::pin(stream.map(Ok))),
        ..text("")
    }
}

fn assert_whole(body: &[u8]) {
    assert_eq!(body.len(), CHUNK * CHUNKS);
    for (n, found) in body.chunks(CHUNK).enumerate() {
        assert!(found == chunk(n), "chunk {n} differs");
    }
}

/// Waits until a count stays where it is.
async fn settled(count: &AtomicUsize) -> usize {
    let mut last = usize::MAX;
    loop {
        let now = count.load(Ordering::SeqCst);
        if now == last {
            return now;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn long_bodies_pass_whole_both_ways() {
    let pod = Pod::start("a", |request| async {
        let Body::Stream(stream) = request.body else {
            panic!("not streamed")
        };
        let stream = stream.map(Result::unwrap);
        Ok(response(stream))
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    let request = cluster
        .request(Method::POST, "/")
        .body(upload(&Arc::default()));
    let body = cluster.send(request.unwrap()).await.into_body();
    assert_whole(&within(body.collect()).await.unwrap().to_bytes());
}

#[tokio::test]
async fn a_known_length_is_passed_on() {
    let pod = Pod::start("a", |request| async move {
        let length = request.headers["content-length"].clone();
        let mut response = text(read(request.body).await);
        response.headers.insert("x-length", length);
        Ok(response)
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    for length in [5, 100_000] {
        let reply = cluster.post("/", "x".repeat(length)).await;
        assert_eq!(reply.headers["x-length"], length.to_string());
        assert_eq!(reply.headers["content-length"], length.to_string());
        assert_eq!(reply.text.len(), length);
    }
    let request = cluster
        .request(Method::HEAD, "/")
        .header("content-length", 0);
    let reply = cluster.ask(request.body(full("")).unwrap()).await;
    assert_eq!((reply.status, reply.text.len()), (200, 0));
    assert_eq!(
        cluster.metric("portside_gateway_upstream_connections"),
        2.0,
        "one for requests, one for questions"
    );
}

#[tokio::test]
async fn a_slow_client_slows_the_pod_down() {
    let taken = Arc::new(AtomicUsize::new(0));
    let given = taken.clone();
    let pod = Pod::start("a", move |_| {
        let given = given.clone();
        async move { Ok(response(counted(&given))) }
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    let request = cluster.request(Method::GET, "/").body(full("")).unwrap();
    let body = cluster.send(request).await.into_body();
    let before = settled(&taken).await;
    assert!(before < CHUNKS / 2, "{before} chunks are on the way");
    assert_whole(&within(body.collect()).await.unwrap().to_bytes());
}

#[tokio::test]
async fn a_slow_pod_slows_the_client_down() {
    let go = Arc::new(tokio::sync::Notify::new());
    let going = go.clone();
    let pod = Pod::start("a", move |request| {
        let going = going.clone();
        async move {
            going.notified().await;
            Ok(text(read(request.body).await.len().to_string()))
        }
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let request = cluster.request(Method::POST, "/").body(upload(&taken));
    let (reply, ()) = tokio::join!(cluster.ask(request.unwrap()), async {
        until(|| pod.running() == 1).await;
        let before = settled(&taken).await;
        assert!(before < CHUNKS / 2, "{before} chunks are on the way");
        go.notify_one();
    });
    assert_eq!(reply.text, (CHUNK * CHUNKS).to_string());
}

#[tokio::test]
async fn a_client_that_goes_away_ends_what_it_asked_for() {
    struct Ended(Arc<AtomicBool>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    let pod = Pod::start("a", move |request| {
        let ended = Ended(flag.clone());
        async move {
            if request.url.ends_with("/wait") {
                let _ended = ended;
                return std::future::pending().await;
            }
            let stream = futures::stream::iter([Bytes::from("begun")]);
            let stream = stream.chain(futures::stream::pending().map(move |()| {
                let _ended = &ended;
                Bytes::new()
            }));
            Ok(response(stream))
        }
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    tokio::select! {
        _ = cluster.get("/wait") => panic!("it does not answer"),
        () = until(|| pod.running() == 1) => {}
    }
    until(|| ended.swap(false, Ordering::SeqCst)).await;

    let request = cluster
        .request(Method::GET, "/stream")
        .body(full(""))
        .unwrap();
    let mut body = cluster.send(request).await.into_body();
    within(body.frame()).await.unwrap().unwrap();
    assert!(!ended.load(Ordering::SeqCst));
    drop(body);
    until(|| ended.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_fault() {
    let pod = Pod::start("a", |request| async {
        let Body::Stream(mut stream) = request.body else {
            panic!("not streamed")
        };
        while let Some(Ok(_)) = stream.next().await {}
        Ok(text(""))
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    let mut stream = tokio::net::TcpStream::connect(cluster.address)
        .await
        .unwrap();
    let head =
        "POST / HTTP/1.1\r\nhost: chat.test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes())
        .await
        .unwrap();
    until(|| pod.running() == 1).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"nonsense\r\n")
        .await
        .unwrap();
    let mut reply = Vec::new();
    within(tokio::io::AsyncReadExt::read_to_end(
        &mut stream,
        &mut reply,
    ))
    .await
    .unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 400 "));
    until(|| pod.running() == 0).await;
    assert_eq!(
        cluster.metric("portside_gateway_requests_total{status=\"5xx\"}"),
        0.0
    );
}
