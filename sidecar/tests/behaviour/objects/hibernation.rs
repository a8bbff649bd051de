//! WebSockets that stay while their object sleeps.

use std::future::poll_fn;
use std::time::Duration;

use portside_exchange::{Message, Socket};
use tokio::time::timeout;

use crate::app::{PATIENCE, Setup, TestApp, eventually};
use crate::{Case, cases};

use super::with_objects;

/// These tests.
pub const CASES: &[Case] = cases![
    a_message_wakes_the_object_with_all_its_sockets,
    open_sockets_do_not_keep_the_object_awake,
    automatic_responses_wake_nobody,
    a_close_wakes_the_object_and_is_answered,
    a_lost_client_wakes_the_object,
    messages_wait_in_order_for_an_object_that_wakes,
    an_object_that_is_reset_loses_its_sockets,
    an_object_whose_isolate_ends_loses_its_sockets,
    a_handler_that_throws_loses_nothing,
    a_client_that_does_not_read_is_closed,
    new_code_hears_the_sockets_of_objects_that_sleep,
    an_object_woken_by_a_socket_knows_its_name,
];

fn room() -> Setup {
    let mut setup = with_objects(include_str!("room.js"), &[("ROOM", "Room")]);
    setup.limits.idle = Duration::from_millis(100);
    setup
}

/// Waits until no object is awake.
async fn asleep(app: &TestApp) {
    let met = eventually(async || app.awake() == 0).await;
    assert!(met, "{} are awake", app.awake());
}

async fn open(app: &TestApp, path: &str) -> Socket {
    let response = app.upgrade(path).await;
    assert_eq!(response.status, 101);
    response.socket.unwrap()
}

async fn say(socket: &mut Socket, text: &'static str) {
    socket.incoming.send(Message::Text(text.into())).await;
}

/// The next message; nothing if the socket is over.
async fn next(socket: &mut Socket) -> Option<Message> {
    let next = poll_fn(|cx| socket.outgoing.poll_recv(cx));
    timeout(PATIENCE, next).await.expect("nothing came")
}

async fn next_text(socket: &mut Socket) -> String {
    match next(socket).await {
        Some(Message::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn ask(socket: &mut Socket, text: &'static str) -> String {
    say(socket, text).await;
    next_text(socket).await
}

fn is_close(message: Option<Message>, code: u16) -> bool {
    matches!(message, Some(Message::Close { code: got, .. }) if got == code)
}

async fn a_message_wakes_the_object_with_all_its_sockets() {
    let app = room().start().await;
    let mut first = open(&app, "/?tag=a&tag=x").await;
    let mut second = open(&app, "/?tag=b").await;
    assert_eq!(ask(&mut first, "found").await, "[]");
    assert_eq!(ask(&mut first, "messages").await, "2");
    asleep(&app).await;
    let found = r#"[[["b"],{"tags":["b"]}],[["a","x"],{"tags":["a","x"]}]]"#;
    assert_eq!(ask(&mut first, "found").await, found);
    assert_eq!(ask(&mut second, "messages").await, "2");
    assert_eq!(ask(&mut second, "b").await, "to b");
    say(&mut second, "x").await;
    assert_eq!(next_text(&mut first).await, "to x");
    app.stop().await;
}

async fn open_sockets_do_not_keep_the_object_awake() {
    let app = room().start().await;
    let sockets = [open(&app, "/").await, open(&app, "/").await];
    for _ in 0..3 {
        asleep(&app).await;
        assert_eq!(app.text("/count").await, "2");
    }
    drop(sockets);
    app.eventually("/count", "0").await;
    app.stop().await;
}

async fn automatic_responses_wake_nobody() {
    let app = room().start().await;
    let mut socket = open(&app, "/").await;
    app.text("/ping").await;
    asleep(&app).await;
    for _ in 0..10 {
        assert_eq!(ask(&mut socket, "ping").await, "pong");
        assert_eq!(app.awake(), 0);
    }
    assert_eq!(ask(&mut socket, "messages").await, "1");
    assert_eq!(ask(&mut socket, "ping").await, "pong", "though it is awake");
    assert_eq!(ask(&mut socket, "messages").await, "2");
    app.stop().await;
}

async fn a_close_wakes_the_object_and_is_answered() {
    let app = room().start().await;
    let mut socket = open(&app, "/").await;
    asleep(&app).await;
    let (code, reason) = (4000, "why".to_owned());
    socket.incoming.send(Message::Close { code, reason }).await;
    assert!(is_close(next(&mut socket).await, 4001));
    app.eventually("/log", r#"[[4000,"why",true]]"#).await;
    assert_eq!(app.text("/count").await, "0");
    app.stop().await;
}

async fn a_lost_client_wakes_the_object() {
    let app = room().start().await;
    let socket = open(&app, "/").await;
    asleep(&app).await;
    drop(socket);
    let log = r#"[[1006,"WebSocket disconnected without sending Close frame.",false]]"#;
    app.eventually("/log", log).await;
    app.stop().await;
}

async fn messages_wait_in_order_for_an_object_that_wakes() {
    let app = room().start().await;
    let mut socket = open(&app, "/").await;
    asleep(&app).await;
    for _ in 0..50 {
        say(&mut socket, "messages").await;
    }
    for number in 1..=50 {
        assert_eq!(next_text(&mut socket).await, number.to_string());
    }
    app.stop().await;
}

async fn an_object_that_is_reset_loses_its_sockets() {
    let app = room().start().await;
    let [mut one, mut other] = [open(&app, "/").await, open(&app, "/").await];
    say(&mut one, "abort").await;
    assert!(is_close(next(&mut one).await, 1006));
    assert!(is_close(next(&mut other).await, 1006));
    assert_eq!(next(&mut other).await, None);
    assert_eq!(app.text("/count").await, "0");
    assert_eq!(app.text("/log").await, "[]", "it hears of none of them");
    app.stop().await;
}

async fn an_object_whose_isolate_ends_loses_its_sockets() {
    let mut setup = room();
    setup.limits.cpu = Duration::from_millis(200);
    let app = setup.start().await;
    let [mut one, mut other] = [open(&app, "/").await, open(&app, "/").await];
    say(&mut one, "loop").await;
    assert!(is_close(next(&mut one).await, 1006));
    assert!(is_close(next(&mut other).await, 1006));
    app.eventually("/count", "0").await;
    app.stop().await;
}

async fn a_handler_that_throws_loses_nothing() {
    let app = room().start().await;
    let mut socket = open(&app, "/").await;
    say(&mut socket, "throw").await;
    assert_eq!(ask(&mut socket, "messages").await, "2");
    app.expect_log("webSocketMessage(): Error: in the handler")
        .await;
    app.stop().await;
}

async fn a_client_that_does_not_read_is_closed() {
    let mut setup = room();
    setup.limits.socket_buffer_bytes = 1 << 20;
    setup.limits.cpu = Duration::from_secs(1);
    let app = setup.start().await;
    let mut socket = open(&app, "/").await;
    say(&mut socket, "flood").await;
    let mut last = None;
    while let Some(message) = next(&mut socket).await {
        last = Some(message);
    }
    assert!(is_close(last, 1013));
    app.stop().await;
}

async fn new_code_hears_the_sockets_of_objects_that_sleep() {
    let app = room().start().await;
    let mut socket = open(&app, "/?tag=a").await;
    asleep(&app).await;
    app.replace(room().class()).await.unwrap();
    let found = r#"[[["a"],{"tags":["a"]}]]"#;
    assert_eq!(ask(&mut socket, "found").await, found);
    assert_eq!(app.text("/count").await, "1");
    app.stop().await;
}

async fn an_object_woken_by_a_socket_knows_its_name() {
    let app = room().start().await;
    let mut socket = open(&app, "/").await;
    asleep(&app).await;
    assert_eq!(ask(&mut socket, "name").await, "room");
    app.stop().await;
}
