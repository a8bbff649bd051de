//! The Redis-like server, from outside.

use futures::future::join_all;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::App;

/// The result of a command on database 0.
async fn run<const N: usize>(app: &App, command: [&str; N]) -> Value {
    let reply = app.post("/", &json!(command.as_slice())).await;
    assert_eq!(reply.status, 200, "{command:?}: {}", reply.text());
    reply.json()["result"].clone()
}

#[tokio::test]
async fn commands_do_what_they_say() {
    let app = App::start("redis-like").await;
    assert_eq!(run(&app, ["PING"]).await, "PONG");
    assert_eq!(run(&app, ["GET", "greeting"]).await, Value::Null);
    assert_eq!(run(&app, ["SET", "greeting", "hello"]).await, "OK");
    assert_eq!(run(&app, ["get", "greeting"]).await, "hello");
    assert_eq!(
        run(&app, ["SET", "greeting", "bye", "NX"]).await,
        Value::Null
    );
    assert_eq!(run(&app, ["GET", "greeting"]).await, "hello");
    assert_eq!(run(&app, ["SET", "", "empty"]).await, "OK");
    assert_eq!(run(&app, ["GET", ""]).await, "empty");

    assert_eq!(run(&app, ["INCR", "visits"]).await, 1);
    assert_eq!(run(&app, ["INCRBY", "visits", "41"]).await, 42);
    assert_eq!(run(&app, ["DECR", "visits"]).await, 41);
    assert_eq!(run(&app, ["GET", "visits"]).await, "41");

    assert_eq!(run(&app, ["EXISTS", "greeting", "visits", "none"]).await, 2);
    assert_eq!(run(&app, ["DEL", "greeting", "none"]).await, 1);
    assert_eq!(run(&app, ["DEL", "greeting"]).await, 0);
    assert_eq!(run(&app, ["EXISTS", "greeting"]).await, 0);
}

#[tokio::test]
async fn keys_are_found_by_pattern() {
    let app = App::start("redis-like").await;
    for key in ["user:1", "user:2", "user:10", "used", "post:1", "a.c"] {
        run(&app, ["SET", key, "x"]).await;
    }
    assert_eq!(
        run(&app, ["KEYS", "user:?"]).await,
        json!(["user:1", "user:2"])
    );
    assert_eq!(
        run(&app, ["KEYS", "us*"]).await,
        json!(["used", "user:1", "user:10", "user:2"])
    );
    assert_eq!(
        run(&app, ["KEYS", "*:1*"]).await,
        json!(["post:1", "user:1", "user:10"])
    );
    assert_eq!(run(&app, ["KEYS", "a.?"]).await, json!(["a.c"]));
    assert_eq!(
        run(&app, ["KEYS", "abc"]).await,
        json!([]),
        "a dot is a dot"
    );
    assert_eq!(run(&app, ["FLUSHALL"]).await, "OK");
    assert_eq!(run(&app, ["KEYS", "*"]).await, json!([]));
}

#[tokio::test]
async fn concurrent_increments_are_exact() {
    let app = App::start("redis-like").await;
    let results = join_all((0..40).map(|_| run(&app, ["INCR", "n"]))).await;
    let mut numbers: Vec<_> = results.iter().map(|n| n.as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=40), "each number once");
}

#[tokio::test]
async fn answered_writes_survive_a_crash_and_a_stop() {
    let mut app = App::start("redis-like").await;
    run(&app, ["SET", "kept", "yes"]).await;
    run(&app, ["SET", "dropped", "no"]).await;
    run(&app, ["DEL", "dropped"]).await;
    run(&app, ["INCR", "n"]).await;
    app.kill().await;
    app.run().await;
    assert_eq!(run(&app, ["GET", "kept"]).await, "yes");
    assert_eq!(run(&app, ["GET", "dropped"]).await, Value::Null);
    assert_eq!(run(&app, ["INCR", "n"]).await, 2);
    app.stop().await;
    app.run().await;
    assert_eq!(run(&app, ["INCR", "n"]).await, 3);
}

#[tokio::test]
async fn a_socket_pipelines_commands_in_order() {
    let app = App::start("redis-like").await;
    let mut socket = app.socket("/0").await;
    for id in 0..20 {
        socket
            .send(&json!({ "id": id, "command": ["INCR", "n"] }))
            .await;
    }
    socket
        .send(&json!({ "id": "bad", "command": "INCR n" }))
        .await;
    // The server refuses the last one by itself, so it may overtake the worker's replies.
    let mut results = vec![];
    let mut refused = 0;
    for _ in 0..21 {
        let reply = socket.receive().await;
        if reply["id"] == "bad" {
            assert!(reply["error"].is_string());
            refused += 1;
        } else {
            results.push(reply);
        }
    }
    assert_eq!(refused, 1);
    for (id, reply) in results.iter().enumerate() {
        assert_eq!(*reply, json!({ "id": id, "result": id + 1 }));
    }
    assert_eq!(
        run(&app, ["GET", "n"]).await,
        "20",
        "/ and /0 are one database"
    );
    let elsewhere = app.post("/other", &json!(["GET", "n"])).await;
    assert_eq!(elsewhere.json()["result"], Value::Null);
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("redis-like").await;
    for command in [
        json!(["NOPE"]),
        json!(["GET"]),
        json!(["SET", "key"]),
        json!(["constructor"]),
        json!([]),
        json!(["GET", 1]),
        json!({ "command": "GET" }),
    ] {
        let reply = app.post("/", &command).await;
        assert_eq!(reply.status, 400, "{command}");
        assert!(reply.json()["error"].is_string(), "{command}");
    }
    run(&app, ["SET", "text", "abc"]).await;
    assert_eq!(app.post("/", &json!(["INCR", "text"])).await.status, 400);
    assert_eq!(
        app.request(Method::POST, "/", &[], "GET x").await.status,
        400
    );
    assert_eq!(app.request(Method::PUT, "/", &[], "").await.status, 405);
    assert_eq!(app.get("/").await.status, 426);
    assert_eq!(app.get("/a/b").await.status, 404);
}
