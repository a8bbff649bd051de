//! Requests that wait for a pod.

use futures::future::join_all;
use portside_crds::sidecar::State;

use crate::support::{Cluster, Pod, read, text, until};

#[tokio::test]
async fn requests_wait_until_a_pod_is_active() {
    let pod = Pod::start("a", |request| async { Ok(text(read(request.body).await)) }).await;
    let cluster = Cluster::of(&[&pod]).await;
    let requests = join_all((0..20).map(|n| cluster.post("/", format!("{n}"))));
    let (replies, ()) = tokio::join!(requests, async {
        cluster.held(20).await;
        pod.becomes(State::Active, 1);
    });
    for (n, reply) in replies.into_iter().enumerate() {
        assert_eq!((reply.status, reply.text), (200, n.to_string()));
    }
    cluster.held(0).await;
    assert_eq!(pod.refused(), 0);
    assert_eq!(
        cluster.metric("portside_gateway_cold_start_seconds_count"),
        20.0
    );
}

#[tokio::test]
async fn requests_wait_for_the_first_pod_to_come() {
    let cluster = Cluster::of(&[]).await;
    let pod = Pod::active("a", 1).await;
    let (reply, ()) = tokio::join!(cluster.get("/"), async {
        cluster.held(1).await;
        cluster.has(&[&pod]);
    });
    assert_eq!(reply.text, "a");
}

#[tokio::test]
async fn waiting_ends() {
    let pod = Pod::named("a").await;
    let cluster = Cluster::impatient(&[&pod]).await;
    let reply = cluster.get("/").await;
    assert_eq!((reply.status, reply.reason()), (503, "Starting"));
    assert!(reply.headers.contains_key("retry-after"));
    cluster.held(0).await;
}

#[tokio::test]
async fn waiting_ends_with_the_gateway() {
    let pod = Pod::named("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    let (reply, ()) = tokio::join!(cluster.get("/"), async {
        cluster.held(1).await;
        cluster.shut_down();
        cluster.gateway.stop_holding();
    });
    assert_eq!((reply.status, reply.reason()), (503, "Starting"));
}

#[tokio::test]
async fn clients_that_go_away_do_not_wait() {
    let pod = Pod::named("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    tokio::select! {
        _ = cluster.get("/") => panic!("there is no pod"),
        () = cluster.held(1) => {}
    }
    cluster.held(0).await;
    pod.becomes(State::Active, 1);
    assert_eq!(cluster.get("/").await.text, "a");
}

#[tokio::test]
async fn a_class_that_is_gone_is_not_waited_for() {
    let pod = Pod::named("a").await;
    let cluster = Cluster::of(&[&pod]).await;
    let (reply, ()) = tokio::join!(cluster.get("/"), async {
        cluster.held(1).await;
        cluster.gateway.apply(Default::default());
    });
    assert_eq!((reply.status, reply.reason()), (404, "NoRoute"));
}

#[tokio::test]
async fn a_pod_that_cannot_be_asked_takes_nothing() {
    let mut pod = Pod::active("a", 1).await;
    let next = Pod::named("b").await;
    let cluster = Cluster::of(&[&pod, &next]).await;
    assert_eq!(cluster.get("/").await.text, "a");
    pod.kill();
    let (reply, ()) = tokio::join!(cluster.get("/"), async {
        cluster.held(1).await;
        next.becomes(State::Active, 2);
    });
    assert_eq!(reply.text, "b");
}

#[tokio::test]
async fn an_address_that_another_pod_took_over_is_not_believed() {
    let pod = Pod::active("a", 1).await;
    let mut stale = Pod::active("b", 9).await;
    let real = stale.endpoint.clone();
    stale.endpoint.pod = "c".into();
    let cluster = Cluster::of(&[&pod, &stale]).await;
    until(|| stale.asked() > 2).await;
    assert_eq!(cluster.get("/").await.text, "a");
    pod.becomes(State::Draining, 1);
    let (reply, ()) = tokio::join!(cluster.get("/"), async {
        cluster.held(1).await;
        stale.endpoint = real;
        cluster.has(&[&pod, &stale]);
    });
    assert_eq!(reply.text, "b", "by its own name it is");
}
