//! The admin port over real connections.

#![allow(clippy::unwrap_used)] // These are tests.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use portside_admin::{Admin, Readiness, count_panics, listen_address};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

async fn started(readiness: &Readiness) -> SocketAddr {
    let mut registry = Registry::with_prefix("portside_test");
    let counter = Counter::<u64>::default();
    counter.inc_by(3);
    registry.register("things", "Things", counter);
    count_panics(&mut registry);
    let any_port = listen_address("[::]:0").unwrap();
    let admin = Admin::bind(any_port, readiness.clone(), registry).await;
    let admin = admin
        .unwrap()
        .with(Router::new().route("/own", get(async || "mine")));
    let address = admin.local_addr().unwrap();
    tokio::spawn(admin.run());
    SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
}

async fn text(address: SocketAddr, path: &str) -> (u16, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let url = format!("http://{address}{path}").parse().unwrap();
    let response = client.get(url).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn readiness_names_what_is_missing_and_liveness_does_not_care() {
    let readiness = Readiness::waiting_for(["the watches", "the code"]);
    let address = started(&readiness).await;
    let waiting = "waiting for the code\nwaiting for the watches\n";
    assert_eq!(text(address, "/readyz").await, (503, waiting.to_owned()));
    assert_eq!(text(address, "/livez").await.0, 200);
    readiness.done("the code");
    readiness.done("the watches");
    assert_eq!(text(address, "/readyz").await, (200, "ok\n".to_owned()));
    readiness.wait_for("the end");
    assert_eq!(text(address, "/readyz").await.0, 503);
}

#[tokio::test]
async fn a_port_that_is_opened_early_answers_probes_first_and_the_rest_later() {
    let readiness = Readiness::waiting_for(["the database"]);
    let any_port = listen_address("[::]:0").unwrap();
    let early = Admin::bind_early(any_port, readiness.clone()).await;
    let (admin, later) = early.unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, admin.local_addr().unwrap().port()));
    tokio::spawn(admin.run());
    assert_eq!(text(address, "/livez").await.0, 200);
    let waiting = "waiting for the database\n".to_owned();
    assert_eq!(text(address, "/readyz").await, (503, waiting));
    for path in ["/metrics", "/own"] {
        let (status, said) = text(address, path).await;
        assert_eq!(status, 503);
        assert!(said.contains("/readyz"), "{said}");
    }
    let mut registry = Registry::default();
    registry.register("things", "Things", Counter::<u64>::default());
    later.is(registry, Router::new().route("/own", get(async || "mine")));
    readiness.done("the database");
    assert_eq!(text(address, "/readyz").await.0, 200);
    assert_eq!(text(address, "/own").await, (200, "mine".to_owned()));
    assert!(text(address, "/metrics").await.1.contains("things_total 0"));
    assert_eq!(text(address, "/other").await.0, 404);
}

#[tokio::test]
async fn clients_of_both_families_are_answered() {
    let address = started(&Readiness::default()).await;
    assert_eq!(text(address, "/livez").await.0, 200);
    // Not every machine has IPv6.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
        assert_eq!(text(address, "/livez").await.0, 200);
    }
}

#[tokio::test]
async fn metrics_and_own_routes_are_served() {
    let address = started(&Readiness::default()).await;
    let (status, metrics) = text(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        metrics.contains("portside_test_things_total 3"),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    assert_eq!(text(address, "/own").await, (200, "mine".to_owned()));
}

#[tokio::test]
async fn panics_are_counted() {
    let address = started(&Readiness::default()).await;
    let counted = async || {
        let (_, metrics) = text(address, "/metrics").await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("portside_test_panics_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = counted().await;
    let task = tokio::spawn(async { panic!("as the test wants") });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(counted().await, before + 1);
}
