//! The counter, from outside.

use futures::future::join_all;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::App;

async fn read(app: &App, name: &str) -> Value {
    let reply = app.get(&format!("/counters/{name}")).await;
    assert_eq!(reply.status, 200);
    reply.json()["value"].clone()
}

async fn increment(app: &App, name: &str) -> u64 {
    let path = format!("/counters/{name}");
    let reply = app.request(Method::POST, &path, &[], "").await;
    assert_eq!(reply.status, 200);
    reply.json()["value"].as_u64().unwrap()
}

#[tokio::test]
async fn concurrent_increments_are_exact_and_outlive_a_crash() {
    let mut app = App::start("counter-ts").await;
    assert_eq!(read(&app, "visits").await, 0);

    let clients = (0..20).map(async |_| {
        let mut seen = vec![];
        for _ in 0..10 {
            seen.push(increment(&app, "visits").await);
        }
        assert!(seen.is_sorted(), "a client sees its counter grow: {seen:?}");
        seen
    });
    let mut seen = join_all(clients).await.concat();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=200), "each value once");

    app.kill().await;
    app.run().await;
    assert_eq!(read(&app, "visits").await, 200);
    assert_eq!(read(&app, "other").await, 0, "each name counts by itself");
}

#[tokio::test]
async fn an_amount_can_be_given() {
    let app = App::start("counter-ts").await;
    let path = "/counters/stock";
    assert_eq!(
        app.post(path, &json!({ "by": 12 })).await.json()["value"],
        12
    );
    assert_eq!(
        app.post(path, &json!({ "by": -5 })).await.json()["value"],
        7
    );
    let most = 9_007_199_254_740_991_i64;
    assert_eq!(app.post(path, &json!({ "by": most })).await.status, 409);
    assert_eq!(
        read(&app, "stock").await,
        7,
        "a refused amount changes nothing"
    );
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("counter-ts").await;
    for body in ["{", "{}", r#"{"by":1.5}"#, r#"{"by":"1"}"#, "null"] {
        let reply = app.request(Method::POST, "/counters/a", &[], body).await;
        assert_eq!(reply.status, 400, "{body}");
    }
    let put = app.request(Method::PUT, "/counters/a", &[], "").await;
    assert_eq!(put.status, 405);
    assert_eq!(put.header("allow"), "GET, POST");
    assert_eq!(app.get("/counters").await.status, 404);
}
