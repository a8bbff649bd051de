//! The chat of Durable Objects, from outside: over plain WebSockets, and in a browser with two tabs.

use std::time::Duration;

use futures::future::join_all;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{App, Browser, Site, Socket, eventually, kill_under_load};

/// More than any test says: for those that are not about the limit.
const PATIENT: [&str; 2] = ["--var", "BURST=100000"];

/// A socket that has entered a room, and what it was welcomed with.
async fn enter(app: &App, room: &str, name: &str) -> (Socket, Value) {
    let mut socket = app.socket(&format!("/rooms/{room}/socket")).await;
    let welcome = introduce(&mut socket, name).await;
    (socket, welcome)
}

async fn introduce(socket: &mut Socket, name: &str) -> Value {
    socket.send(&json!({ "type": "enter", "name": name })).await;
    let welcome = socket.receive().await;
    assert_eq!(welcome["type"], "welcome");
    welcome
}

fn saying(text: &str) -> Value {
    json!({ "type": "say", "text": text })
}

/// The next message somebody said.
async fn hear(socket: &mut Socket) -> Value {
    socket.receive_type("message").await["message"].take()
}

#[tokio::test]
async fn everybody_in_the_room_hears_who_comes_and_goes_and_what_is_said() {
    let app = App::start("durable-chat").await;
    let (mut ada, welcome) = enter(&app, "lobby", "Ada").await;
    assert_eq!(welcome["names"], json!(["Ada"]));
    assert_eq!(welcome["messages"], json!([]));
    // One that has not entered is no participant: it neither counts nor hears.
    let mut silent = app.socket("/rooms/lobby/socket").await;
    let (mut grace, welcome) = enter(&app, "lobby", "Grace").await;
    assert_eq!(welcome["names"], json!(["Ada", "Grace"]));
    assert_eq!(
        ada.receive().await,
        json!({ "type": "joined", "name": "Grace" })
    );
    let (mut outside, _) = enter(&app, "garden", "Zoe").await;

    ada.send(&saying(" Hello! ")).await;
    for socket in [&mut ada, &mut grace] {
        let message = hear(socket).await;
        assert_eq!(
            (&message["seq"], &message["name"]),
            (&json!(1), &json!("Ada"))
        );
        assert_eq!(message["text"], "Hello!");
    }
    outside.send(&saying("Anybody?")).await;
    assert_eq!(
        hear(&mut outside).await["text"],
        "Anybody?",
        "rooms are apart"
    );
    silent.send(&saying("I, too")).await;
    assert_eq!(silent.receive().await["error"], "enter first");

    grace.close().await;
    assert_eq!(
        ada.receive().await,
        json!({ "type": "quit", "name": "Grace" })
    );
    silent.close().await;
    let (_, welcome) = enter(&app, "lobby", "Bob").await;
    assert_eq!(welcome["names"], json!(["Ada", "Bob"]));
    assert_eq!(
        ada.receive().await,
        json!({ "type": "joined", "name": "Bob" })
    );
}

#[tokio::test]
async fn history_is_bounded_ordered_and_outlives_a_crash() {
    let mut app = App::start_with("durable-chat", &PATIENT).await;
    let (mut ada, _) = enter(&app, "lobby", "Ada").await;
    for n in 1..=105 {
        ada.send(&saying(&format!("message {n}"))).await;
    }
    for n in 1..=105 {
        assert_eq!(hear(&mut ada).await["seq"], n);
    }
    app.kill().await;
    ada.ended().await;
    app.run().await;

    let (mut ada, welcome) = enter(&app, "lobby", "Ada").await;
    let history = welcome["messages"].as_array().unwrap();
    assert_eq!(history.len(), 100);
    for (message, n) in history.iter().zip(6..) {
        assert_eq!(message["seq"], n);
        assert_eq!(message["text"], format!("message {n}"));
    }
    ada.send(&saying("on we go")).await;
    assert_eq!(hear(&mut ada).await["seq"], 106);
}

#[tokio::test]
async fn what_was_heard_before_a_crash_was_said() {
    let mut app = App::start_with("durable-chat", &PATIENT).await;
    let rooms: Vec<_> = (0..4).map(|n| format!("room-{n}")).collect();
    let clients = join_all(
        rooms
            .iter()
            .map(async |room| enter(&app, room, "Ada").await.0),
    )
    .await;
    // Each client waits for its own message before the next, so fewer than a hundred are heard in each room.
    let clients = clients.into_iter().zip(&rooms).map(|(mut socket, room)| {
        async move || {
            socket.try_send(&saying("still here").to_string()).await?;
            let heard = socket.try_receive().await?;
            Ok((room, heard["message"]["seq"].as_u64().unwrap()))
        }
    });
    let heard = kill_under_load(&mut app, 40, clients).await;

    app.run().await;
    for room in &rooms {
        let (_, welcome) = enter(&app, room, "Bob").await;
        let messages = welcome["messages"].as_array().unwrap();
        let kept: Vec<_> = messages
            .iter()
            .map(|message| message["seq"].as_u64().unwrap())
            .collect();
        for (_, seq) in heard
            .iter()
            .filter(|(of, seq)| of == &room && kept.first() <= Some(seq))
        {
            assert!(kept.contains(seq), "{room} has lost {seq}, has {kept:?}");
        }
    }
}

#[tokio::test]
async fn a_room_sleeps_and_its_sockets_stay() {
    let app = App::start("durable-chat").await;
    let (mut ada, _) = enter(&app, "lobby", "Ada").await;
    let (mut grace, _) = enter(&app, "lobby", "Grace").await;
    ada.send(&saying("Good night")).await;
    assert_eq!(hear(&mut grace).await["seq"], 1);

    let awakenings = || app.output().matches("room lobby is awake").count();
    eventually("the first awakening", async || {
        (awakenings() == 1).then_some(())
    })
    .await;
    // A room sleeps after ten idle seconds. Pings are answered, and leave it alone.
    for _ in 0..13 {
        ada.send_text("ping").await;
        while ada.receive_text().await != "pong" {}
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ada.send(&saying("Good morning")).await;
    let message = hear(&mut grace).await;
    assert_eq!(
        (&message["seq"], &message["name"]),
        (&json!(2), &json!("Ada"))
    );
    eventually("the second awakening", async || {
        (awakenings() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn private_rooms_have_ids() {
    let app = App::start("durable-chat").await;
    let made = app.request(Method::POST, "/rooms", &[], "").await;
    assert_eq!(made.status, 201);
    let room = made.json()["room"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), format!("/rooms/{room}"));
    let other = app.request(Method::POST, "/rooms", &[], "").await.json();
    assert_ne!(other["room"], room);

    let (mut ada, _) = enter(&app, &room, "Ada").await;
    ada.send(&saying("Nobody hears us")).await;
    assert_eq!(hear(&mut ada).await["seq"], 1);
    let (_, welcome) = enter(&app, &room, "Grace").await;
    assert_eq!(welcome["messages"][0]["text"], "Nobody hears us");
    assert_eq!(app.get(&format!("/rooms/{room}")).await.status, 200);
    let forged = format!("/rooms/{}", "0".repeat(64));
    assert_eq!(app.get(&forged).await.status, 404);
}

/// Says this much at once, and counts what is refused.
async fn flood(socket: &mut Socket, messages: usize) -> usize {
    for _ in 0..messages {
        socket.send(&saying("flood")).await;
    }
    let mut refused = 0;
    for _ in 0..messages {
        let answer = socket.receive().await;
        if answer["type"] == "error" {
            let error = answer["error"].as_str().unwrap();
            assert!(error.starts_with("too many messages"), "{error}");
            refused += 1;
        }
    }
    refused
}

#[tokio::test]
async fn an_address_may_not_say_too_much() {
    let trust = ["--trusted-proxy", "127.0.0.1/32"];
    let app = App::start_with("durable-chat", &trust).await;
    let site = Site::at(&app.address());
    let mut sockets = vec![];
    for (room, address) in [
        ("a", "203.0.113.1"),
        ("b", "203.0.113.1"),
        ("c", "203.0.113.2"),
    ] {
        let headers = [("x-forwarded-for", address)];
        let path = format!("/rooms/{room}/socket");
        let mut socket = site.socket_with(&path, &headers).await;
        introduce(&mut socket, "Ada").await;
        sockets.push(socket);
    }
    // Ten at once, and one more for each second that it takes.
    let refused = flood(&mut sockets[0], 30).await;
    assert!((1..=20).contains(&refused), "{refused} of 30 refused");
    sockets[2].send(&saying("calm")).await;
    assert_eq!(
        hear(&mut sockets[2]).await["text"],
        "calm",
        "another address"
    );

    // The limit is the address's, wherever it speaks; and it passes.
    let refused = flood(&mut sockets[1], 10).await;
    assert!(refused > 0, "another room has a limit of its own");
    eventually("the end of the limit", async || {
        sockets[1].send(&saying("calm again")).await;
        (sockets[1].receive().await["type"] == "message").then_some(())
    })
    .await;
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("durable-chat").await;
    let page = app.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().starts_with("<!doctype html>"));
    assert_eq!(app.get("/rooms/lobby").await.text(), page.text());
    for path in [
        "/rooms/",
        "/other",
        "/rooms/a.b",
        &format!("/rooms/{}", "x".repeat(33)),
    ] {
        assert_eq!(app.get(path).await.status, 404, "{path}");
    }
    let plain = app.get("/rooms/lobby/socket").await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, "websocket"));
    let posted = app.request(Method::POST, "/rooms/lobby", &[], "").await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET"));
    let listed = app.get("/rooms").await;
    assert_eq!((listed.status, listed.header("allow")), (405, "POST"));

    let mut ada = app.socket("/rooms/lobby/socket").await;
    for name in [json!(null), json!(" "), json!("x".repeat(33))] {
        ada.send(&json!({ "type": "enter", "name": name })).await;
        assert_eq!(ada.receive().await["type"], "error", "{name}");
    }
    introduce(&mut ada, "Ada").await;
    for bad in [
        "no JSON",
        "null",
        "{}",
        r#"{"type":"enter","name":"Eve"}"#,
        r#"{"type":"say","text":" "}"#,
    ] {
        ada.send_text(bad).await;
        assert_eq!(ada.receive().await["type"], "error", "{bad}");
    }
    ada.send(&saying(&"x".repeat(2001))).await;
    assert_eq!(ada.receive().await["type"], "error");
}

// === in a browser ===

/// Types into the page and presses its button, as a person would.
fn typing(text: &str) -> String {
    let text = json!(text);
    format!(
        "document.querySelector('#text').value = {text}; document.querySelector('#composer button').click()"
    )
}

/// Whether the page shows exactly these messages.
fn shows(expected: &[(&str, &str)]) -> String {
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, text)| format!("{name}: {text}"))
        .collect();
    let expected = json!(expected);
    format!(
        "(() => {{
            const items = [...document.querySelectorAll('#log > .message')];
            const shown = items.map((item) => item.querySelector('b').textContent + ': ' + item.lastChild.textContent);
            return JSON.stringify(shown) === JSON.stringify({expected});
        }})()"
    )
}

fn state(expected: &str) -> String {
    format!("document.querySelector('#status').dataset.state === '{expected}'")
}

#[tokio::test]
async fn two_tabs_talk_to_each_other() {
    let mut app = App::start("durable-chat").await;
    let mut browser = Browser::start().await;
    let ada = browser.open(&format!("http://{}/", app.address())).await;
    browser
        .wait_for(&ada, "document.querySelector('#welcome').open")
        .await;
    let answer = "document.querySelector('#name').value = 'Ada';
                  document.querySelector('#welcome button').click()";
    browser.evaluate(&ada, answer).await;
    browser
        .wait_for(&ada, "location.pathname === '/rooms/lobby'")
        .await;
    let page = format!("http://{}/rooms/lobby?name=Grace", app.address());
    let grace = browser.open(&page).await;
    let both_here = "document.querySelector('#names').innerText === 'Ada\\nGrace'";
    for tab in [&ada, &grace] {
        browser.wait_for(tab, &state("online")).await;
        browser.wait_for(tab, both_here).await;
    }
    let joined = "document.querySelector('#log > .event').textContent === 'Grace joined'";
    browser.wait_for(&ada, joined).await;

    let mut said = vec![("Ada", "Hello Grace")];
    browser.evaluate(&ada, &typing("Hello Grace")).await;
    browser.wait_for(&grace, &shows(&said)).await;

    // What looks like markup is text.
    let markup = "<img src=x onerror='window.hacked = true'> & hello Ada";
    said.push(("Grace", markup));
    browser.evaluate(&grace, &typing(markup)).await;
    browser.wait_for(&ada, &shows(&said)).await;
    assert_eq!(browser.evaluate(&ada, "typeof hacked").await, "undefined");

    browser.reload(&grace).await;
    browser.wait_for(&grace, &shows(&said)).await;
    browser.wait_for(&ada, both_here).await;

    // The server crashes and comes back; the pages find it again, and have all that was said.
    app.kill().await;
    browser.wait_for(&ada, &state("offline")).await;
    app.run().await;
    browser.wait_for(&ada, &state("online")).await;
    said.push(("Ada", "Are you there?"));
    browser.evaluate(&ada, &typing("Are you there?")).await;
    for tab in [&ada, &grace] {
        browser.wait_for(tab, &shows(&said)).await;
        browser.wait_for(tab, both_here).await;
    }
}

#[tokio::test]
async fn a_private_room_is_reached_by_its_address() {
    let app = App::start("durable-chat").await;
    let mut browser = Browser::start().await;
    let ada = browser.open(&format!("http://{}/", app.address())).await;
    browser
        .wait_for(&ada, "document.querySelector('#welcome').open")
        .await;
    let answer =
        "document.querySelector('#name').value = 'Ada'; document.querySelector('#private').click()";
    browser.evaluate(&ada, answer).await;
    browser
        .wait_for(&ada, r"/^\/rooms\/[0-9a-f]{64}$/.test(location.pathname)")
        .await;
    browser.wait_for(&ada, &state("online")).await;

    let address = browser.evaluate(&ada, "location.href").await;
    let grace = browser
        .open(&format!("{}?name=Grace", address.as_str().unwrap()))
        .await;
    browser.wait_for(&grace, &state("online")).await;
    browser.evaluate(&grace, &typing("Found it")).await;
    browser
        .wait_for(&ada, &shows(&[("Grace", "Found it")]))
        .await;
}
