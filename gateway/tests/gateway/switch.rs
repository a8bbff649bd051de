//! Another pod becomes the active one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use portside_crds::sidecar::State;
use portside_exchange::{Body, Response};
use tokio::sync::broadcast;

use crate::support::{Cluster, Pod, full, read, text, until, within};

/// How often each request ran, by its body.
type Runs = Arc<Mutex<HashMap<String, usize>>>;

async fn recorder(name: &str, runs: &Runs) -> Pod {
    let runs = runs.clone();
    Pod::start(name, move |request| {
        let runs = runs.clone();
        async move {
            let id = String::from_utf8(read(request.body).await.to_vec()).unwrap();
            *runs.lock().unwrap().entry(id.clone()).or_default() += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(text(id))
        }
    })
    .await
}

/// Moves the class from one pod to the other, as sidecars do: the next one takes over when nothing runs any more.
async fn hand_over(from: &Pod, to: &Pod, term: u64) {
    from.becomes(State::Draining, term - 1);
    until(|| from.running() == 0).await;
    to.becomes(State::Active, term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_request_runs_exactly_once() {
    let runs = Runs::default();
    let pods = [recorder("a", &runs).await, recorder("b", &runs).await];
    pods[0].becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pods[0], &pods[1]]).await;
    let stop = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    let load = cluster.post_until(&stop, &answered);
    let switching = async {
        for term in 2..12 {
            let before = answered.load(Ordering::SeqCst);
            until(|| answered.load(Ordering::SeqCst) > before + 50).await;
            let from = usize::from(term % 2 == 1);
            hand_over(&pods[from], &pods[1 - from], term).await;
        }
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(load, switching);
    let runs = runs.lock().unwrap();
    assert_eq!(runs.len(), answered.load(Ordering::SeqCst));
    assert!(runs.values().all(|times| *times == 1));
    assert_eq!(
        cluster.metric("portside_gateway_requests_total{status=\"5xx\"}"),
        0.0
    );
}

/// A pod whose responses go on until the test has said all, and echo nothing.
async fn broadcaster(name: &str) -> (Pod, broadcast::Sender<&'static str>) {
    let (sender, _) = broadcast::channel(16);
    let source = sender.clone();
    let pod = Pod::start(name, move |_| {
        let receiver = source.subscribe();
        async move {
            let events = futures::stream::unfold(receiver, |mut receiver| async {
                let event = receiver.recv().await.ok()?;
                Some((Ok(Bytes::from(event)), receiver))
            });
            Ok(Response {
                body: Body::Stream(Box::pin(events)),
                ..text("")
            })
        }
    })
    .await;
    (pod, sender)
}

#[tokio::test]
async fn what_a_drained_pod_began_goes_on() {
    let (old, events) = broadcaster("a").await;
    old.becomes(State::Active, 1);
    let new = Pod::named("b").await;
    let cluster = Cluster::of(&[&old, &new]).await;
    let request = cluster.request(Method::GET, "/").body(full("")).unwrap();
    let mut body = cluster.send(request).await.into_body();
    old.becomes(State::Draining, 1);
    let (reply, ()) = tokio::join!(cluster.get("/"), async {
        cluster.held(1).await;
        new.becomes(State::Active, 2);
    });
    assert_eq!(reply.text, "b");
    cluster.has(&[&new]);
    events.send("still here").unwrap();
    let frame = within(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "still here");
}

#[tokio::test]
async fn nothing_of_an_overtaken_pod_reaches_a_client() {
    let (old, events) = broadcaster("a").await;
    old.becomes(State::Active, 1);
    let new = Pod::named("b").await;
    let cluster = Cluster::of(&[&old, &new]).await;
    let request = cluster.request(Method::GET, "/").body(full("")).unwrap();
    let mut body = cluster.send(request).await.into_body();
    events.send("first").unwrap();
    within(body.frame()).await.unwrap().unwrap();
    // Paused, it still believes that it is the one.
    new.becomes(State::Active, 2);
    assert!(within(body.frame()).await.unwrap().is_err());
    assert_eq!(cluster.get("/").await.text, "b");
}

#[tokio::test]
async fn requests_that_wait_for_an_overtaken_pod_go_to_the_next_if_that_does_no_harm() {
    let old = Pod::start("a", |_| std::future::pending()).await;
    old.becomes(State::Active, 1);
    let new = Pod::named("b").await;
    let cluster = Cluster::of(&[&old, &new]).await;
    let (get, post, ()) = tokio::join!(cluster.get("/"), cluster.post("/", "once"), async {
        until(|| old.running() == 2).await;
        new.becomes(State::Active, 2);
    });
    assert_eq!((get.status, &*get.text), (200, "b"));
    assert_eq!((post.status, post.reason()), (502, "Lost"));
    until(|| old.running() == 0).await;
}

#[tokio::test]
async fn an_older_term_is_not_listened_to() {
    let old = Pod::active("a", 4).await;
    let mut new = Pod::active("b", 5).await;
    let cluster = Cluster::impatient(&[&old, &new]).await;
    within(async { while cluster.get("/").await.text != "b" {} }).await;
    new.kill();
    cluster.has(&[&old]);
    let reply = cluster.get("/").await;
    assert_eq!((reply.status, reply.reason()), (503, "Starting"));
    old.becomes(State::Active, 6);
    assert_eq!(cluster.get("/").await.text, "a");
}

/// The gateway has heard what a pod is now, for it has asked it since.
async fn heard(pod: &Pod, state: State, term: u64) {
    let before = pod.asked();
    pod.becomes(state, term);
    until(|| pod.asked() > before).await;
}

#[tokio::test]
async fn a_class_is_served_again_after_an_older_database_was_restored() {
    let (one, other) = (Pod::active("a", 7).await, Pod::named("b").await);
    let cluster = Cluster::of(&[&one, &other]).await;
    assert_eq!(cluster.get("/").await.text, "a");
    // Their rows are gone: both end, are started anew, and count on from the older state.
    for pod in [&one, &other] {
        heard(pod, State::Draining, 0).await;
    }
    for pod in [&one, &other] {
        heard(pod, State::Standby, 0).await;
    }
    let (reply, ()) = tokio::join!(cluster.get("/"), async {
        cluster.held(1).await;
        other.becomes(State::Active, 3);
    });
    assert_eq!((reply.status, &*reply.text), (200, "b"));
}

#[tokio::test]
async fn events_reach_the_client_at_once() {
    let (pod, events) = broadcaster("a").await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    let request = cluster.request(Method::GET, "/").body(full("")).unwrap();
    let mut body = cluster.send(request).await.into_body().into_data_stream();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        events.send(event).unwrap();
        assert_eq!(within(body.next()).await.unwrap().unwrap(), event);
    }
}

#[tokio::test]
async fn a_pod_that_let_go_is_not_cut_off_when_the_next_one_is_heard_first() {
    let go = Arc::new(tokio::sync::Notify::new());
    let going = go.clone();
    let old = Pod::start("a", move |_| {
        let going = going.clone();
        async move {
            going.notified().await;
            Ok(text("a"))
        }
    })
    .await;
    old.becomes(State::Active, 1);
    let new = Pod::named("b").await;
    let cluster = Cluster::of(&[&old, &new]).await;
    let (first, second, ()) = tokio::join!(
        cluster.post("/", "running"),
        async {
            until(|| old.running() == 1).await;
            old.is_silent(true);
            old.becomes(State::Draining, 1);
            new.becomes(State::Active, 2);
            cluster.post("/", "waiting").await
        },
        async {
            cluster.held(1).await;
            old.is_silent(false);
            cluster.held(0).await;
            go.notify_one();
        }
    );
    assert_eq!((first.status, &*first.text), (200, "a"));
    assert_eq!((second.status, &*second.text), (200, "b"));
}
