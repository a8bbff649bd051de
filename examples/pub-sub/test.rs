//! Topics, from outside.

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{App, Socket, eventually};

/// A socket whose subscription the topic has confirmed.
async fn subscriber(app: &App, topic: &str) -> Socket {
    let mut socket = app.socket(&format!("/topics/{topic}/socket")).await;
    let confirmation = socket.receive().await;
    assert_eq!(
        confirmation,
        json!({ "type": "subscribed", "topic": topic })
    );
    socket
}

async fn subscribers(app: &App, topic: &str) -> Value {
    let reply = app.get(&format!("/topics/{topic}")).await;
    assert_eq!(reply.status, 200);
    reply.json()["subscribers"].clone()
}

#[tokio::test]
async fn a_message_reaches_every_subscriber_in_order() {
    let app = App::start("pub-sub").await;
    let mut sockets = vec![];
    for _ in 0..50 {
        sockets.push(subscriber(&app, "news").await);
    }
    let mut elsewhere = subscriber(&app, "sports").await;

    for n in 0..5 {
        let reply = app.post("/topics/news", &json!({ "n": n })).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["subscribers"], 50);
    }
    for socket in &mut sockets {
        for n in 0..5 {
            let message = socket.receive().await;
            assert_eq!(message["type"], "message");
            assert_eq!(message["data"], json!({ "n": n }));
        }
    }

    app.post("/topics/sports", &json!("goal")).await;
    let first = elsewhere.receive().await;
    assert_eq!(first["data"], "goal", "topics do not hear each other");
}

#[tokio::test]
async fn a_socket_publishes_and_is_answered_under_its_id() {
    let app = App::start("pub-sub").await;
    let mut ada = subscriber(&app, "news").await;
    let mut grace = subscriber(&app, "news").await;

    ada.send(&json!({ "type": "publish", "id": "a1", "data": [1, null] }))
        .await;
    let message = json!({ "type": "message", "id": "a1", "data": [1, null] });
    assert_eq!(ada.receive().await, message);
    assert_eq!(
        ada.receive().await,
        json!({ "type": "published", "id": "a1", "subscribers": 2 })
    );
    assert_eq!(grace.receive().await, message);

    ada.send_text("no JSON").await;
    assert_eq!(ada.receive().await["type"], "error");
    ada.send(&json!({ "type": "dance", "id": "a2" })).await;
    let error = ada.receive().await;
    assert_eq!(
        (&error["type"], &error["id"]),
        (&json!("error"), &json!("a2"))
    );
}

#[tokio::test]
async fn a_closed_socket_is_unsubscribed() {
    let app = App::start("pub-sub").await;
    let polite = subscriber(&app, "news").await;
    let rude = subscriber(&app, "news").await;
    let mut loyal = subscriber(&app, "news").await;
    assert_eq!(subscribers(&app, "news").await, 3);

    polite.close().await;
    drop(rude);
    eventually("two subscribers fewer", async || {
        (subscribers(&app, "news").await == 1).then_some(())
    })
    .await;

    let reply = app.post("/topics/news", &json!("still here?")).await;
    assert_eq!(reply.json()["subscribers"], 1);
    assert_eq!(loyal.receive().await["data"], "still here?");
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("pub-sub").await;
    let plain = app.get("/topics/news/socket").await;
    assert_eq!(plain.status, 426);
    assert_eq!(plain.header("upgrade"), "websocket");
    assert_eq!(app.get("/").await.status, 404);
    let deleted = app.request(Method::DELETE, "/topics/news", &[], "").await;
    assert_eq!(deleted.status, 405);
    assert_eq!(deleted.header("allow"), "GET, POST");
    let garbled = app.request(Method::POST, "/topics/news", &[], "{").await;
    assert_eq!(garbled.status, 400);
}
