//! Counters as Durable Objects, old and new style, from outside.

use futures::future::join_all;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{App, Failed, Site, eventually, kill_under_load};

const VISITS: &str = "/counters/visits";
const RESET: &str = "/counters/visits/reset";

/// Increments where `path` says, and gives the answer's `field`.
async fn increment(site: &Site, path: &str, field: &str) -> Result<u64, Failed> {
    let reply = site.try_request(Method::POST, path, &[], "").await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Ok(reply.json()[field].as_u64().unwrap())
}

/// Ten clients count until the server crashes; what they were told is no lie afterwards.
async fn a_crash_loses_nothing(mut app: App, path: &str, field: &str, read: &str) {
    let site = Site::at(&app.address());
    let clients = (0..10).map(|_| async || increment(&site, path, field).await);
    let mut seen = kill_under_load(&mut app, 200, clients).await;
    seen.sort_unstable();
    assert!(
        seen.windows(2).all(|pair| pair[0] < pair[1]),
        "each value once"
    );

    app.run().await;
    let stored = app.get(read).await.json()[field].as_u64().unwrap();
    let told = seen.last().copied().unwrap();
    // Each client had one request more on its way, which may have been counted.
    assert!(
        (told..=told + 10).contains(&stored),
        "told {told}, stored {stored}"
    );
    assert_eq!(increment(&site, path, field).await.unwrap(), stored + 1);
}

// === the old style ===

#[tokio::test]
async fn a_class_from_before_migrations_counts() {
    let mut app = App::start("counters/legacy").await;
    app.wrote("no migration creates class CounterObject").await;
    let site = Site::at(&app.address());
    let mut seen =
        join_all((0..50).map(async |_| increment(&site, "/+", "counter").await.unwrap())).await;
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=50), "each value once");
    let less = app.request(Method::POST, "/-", &[], "").await;
    assert_eq!(less.json(), json!({ "counter": 49 }));
    app.stop().await;
    app.run().await;
    assert_eq!(app.get("/").await.json(), json!({ "counter": 49 }));

    assert_eq!(app.get("/+").await.status, 405);
    assert_eq!(app.get("/other").await.status, 404);
}

#[tokio::test]
async fn a_crash_loses_nothing_of_the_old_style() {
    let app = App::start("counters/legacy").await;
    a_crash_loses_nothing(app, "/+", "counter", "/").await;
}

// === the new style ===

#[tokio::test]
async fn a_crash_loses_nothing_of_the_new_style() {
    let app = App::start("counters/modern").await;
    a_crash_loses_nothing(app, VISITS, "value", VISITS).await;
}

#[tokio::test]
async fn each_name_counts_by_itself() {
    let app = App::start("counters/modern").await;
    assert_eq!(
        app.post(VISITS, &json!({ "by": 12 })).await.json()["value"],
        12
    );
    assert_eq!(
        app.post(VISITS, &json!({ "by": -5 })).await.json()["value"],
        7
    );
    let most = 9_007_199_254_740_991_i64;
    assert_eq!(app.post(VISITS, &json!({ "by": most })).await.status, 409);
    let fresh = |value: i64| json!({ "value": value, "resetAt": null, "periods": [] });
    assert_eq!(
        app.get(VISITS).await.json(),
        fresh(7),
        "a refused amount changes nothing"
    );
    assert_eq!(app.get("/counters/other").await.json(), fresh(0));
}

/// Asks for a reset some seconds ahead.
async fn reset_in(app: &App, seconds: f64) {
    let body = json!({ "in": seconds }).to_string();
    let reply = app.request(Method::PUT, RESET, &[], &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// The counter, once it has been reset `times` times.
async fn after_resets(app: &App, times: usize) -> Value {
    eventually("a reset", async || {
        let counter = app.get(VISITS).await.json();
        (counter["periods"].as_array().unwrap().len() == times).then_some(counter)
    })
    .await
}

#[tokio::test]
async fn an_alarm_resets_even_if_the_server_was_down_when_it_was_due() {
    let mut app = App::start("counters/modern").await;
    app.post(VISITS, &json!({ "by": 5 })).await;
    reset_in(&app, 0.5).await;
    let counter = after_resets(&app, 1).await;
    assert_eq!(
        (&counter["value"], &counter["resetAt"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(counter["periods"][0]["value"], 5);

    app.post(VISITS, &json!({ "by": 8 })).await;
    reset_in(&app, 3.0).await;
    app.kill().await;
    app.run().await;
    // The alarm alone wakes the object: nothing is asked until it has come.
    app.wrote("reset visits at 8").await;
    let counter = after_resets(&app, 2).await;
    assert_eq!(counter["value"], 0);
    assert_eq!(counter["periods"][1]["value"], 8);
}

#[tokio::test]
async fn a_reset_that_is_taken_back_does_not_come() {
    let app = App::start("counters/modern").await;
    app.post(VISITS, &json!({ "by": 5 })).await;
    reset_in(&app, 3.0).await;
    assert_eq!(
        app.request(Method::DELETE, RESET, &[], "").await.status,
        204
    );
    // Another counter's reset, which is due later, has come: so this one's would have.
    let other = "/counters/other/reset";
    app.request(Method::PUT, other, &[], r#"{"in":3}"#).await;
    app.wrote("reset other at 0").await;
    let counter = app.get(VISITS).await.json();
    assert_eq!(
        counter,
        json!({ "value": 5, "resetAt": null, "periods": [] })
    );
}

#[tokio::test]
async fn the_last_ten_periods_are_kept() {
    let app = App::start("counters/modern").await;
    for n in 1..=12 {
        app.post(VISITS, &json!({ "by": n })).await;
        reset_in(&app, 0.0).await;
        eventually("the reset", async || {
            (app.get(VISITS).await.json()["value"] == 0).then_some(())
        })
        .await;
    }
    let periods = app.get(VISITS).await.json()["periods"].take();
    let values = periods
        .as_array()
        .unwrap()
        .iter()
        .map(|period| period["value"].as_u64().unwrap());
    assert!(values.eq(3..=12), "{periods}");
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("counters/modern").await;
    for body in ["{", "{}", r#"{"by":1.5}"#, r#"{"by":"1"}"#, "null"] {
        let reply = app.request(Method::POST, VISITS, &[], body).await;
        assert_eq!(reply.status, 400, "{body}");
    }
    for body in ["", "{}", r#"{"in":-1}"#, r#"{"in":"1"}"#, r#"{"in":1e9}"#] {
        let reply = app.request(Method::PUT, RESET, &[], body).await;
        assert_eq!(reply.status, 400, "{body}");
    }
    let put = app.request(Method::PUT, VISITS, &[], "").await;
    assert_eq!((put.status, put.header("allow")), (405, "GET, POST"));
    let get = app.get(RESET).await;
    assert_eq!((get.status, get.header("allow")), (405, "PUT, DELETE"));
    assert_eq!(app.get("/counters").await.status, 404);
}
