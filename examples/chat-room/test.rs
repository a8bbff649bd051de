//! The chat, from outside: over plain WebSockets, and in a browser with two tabs.

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{App, Browser, Socket};

/// A socket that has entered a room, and the history it was given.
async fn enter(app: &App, room: &str, name: &str) -> (Socket, Value) {
    let mut socket = app
        .socket(&format!("/rooms/{room}/socket?name={name}"))
        .await;
    let mut history = socket.receive().await;
    assert_eq!(history["type"], "history");
    (socket, history["messages"].take())
}

async fn say(socket: &mut Socket, id: &str, text: &str) {
    socket
        .send(&json!({ "type": "say", "id": id, "text": text }))
        .await;
}

/// The next message somebody said.
async fn hear(socket: &mut Socket) -> Value {
    socket.receive_type("message").await["message"].take()
}

#[tokio::test]
async fn everybody_in_the_room_hears_what_is_said() {
    let app = App::start("chat-room").await;
    let (mut ada, history) = enter(&app, "lobby", "Ada").await;
    assert_eq!(history, json!([]));
    assert_eq!(ada.receive().await["names"], json!(["Ada"]));
    let (mut grace, _) = enter(&app, "lobby", "Grace").await;
    assert_eq!(ada.receive().await["names"], json!(["Ada", "Grace"]));
    let (mut outside, _) = enter(&app, "garden", "Zoe").await;

    say(&mut ada, "a1", " Hello! ").await;
    for socket in [&mut ada, &mut grace] {
        let message = hear(socket).await;
        assert_eq!(message["seq"], 1);
        assert_eq!(
            (&message["id"], &message["name"]),
            (&json!("a1"), &json!("Ada"))
        );
        assert_eq!(message["text"], "Hello!");
    }
    say(&mut outside, "z1", "Anybody?").await;
    assert_eq!(
        hear(&mut outside).await["text"],
        "Anybody?",
        "rooms are apart"
    );

    grace.close().await;
    assert_eq!(ada.receive_type("presence").await["names"], json!(["Ada"]));
}

#[tokio::test]
async fn history_is_bounded_ordered_and_outlives_a_crash() {
    let mut app = App::start("chat-room").await;
    let (mut ada, _) = enter(&app, "lobby", "Ada").await;
    for n in 1..=105 {
        say(&mut ada, &format!("a{n}"), &format!("message {n}")).await;
    }
    for n in 1..=105 {
        assert_eq!(hear(&mut ada).await["seq"], n);
    }
    app.kill().await;
    ada.ended().await;
    app.run().await;

    let (mut ada, history) = enter(&app, "lobby", "Ada").await;
    let history = history.as_array().unwrap();
    assert_eq!(history.len(), 100);
    for (message, n) in history.iter().zip(6..) {
        assert_eq!(message["seq"], n);
        assert_eq!(message["text"], format!("message {n}"));
    }
    // A client that missed the confirmation says it again, and nothing is said twice.
    say(&mut ada, "a105", "message 105").await;
    assert_eq!(hear(&mut ada).await["seq"], 105);
    say(&mut ada, "new", "on we go").await;
    assert_eq!(hear(&mut ada).await["seq"], 106);
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("chat-room").await;
    let home = app.get("/").await;
    assert_eq!(home.status, 302);
    assert_eq!(home.header("location"), "/rooms/lobby");
    let page = app.get("/rooms/lobby").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().starts_with("<!doctype html>"));
    assert_eq!(app.get("/rooms/").await.status, 404);
    let plain = app.get("/rooms/lobby/socket?name=Ada").await;
    assert_eq!(plain.status, 426);
    assert_eq!(plain.header("upgrade"), "websocket");
    let posted = app.request(Method::POST, "/rooms/lobby", &[], "").await;
    assert_eq!(posted.status, 405);
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let nameless = app
        .request(Method::GET, "/rooms/lobby/socket", &upgrade, "")
        .await;
    assert_eq!(nameless.status, 400);

    let (mut ada, _) = enter(&app, "lobby", "Ada").await;
    ada.send_text("no JSON").await;
    assert!(ada.receive_type("error").await["error"].is_string());
    say(&mut ada, "a1", "   ").await;
    assert_eq!(ada.receive_type("error").await["id"], "a1");
    say(&mut ada, "a2", &"x".repeat(2001)).await;
    assert_eq!(ada.receive_type("error").await["id"], "a2");
}

// === in a browser ===

/// Types into the page and presses its button, as a person would.
fn typing(text: &str) -> String {
    let text = json!(text);
    format!(
        "document.querySelector('#text').value = {text}; document.querySelector('#composer button').click()"
    )
}

/// Whether the page shows exactly these messages, all of them confirmed.
fn shows(expected: &[(&str, &str)]) -> String {
    let expected = json!(
        expected
            .iter()
            .map(|(name, text)| format!("{name}: {text}"))
            .collect::<Vec<_>>()
    );
    format!(
        "(() => {{
            const items = [...document.querySelectorAll('#messages > li')];
            const shown = items.map((item) => item.dataset.name + ': ' + item.querySelector('p').textContent);
            const waiting = document.querySelector('#messages > .waiting');
            return JSON.stringify(shown) === JSON.stringify({expected}) && !waiting;
        }})()"
    )
}

const ONLINE: &str = "document.querySelector('#status').dataset.state === 'online'";
const OFFLINE: &str = "document.querySelector('#status').dataset.state === 'offline'";

#[tokio::test]
async fn two_tabs_talk_to_each_other() {
    let mut app = App::start("chat-room").await;
    let mut browser = Browser::start().await;
    let page = |name: &str| format!("http://{}/rooms/lobby?name={name}", app.address());
    let (ada_page, grace_page) = (page("Ada"), page("Grace"));
    let ada = browser.open(&ada_page).await;
    let grace = browser.open(&grace_page).await;
    let both_here = "document.querySelector('#names').textContent === 'Here: Ada, Grace'";
    for tab in [&ada, &grace] {
        browser.wait_for(tab, ONLINE).await;
        browser.wait_for(tab, both_here).await;
    }

    let mut said = vec![("Ada", "Hello Grace")];
    browser.evaluate(&ada, &typing("Hello Grace")).await;
    browser.wait_for(&grace, &shows(&said)).await;
    browser.wait_for(&ada, &shows(&said)).await;

    // What looks like markup is text.
    let markup = "<img src=x onerror='window.hacked = true'> & hello Ada";
    said.push(("Grace", markup));
    browser.evaluate(&grace, &typing(markup)).await;
    browser.wait_for(&ada, &shows(&said)).await;
    assert_eq!(browser.evaluate(&ada, "typeof hacked").await, "undefined");

    browser.reload(&grace).await;
    browser.wait_for(&grace, &shows(&said)).await;

    // The server crashes; what is written meanwhile arrives when it is back.
    app.kill().await;
    browser.wait_for(&ada, OFFLINE).await;
    said.push(("Ada", "Are you there?"));
    browser.evaluate(&ada, &typing("Are you there?")).await;
    app.run().await;
    for tab in [&ada, &grace] {
        browser.wait_for(tab, &shows(&said)).await;
        browser.wait_for(tab, ONLINE).await;
    }
}
