//! Attempts that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use portside_crds::sidecar::State;
use portside_gateway::MAX_KEPT;
use tokio::sync::{Notify, mpsc};

use crate::support::{Cluster, Pod, Sent, nowhere, read, respond, text, until, within};

/// A body whose chunks a test sends.
fn streamed() -> (mpsc::UnboundedSender<Bytes>, Sent) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let stream = futures::stream::poll_fn(move |cx| {
        let chunk: std::task::Poll<Option<Bytes>> = receiver.poll_recv(cx);
        chunk.map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    });
    (sender, StreamBody::new(stream).boxed())
}

/// A pod that counts the bytes of each body and answers with their number.
async fn counter(name: &str) -> (Pod, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let pod = Pod::start(name, move |request| {
        let runs = counted.clone();
        async move {
            runs.fetch_add(1, Ordering::SeqCst);
            let body = read(request.body).await;
            Ok(text(body.len().to_string()))
        }
    })
    .await;
    (pod, runs)
}

#[tokio::test]
async fn a_request_that_a_pod_refuses_is_sent_again_with_its_body() {
    let (pod, runs) = counter("a").await;
    pod.becomes(State::Active, 1);
    pod.refuses(true);
    let cluster = Cluster::of(&[&pod]).await;
    let (sender, body) = streamed();
    let request = cluster.request(Method::POST, "/").body(body).unwrap();
    sender.send(vec![1; MAX_KEPT / 2].into()).unwrap();
    let (reply, ()) = tokio::join!(cluster.ask(request), async {
        until(|| pod.refused() > 2).await;
        pod.refuses(false);
        until(|| pod.running() == 1).await;
        sender.send(vec![2; MAX_KEPT].into()).unwrap();
        drop(sender);
    });
    assert_eq!(
        (reply.status, reply.text),
        (200, (3 * MAX_KEPT / 2).to_string())
    );
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!(cluster.metric("portside_gateway_retries_total{cause=\"misdirected\"}") > 2.0);
}

#[tokio::test]
async fn a_refused_body_that_is_too_long_to_keep_is_the_clients_to_repeat() {
    // Reads before it refuses, so that more than is kept has been sent.
    let pod = Pod::start("a", |request| async {
        assert!(read(request.body).await.len() > MAX_KEPT);
        let mut response = respond(421, "");
        response
            .headers
            .insert("portside-state", "standby".parse().unwrap());
        Ok(response)
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    let reply = cluster.post("/", vec![0; MAX_KEPT + 1]).await;
    assert_eq!((reply.status, reply.reason()), (503, "Starting"));
    assert!(reply.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_pod_that_refuses_for_good_is_given_up_in_time() {
    let pod = Pod::active("a", 1).await;
    pod.refuses(true);
    let cluster = Cluster::impatient(&[&pod]).await;
    let reply = cluster.get("/").await;
    assert_eq!((reply.status, reply.reason()), (503, "Starting"));
    assert!(pod.refused() < 50, "it pauses: {}", pod.refused());
}

#[tokio::test]
async fn an_applications_own_421_is_passed_on() {
    let pod = Pod::start("a", |_| async { Ok(respond(421, "own")) }).await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    let reply = cluster.get("/").await;
    assert_eq!((reply.status, &*reply.text), (421, "own"));
}

#[tokio::test]
async fn a_pod_that_cannot_be_reached_is_a_bad_gateway() {
    let mut pod = Pod::active("a", 1).await;
    pod.endpoint.http = nowhere().await;
    let cluster = Cluster::impatient(&[&pod]).await;
    let reply = cluster.post("/", "body").await;
    assert_eq!((reply.status, reply.reason()), (502, "Unreachable"));
    assert!(cluster.metric("portside_gateway_retries_total{cause=\"unsent\"}") > 1.0);
}

/// What becomes of a request whose pod is killed while it runs, and another one takes over.
async fn killed_while_running(method: Method, warm: bool) -> (u16, String) {
    let hang = |request: portside_exchange::Request| async move {
        if request.url.ends_with("/hang") {
            Notify::new().notified().await;
        }
        Ok(text("a"))
    };
    let mut pod = Pod::start("a", hang).await;
    pod.becomes(State::Active, 1);
    let next = Pod::named("b").await;
    let cluster = Cluster::of(&[&pod, &next]).await;
    if warm {
        assert_eq!(cluster.get("/").await.text, "a");
    }
    let request = cluster.request(method, "/hang");
    let asked = cluster.ask(request.body(crate::support::full("body")).unwrap());
    let (reply, ()) = tokio::join!(asked, async {
        until(|| pod.running() == 1).await;
        pod.kill();
        next.becomes(State::Active, 2);
    });
    let reason = reply.reason().to_owned();
    (
        reply.status,
        if reason.is_empty() {
            reply.text
        } else {
            reason
        },
    )
}

#[tokio::test]
async fn what_may_have_run_is_repeated_only_if_that_does_no_harm() {
    assert_eq!(
        killed_while_running(Method::PUT, true).await,
        (200, "b".into())
    );
    assert_eq!(
        killed_while_running(Method::POST, true).await,
        (502, "Lost".into())
    );
    assert_eq!(
        killed_while_running(Method::PUT, false).await,
        (502, "Lost".into())
    );
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_repeated() {
    let mut pod = Pod::start("a", |_| async {
        let stream = futures::stream::once(async { Ok(Bytes::from("begun")) });
        let stream = futures::StreamExt::chain(stream, futures::stream::pending());
        Ok(portside_exchange::Response {
            body: portside_exchange::Body::Stream(Box::pin(stream)),
            ..text("")
        })
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    let request = cluster
        .request(Method::GET, "/")
        .body(crate::support::full(""));
    let mut body = cluster.send(request.unwrap()).await.into_body();
    let first = within(body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "begun");
    pod.kill();
    assert!(within(body.frame()).await.unwrap().is_err());
    assert_eq!(
        cluster.metric("portside_gateway_retries_total{cause=\"broken\"}"),
        0.0
    );
}

#[tokio::test]
async fn a_pod_that_does_not_answer_is_a_timeout() {
    let pod = Pod::start("a", |_| std::future::pending()).await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::timed(&[&pod], Duration::from_millis(300)).await;
    let reply = cluster.get("/").await;
    assert_eq!((reply.status, reply.reason()), (504, "TimedOut"));
    until(|| pod.running() == 0).await;
}

#[tokio::test]
async fn a_slow_upload_is_not_the_pods_fault() {
    let (pod, _) = counter("a").await;
    pod.becomes(State::Active, 1);
    let limit = Duration::from_secs(2);
    let cluster = Cluster::timed(&[&pod], limit).await;
    let (sender, body) = streamed();
    let request = cluster.request(Method::POST, "/").body(body).unwrap();
    let (reply, ()) = tokio::join!(cluster.ask(request), async {
        let began = Instant::now();
        while began.elapsed() < limit + limit / 2 {
            tokio::time::sleep(limit / 10).await;
            sender.send("x".into()).unwrap();
        }
        drop(sender);
    });
    assert_eq!(reply.status, 200);
}
