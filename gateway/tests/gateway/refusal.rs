//! Answers of the gateway's own.

use http::Method;
use portside_crds::sidecar::State;
use portside_frontdoor::TrustedProxies;
use portside_gateway::Stopped;

use crate::support::{Cluster, PATIENCE, Pod, full, within};

#[tokio::test]
async fn what_nobody_has_a_route_for_is_not_found() {
    let pod = Pod::active("a", 1).await;
    let cluster = Cluster::of(&[&pod]).await;
    let mut request = cluster.request(Method::GET, "/").body(full("")).unwrap();
    request
        .headers_mut()
        .insert("host", "other.test".parse().unwrap());
    let reply = cluster.ask(request).await;
    assert_eq!((reply.status, reply.reason()), (404, "NoRoute"));
    assert_eq!(reply.text, "no class has a route for this host and path\n");
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    assert!(!reply.headers["x-request-id"].is_empty());
    assert_eq!(cluster.get("/").await.text, "a");
}

#[tokio::test]
async fn a_gateway_that_knows_nothing_yet_says_so() {
    let cluster = Cluster::empty(PATIENCE, TrustedProxies::None).await;
    let reply = cluster.get("/").await;
    assert_eq!((reply.status, reply.reason()), (503, "Starting"));
}

#[tokio::test]
async fn a_class_that_is_to_have_no_pods_answers_at_once() {
    for (stopped, reason) in [
        (Stopped::Suspended, "Suspended"),
        (Stopped::ScaledToZero, "ScaledToZero"),
    ] {
        let pod = Pod::named("a").await;
        let cluster = Cluster::of(&[&pod]).await;
        let (waiting, ()) = tokio::join!(cluster.get("/"), async {
            cluster.held(1).await;
            *cluster.stopped.lock().unwrap() = Some(stopped);
            cluster.has(&[&pod]);
        });
        for reply in [waiting, cluster.get("/").await] {
            assert_eq!((reply.status, reply.reason()), (503, reason));
            assert!(reply.headers.contains_key("retry-after"));
        }
        *cluster.stopped.lock().unwrap() = None;
        pod.becomes(State::Active, 1);
        cluster.has(&[&pod]);
        assert_eq!(cluster.get("/").await.status, 200);
    }
}

/// What the front door does not let through counts, and once.
#[tokio::test]
async fn what_is_no_request_for_a_pod_is_counted() {
    let pod = Pod::active("a", 1).await;
    let cluster = Cluster::of(&[&pod]).await;
    let counted = |status: &str| {
        let line = format!("portside_gateway_requests_total{{status=\"{status}\"}}");
        cluster.metric(&line)
    };
    let trace = cluster.request(Method::TRACE, "/").body(full("")).unwrap();
    assert_eq!(cluster.ask(trace).await.status, 405);
    let long = cluster.get(&format!("/{}", "x".repeat(20 << 10))).await;
    assert_eq!(long.status, 414);
    assert_eq!((counted("4xx"), counted("2xx")), (2.0, 0.0));
    assert_eq!(cluster.get("/").await.status, 200);
    within(async {
        while counted("2xx") < 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(counted("4xx"), 2.0);
}
