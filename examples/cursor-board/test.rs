//! The board, from outside: over plain WebSockets, and in a browser with two tabs.

use std::collections::BTreeMap;
use std::fs;

use futures::future::join_all;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{App, Browser, Socket, Tab, eventually, kill_under_load};

/// A socket to a board, and what it was welcomed with.
async fn enter(app: &App, board: &str, name: &str) -> (Socket, Value) {
    let path = format!("/boards/{board}/socket?name={name}");
    let mut socket = app.socket(&path).await;
    let welcome = socket.receive().await;
    assert_eq!(welcome["type"], "welcome");
    (socket, welcome)
}

fn note(id: &str, text: &str) -> Value {
    json!({ "type": "put", "id": id, "x": 0.25, "y": 0.5, "text": text })
}

#[tokio::test]
async fn cursors_are_seen_while_their_people_are_there() {
    let app = App::start("cursor-board").await;
    let (mut ada, welcome) = enter(&app, "plan", "Ada").await;
    let id = welcome["you"].clone();
    assert_eq!(
        welcome["people"],
        json!([{ "id": id, "name": "Ada", "at": null }])
    );
    let (mut grace, _) = enter(&app, "plan", "Grace").await;
    assert_eq!(ada.receive().await["person"]["name"], "Grace");
    let (mut outside, _) = enter(&app, "other", "Zoe").await;

    let at = json!({ "x": 0.1, "y": 0.9 });
    ada.send(&json!({ "type": "point", "at": at })).await;
    let ada_there = json!({ "id": id, "name": "Ada", "at": at });
    assert_eq!(
        grace.receive().await,
        json!({ "type": "person", "person": ada_there })
    );
    let (_late, welcome) = enter(&app, "plan", "Bob").await;
    let people = welcome["people"].as_array().unwrap();
    assert!(
        people.len() == 3 && people.contains(&ada_there),
        "{welcome}"
    );
    assert_eq!(grace.receive().await["person"]["name"], "Bob");

    ada.send(&json!({ "type": "point", "at": null })).await;
    assert_eq!(grace.receive().await["person"]["at"], Value::Null);
    ada.close().await;
    assert_eq!(grace.receive().await, json!({ "type": "gone", "id": id }));

    // Boards are apart: what comes next there is its own.
    outside.send(&note("n", "Mine")).await;
    assert_eq!(outside.receive().await["note"]["text"], "Mine");
}

#[tokio::test]
async fn notes_are_made_changed_and_removed() {
    let app = App::start("cursor-board").await;
    let (mut ada, welcome) = enter(&app, "plan", "Ada").await;
    assert_eq!(welcome["notes"], json!([]));
    let (mut grace, _) = enter(&app, "plan", "Grace").await;
    assert_eq!(ada.receive().await["type"], "person");

    ada.send(&note("n", "Milk")).await;
    let made = json!({ "id": "n", "x": 0.25, "y": 0.5, "text": "Milk", "author": "Ada" });
    for socket in [&mut ada, &mut grace] {
        assert_eq!(
            socket.receive().await,
            json!({ "type": "note", "note": made })
        );
    }
    // Two that change different things of a note do not undo each other.
    grace
        .send(&json!({ "type": "put", "id": "n", "x": 0.75 }))
        .await;
    assert_eq!(ada.receive().await["note"]["x"], 0.75);
    ada.send(&json!({ "type": "put", "id": "n", "text": "" }))
        .await;
    let changed = json!({ "id": "n", "x": 0.75, "y": 0.5, "text": "", "author": "Ada" });
    assert_eq!(ada.receive().await["note"], changed);
    let listed = app.get("/boards/plan/notes").await.json();
    assert_eq!(listed, json!({ "version": 2, "notes": [changed] }));

    grace.send(&json!({ "type": "remove", "id": "n" })).await;
    let removed = json!({ "type": "removed", "id": "n" });
    assert_eq!(ada.receive().await, removed);
    ada.send(&json!({ "type": "put", "id": "n", "text": "Is it there?" }))
        .await;
    assert_eq!(ada.receive().await, removed);
    assert_eq!(
        app.get("/boards/plan/notes").await.json()["notes"],
        json!([])
    );
}

#[tokio::test]
async fn a_board_gets_full() {
    let app = App::start("cursor-board").await;
    let (mut ada, _) = enter(&app, "plan", "Ada").await;
    for n in 0..=500 {
        ada.send(&note(&format!("n{n}"), "")).await;
    }
    for n in 0..500 {
        assert_eq!(ada.receive().await["note"]["id"], format!("n{n}"));
    }
    let refused = ada.receive().await;
    assert_eq!(
        (&refused["type"], &refused["id"]),
        (&json!("error"), &json!("n500"))
    );
    ada.send(&note("n499", "Changes are none too many")).await;
    assert_eq!(ada.receive().await["type"], "note");
    let notes = app.get("/boards/plan/notes").await.json()["notes"].take();
    assert_eq!(notes.as_array().unwrap().len(), 500);
}

#[tokio::test]
async fn what_came_back_before_a_crash_is_on_the_board() {
    let mut app = App::start("cursor-board").await;
    let ids: Vec<_> = (0..6).map(|n| format!("n{n}")).collect();
    let sockets = join_all(ids.iter().map(async |id| enter(&app, "plan", id).await.0)).await;
    let clients = sockets.into_iter().zip(&ids).map(|(mut socket, id)| {
        let mut sent = 0_u64;
        async move || {
            sent += 1;
            socket
                .try_send(&note(id, &sent.to_string()).to_string())
                .await?;
            loop {
                let message = socket.try_receive().await?;
                if message["note"]["id"] == **id {
                    assert_eq!(message["note"]["text"], sent.to_string());
                    return Ok((id, sent));
                }
            }
        }
    });
    let confirmed = kill_under_load(&mut app, 200, clients).await;
    // The last of each, for they come in order.
    let confirmed: BTreeMap<_, _> = confirmed.into_iter().collect();

    app.run().await;
    let notes = app.get("/boards/plan/notes").await.json()["notes"].take();
    for note in notes.as_array().unwrap() {
        let stored: u64 = note["text"].as_str().unwrap().parse().unwrap();
        let id = note["id"].as_str().unwrap().to_owned();
        let last = confirmed.get(&id).copied().unwrap_or(0);
        assert!(
            (last..=last + 1).contains(&stored),
            "{id}: {last} came back, {stored} is stored"
        );
    }
    assert!(
        confirmed.keys().all(|id| notes.to_string().contains(*id)),
        "{notes}"
    );
}

#[tokio::test]
async fn tables_are_brought_up_to_date_or_left_alone() {
    let mut app = App::start("cursor-board").await;
    let (mut ada, _) = enter(&app, "plan", "Ada").await;
    ada.send(&note("n", "Older than its colour")).await;
    assert_eq!(ada.receive().await["type"], "note");
    let before = app.get("/boards/plan/notes").await.json();
    assert_eq!(before["version"], 2);

    let file = app.folder().join("src/schema.ts");
    let original = fs::read_to_string(&file).unwrap();
    let with = |versions: &str| {
        assert!(original.contains("\n];"));
        original.replacen("\n];", &format!("\n{versions}\n];"), 1)
    };
    let colour = r#"  "ALTER TABLE notes ADD COLUMN colour TEXT NOT NULL DEFAULT 'yellow'","#;
    let broken = format!("{colour}\n  \"CREATE TABLE nowhere (\",");
    for (code, status) in [
        (with(&broken), 500),
        (with(colour), 200),
        (original.clone(), 500),
        (with(colour), 200),
    ] {
        app.kill().await;
        fs::write(&file, &code).unwrap();
        app.run().await;
        let reply = app.get("/boards/plan/notes").await;
        assert_eq!(reply.status, status, "{}", reply.text());
        if status == 200 {
            assert_eq!(
                reply.json(),
                json!({ "version": 3, "notes": before["notes"] })
            );
        } else if code == original {
            app.wrote("version 3: this code knows 2, use newer code")
                .await;
        }
    }
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("cursor-board").await;
    let home = app.get("/").await;
    assert_eq!(
        (home.status, home.header("location")),
        (302, "/boards/welcome")
    );
    let page = app.get("/boards/plan").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().starts_with("<!doctype html>"));
    for path in ["/boards/", "/boards/a/b", "/boards/a.b", "/other"] {
        assert_eq!(app.get(path).await.status, 404, "{path}");
    }
    let plain = app.get("/boards/plan/socket?name=Ada").await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, "websocket"));
    let posted = app.request(Method::POST, "/boards/plan", &[], "").await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET"));
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let nameless = app
        .request(Method::GET, "/boards/plan/socket", &upgrade, "")
        .await;
    assert_eq!(nameless.status, 400);

    let (mut ada, _) = enter(&app, "plan", "Ada").await;
    for bad in [
        "no JSON",
        "null",
        r#"{"type":"point"}"#,
        r#"{"type":"point","at":{"x":0.5}}"#,
        r#"{"type":"put","id":"","x":0.5,"y":0.5,"text":""}"#,
        r#"{"type":"put","id":"n","x":1.5,"y":0.5,"text":""}"#,
        r#"{"type":"put","id":"n","x":0.5,"y":"0","text":""}"#,
        r#"{"type":"put","id":"n","x":0.5,"y":0.5,"text":1}"#,
        r#"{"type":"remove"}"#,
    ] {
        ada.send_text(bad).await;
        assert_eq!(ada.receive().await["type"], "error", "{bad}");
    }
    ada.send(&note("n", &"x".repeat(501))).await;
    assert_eq!(ada.receive().await["type"], "error");
    assert_eq!(
        app.get("/boards/plan/notes").await.json()["notes"],
        json!([])
    );
}

// === in a browser ===

/// Moves or presses the mouse at a place of the board, on the element that `selector` finds.
fn mouse(kind: &str, selector: &str, x: f64, y: f64) -> String {
    format!(
        "(() => {{
            const {{ left, top, width, height }} = document.querySelector('#board').getBoundingClientRect();
            const at = {{ clientX: left + width * {x}, clientY: top + height * {y} }};
            document.querySelector({selector:?}).dispatchEvent(new MouseEvent({kind:?}, {{ bubbles: true, ...at }}));
        }})()"
    )
}

/// Whether what `selector` finds is shown at a place of the board, give or take a pixel.
fn is_at(selector: &str, x: f64, y: f64) -> String {
    format!(
        "(() => {{
            const item = document.querySelector({selector:?});
            const [left, top] = [item.style.left, item.style.top].map(Number.parseFloat);
            return !item.hidden && Math.abs(left - {x} * 100) < 0.5 && Math.abs(top - {y} * 100) < 0.5;
        }})()"
    )
}

fn writing(text: &str) -> String {
    let text = json!(text);
    format!(
        "(() => {{
            const field = document.querySelector('.note textarea');
            field.value = {text};
            field.dispatchEvent(new Event('input', {{ bubbles: true }}));
        }})()"
    )
}

/// Whether the one note has this text, and nothing is on its way.
fn reads(text: &str) -> String {
    let text = json!(text);
    format!(
        "document.querySelectorAll('.note').length === 1 && !document.querySelector('.waiting') &&
         document.querySelector('.note textarea').value === {text}"
    )
}

fn state(expected: &str) -> String {
    format!("document.querySelector('#status').dataset.state === '{expected}'")
}

async fn visit(browser: &mut Browser, app: &App, name: &str) -> Tab {
    let address = format!("http://{}/boards/plan?name={name}", app.address());
    let tab = browser.open(&address).await;
    browser.wait_for(&tab, &state("online")).await;
    tab
}

#[tokio::test]
async fn two_tabs_work_on_a_board() {
    let mut app = App::start("cursor-board").await;
    let mut browser = Browser::start().await;
    let ada = visit(&mut browser, &app, "Ada").await;
    let grace = visit(&mut browser, &app, "Grace").await;
    let both_here = "document.querySelector('#names').textContent === 'Ada, Grace'";
    browser.wait_for(&ada, both_here).await;
    browser.wait_for(&grace, both_here).await;

    browser
        .evaluate(&ada, &mouse("pointermove", "#board", 0.25, 0.75))
        .await;
    browser
        .wait_for(&grace, &is_at(".cursor[data-name=Ada]", 0.25, 0.75))
        .await;
    browser
        .evaluate(&ada, &mouse("pointerleave", "#board", 0.0, 0.0))
        .await;
    browser
        .wait_for(&grace, "document.querySelector('.cursor').hidden")
        .await;

    // A note is made, written on, and dragged by somebody else. What looks like markup is text.
    browser
        .evaluate(&ada, &mouse("dblclick", "#board", 0.5, 0.5))
        .await;
    let text = "<img src=x onerror='window.hacked = true'> & milk";
    browser.evaluate(&ada, &writing(text)).await;
    browser.wait_for(&grace, &reads(text)).await;
    assert_eq!(browser.evaluate(&grace, "typeof hacked").await, "undefined");
    browser
        .evaluate(&grace, &mouse("pointerdown", ".note .bar", 0.5, 0.5))
        .await;
    browser
        .evaluate(&grace, &mouse("pointermove", "#board", 0.75, 0.25))
        .await;
    browser
        .evaluate(&grace, &mouse("pointerup", "#board", 0.75, 0.25))
        .await;
    browser.wait_for(&ada, &is_at(".note", 0.75, 0.25)).await;
    browser
        .wait_for(&ada, &is_at(".cursor[data-name=Grace]", 0.75, 0.25))
        .await;
    browser.reload(&grace).await;
    browser.wait_for(&grace, &reads(text)).await;
    browser.wait_for(&grace, &is_at(".note", 0.75, 0.25)).await;

    // The server crashes; what is written meanwhile arrives when it is back.
    app.kill().await;
    browser.wait_for(&ada, &state("offline")).await;
    browser.evaluate(&ada, &writing("Bread")).await;
    app.run().await;
    for tab in [&ada, &grace] {
        browser.wait_for(tab, &reads("Bread")).await;
        browser.wait_for(tab, both_here).await;
    }
    browser
        .evaluate(
            &grace,
            "document.querySelector('.note .bar button').click()",
        )
        .await;
    browser
        .wait_for(&ada, "document.querySelector('.note') === null")
        .await;
    eventually("a board without notes", async || {
        (app.get("/boards/plan/notes").await.json()["notes"] == json!([])).then_some(())
    })
    .await;
}
