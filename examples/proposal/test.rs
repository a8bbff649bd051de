//! The programs of the proposal, from outside: what they were published to show has to happen.

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{App, Reply, Socket};

#[tokio::test]
async fn the_rate_limiter_allows_ten_requests_a_minute() {
    // The header counts only when it comes from a trusted proxy, which this client is now.
    let trust = ["--trusted-proxy", "127.0.0.1/32"];
    let mut app = App::start_with("proposal/rate-limiter", &trust).await;
    async fn hit(app: &App, address: &str) -> Reply {
        app.request(Method::GET, "/", &[("x-forwarded-for", address)], "")
            .await
    }
    for _ in 0..9 {
        let reply = hit(&app, "203.0.113.1").await;
        assert_eq!((reply.status, reply.text()), (200, "Request allowed"));
    }
    // The program does not wait for its writes; the platform does, before it lets the answer out.
    assert_eq!(hit(&app, "203.0.113.1").await.status, 200);
    app.kill().await;
    app.run().await;
    let refused = hit(&app, "203.0.113.1").await;
    assert_eq!(
        (refused.status, refused.text()),
        (429, "Rate limit exceeded")
    );
    assert_eq!(hit(&app, "203.0.113.2").await.status, 200);
}

#[tokio::test]
async fn pub_sub_delivers_to_all_subscribers_of_a_topic() {
    let app = App::start("proposal/pub-sub").await;
    // This program does not confirm a subscription; a message of one's own that comes back does.
    let hello = |who: &str| json!({ "type": "publish", "data": who });
    let mut first = app.socket("/news").await;
    first.send(&hello("first")).await;
    assert_eq!(first.receive().await["data"], "first");
    let mut second = app.socket("/news").await;
    second.send(&hello("second")).await;
    assert_eq!(first.receive().await["data"], "second");
    assert_eq!(second.receive().await["data"], "second");

    first
        .send(&json!({ "type": "publish", "data": "Breaking news!" }))
        .await;
    for socket in [&mut first, &mut second] {
        let message = socket.receive().await;
        assert_eq!(
            message,
            json!({ "type": "message", "data": "Breaking news!" })
        );
    }

    // The program never closes the port of a socket that went away; the platform has to.
    second.close().await;
    first
        .send(&json!({ "type": "publish", "data": "more" }))
        .await;
    assert_eq!(first.receive().await["data"], "more");
    first.send_text("no JSON").await;
    assert_eq!(first.receive().await, json!({ "error": "Invalid JSON" }));
}

/// The first socket says message number `n`, and all of them hear it.
async fn relay(sockets: &mut [&mut Socket], n: usize) {
    let text = format!("message {n}");
    let message = json!({ "text": text, "username": "somebody" });
    sockets[0].send(&message).await;
    for socket in sockets {
        let heard = socket.receive_type("message").await;
        assert_eq!(heard["message"]["text"], text);
        assert_eq!(heard["message"]["username"], "somebody");
    }
}

#[tokio::test]
async fn the_chat_room_relays_and_remembers() {
    let mut app = App::start("proposal/chat-room").await;
    assert_eq!(app.get("/").await.status, 400);
    assert_eq!(app.get("/room123").await.status, 426);

    // A message of one's own that comes back tells that the room knows the socket.
    let mut ada = app.socket("/room123").await;
    relay(&mut [&mut ada], 0).await;
    let mut grace = app.socket("/room123").await;
    relay(&mut [&mut grace, &mut ada], 1).await;
    // The program saves every tenth message, and lets others overtake that one: wait for each.
    for n in 2..10 {
        relay(&mut [&mut ada, &mut grace], n).await;
    }

    app.kill().await;
    app.run().await;
    let mut late = app.socket("/room123").await;
    let history = late.receive().await;
    assert_eq!(history["type"], "history");
    assert_eq!(history["messages"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn the_redis_like_server_keeps_its_keys() {
    let mut app = App::start("proposal/redis-like").await;
    async fn run(app: &App, command: Value) -> Value {
        let reply = app.post("/", &command).await;
        assert_eq!(reply.status, 200);
        reply.json()
    }
    let get = json!({ "command": "GET", "key": "greeting" });
    let set = json!({ "command": "SET", "key": "greeting", "value": "Hello" });
    let del = json!({ "command": "DEL", "key": "greeting" });

    assert_eq!(run(&app, get.clone()).await["value"], Value::Null);
    assert_eq!(run(&app, set).await, json!({ "status": "success" }));
    app.kill().await;
    app.run().await;
    assert_eq!(run(&app, get.clone()).await["value"], "Hello");
    assert_eq!(run(&app, del.clone()).await["deleted"], true);
    assert_eq!(run(&app, del).await["deleted"], false);
    assert_eq!(run(&app, get).await["value"], Value::Null);
    assert_eq!(app.get("/").await.status, 400);
}
