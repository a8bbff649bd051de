//! The rate limiter, from outside.

use futures::future::join_all;
use hyper::Method;

use crate::harness::{App, Reply};

async fn hit(app: &App, key: &str) -> Reply {
    app.request(Method::GET, "/", &[("x-api-key", key)], "")
        .await
}

#[tokio::test]
async fn ten_pass_and_the_eleventh_does_not() {
    let app = App::start("rate-limiter").await;
    for used in 1..=10 {
        let reply = hit(&app, "ada").await;
        assert_eq!(reply.status, 200, "hit {used}");
        assert_eq!(reply.json()["remaining"], 10 - used);
        assert_eq!(reply.header("ratelimit-limit"), "10");
        assert_eq!(reply.header("ratelimit-remaining"), (10 - used).to_string());
    }
    let refused = hit(&app, "ada").await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "retry after {wait} s");

    let other = hit(&app, "grace").await;
    assert_eq!(other.status, 200, "each key has a budget of its own");
}

#[tokio::test]
async fn concurrent_hits_are_counted_exactly() {
    let app = App::start("rate-limiter").await;
    let replies = join_all((0..30).map(|_| hit(&app, "ada"))).await;
    let with = |status| {
        replies
            .iter()
            .filter(|reply| reply.status == status)
            .count()
    };
    assert_eq!((with(200), with(429)), (10, 20));
}

#[tokio::test]
async fn a_crash_forgets_no_allowed_hit() {
    let mut app = App::start("rate-limiter").await;
    for remaining in (0..10).rev() {
        let reply = hit(&app, "ada").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["remaining"], remaining);
        if remaining % 4 == 0 {
            app.kill().await;
            app.run().await;
        }
    }
    assert_eq!(hit(&app, "ada").await.status, 429);
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("rate-limiter").await;
    let anonymous = app.get("/").await;
    assert_eq!(anonymous.status, 401);
    assert_eq!(anonymous.header("www-authenticate"), "ApiKey");
    let posted = app
        .request(Method::POST, "/", &[("x-api-key", "ada")], "")
        .await;
    assert_eq!(posted.status, 405);
    assert_eq!(posted.header("allow"), "GET");
}
