//! `portside top` and `portside events`, against `portside dev`, and `portside completion`.

use portside_store::testing::PostgresServer;
use serde_json::Value;

use crate::errors;
use crate::harness::{App, eventually};
use crate::manage::{Following, ask, counters, fails, json, run};
use crate::{folder, portside};

/// The addresses of a list.
fn addresses(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|it| it["address"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_workers_use_is_shown_and_sorted() {
    let app = App::serve(counters(), &[]).await;
    for path in ["/often", "/often", "/often", "/once", "/asleep"] {
        app.get(path).await;
    }
    ask(&app, &["workers", "sleep", "counter.js#asleep"]).await;
    let top = json(&app, &["top", "--sort-by", "events"]).await;
    assert_eq!(addresses(&top), ["counter.js#often", "counter.js#once"]);
    let often = &top["items"][0]["usage"];
    // Three links are opened, and a message comes on each.
    assert!(often["events"].as_u64().unwrap() >= 6, "{often}");
    assert!(often["memoryBytes"].as_u64().unwrap() > 500_000, "{often}");
    assert!(often["runMillis"].as_u64().unwrap() > 0, "{often}");

    let table = ask(&app, &["top"]).await;
    let rows: Vec<&str> = table.lines().collect();
    assert!(
        rows[0].starts_with("WORKER") && rows[0].contains("MEMORY"),
        "{table}"
    );
    assert!(rows.len() == 3 && rows[1].contains("Mi "), "{table}");

    let first = run(&app, &["top", "--sort-by", "requests", "--limit", "1"]).await;
    let shown = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(
        shown.contains("#often") && !shown.contains("#once"),
        "{shown}"
    );
    assert!(errors(&first).contains("1 more are left out"), "{first:?}");
    // Who sleeps uses what it has stored, and nothing else.
    let all = json(&app, &["top", "--all", "--sort-by", "bytes"]).await;
    assert_eq!(addresses(&all).len(), 3);
    let mut items = all["items"].as_array().unwrap().iter();
    let asleep = items
        .find(|it| it["address"] == "counter.js#asleep")
        .unwrap();
    assert!(
        asleep["usage"].is_null() && asleep["bytes"].as_u64().unwrap() > 0,
        "{asleep}"
    );

    // Nobody has taken anything within this second.
    let now = json(&app, &["top", "--within", "1"]).await;
    assert_eq!(now["items"][0]["usage"]["events"], 0, "{now}");
}

/// One worker in all that can happen to it here.
async fn lives(app: &App, name: &str, events: &mut Following) {
    let address = format!("counter.js#{name}");
    app.get(&format!("/{name}")).await;
    let appeared = events.find(&address).await;
    assert!(appeared.contains("Appeared"), "{appeared}");
    let mut after = async |arguments: &[&str], what: &str| {
        ask(app, arguments).await;
        let told = events.find(&address).await;
        assert!(told.contains(what), "{arguments:?}: {told}");
    };
    after(&["workers", "sleep", &address], "Slept").await;
    after(&["state", "put", &address, "count", "7"], "Changed").await;
    after(&["workers", "wake", &address], "Woke").await;
    ask(app, &["workers", "delete", &address]).await;
    events.find("Deleted").await;
}

#[tokio::test]
async fn what_happens_is_a_line_each() {
    let app = App::serve(counters(), &[]).await;
    let mut events = Following::start(&app, &["events"]);
    events.find("TIME").await;
    let mut one = Following::start(&app, &["events", "--worker", "counter.js#b", "-o", "json"]);
    lives(&app, "a", &mut events).await;
    // It is told of what comes once it has asked: until then there is something to tell.
    let first = loop {
        app.get("/b").await;
        ask(&app, &["workers", "sleep", "counter.js#b"]).await;
        if let Some(line) = one.soon().await {
            break line;
        }
    };
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["worker"]["address"], "counter.js#b", "{first}");
    let time = first["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.starts_with("20"), "{first}");
}

#[tokio::test]
async fn what_happens_in_any_pod_is_told_and_what_its_workers_use() {
    let store = PostgresServer::shared().database().await;
    let app = App::serve(counters(), &["--pods", "2", "--store", &store]).await;
    // Answered once there are pods.
    app.get("/first").await;
    let mut events = Following::start(&app, &["events"]);
    events.find("TIME").await;
    for name in ["a", "b", "c", "d"] {
        app.get(&format!("/{name}")).await;
        let told = events.find(&format!("counter.js#{name}")).await;
        assert!(told.contains("Appeared"), "{told}");
    }
    // One that moves to a pod that is new sleeps meanwhile.
    let shown = eventually("workers of both pods", async || {
        for name in ["a", "b", "c", "d"] {
            app.get(&format!("/{name}")).await;
        }
        let top = json(&app, &["top", "--sort-by", "run"]).await;
        let items = top["items"].as_array().unwrap().clone();
        (items.len() >= 4).then_some(items)
    });
    for item in shown.await {
        assert!(item["usage"]["memoryBytes"].as_u64().unwrap() > 0, "{item}");
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let app = App::serve(counters(), &[]).await;
    for (arguments, why) in [
        (&["events", "--worker", "nobody"][..], "SCRIPT#NAME"),
        (&["events", "--worker", ""], "--worker"),
        (&["top", "--limit", "0"], "a number from 1 on"),
        (&["top", "--limit", "many"], "a number from 1 on"),
        (&["top", "--sort-by", "colour"], "possible values"),
        (&["top", "--within", "0"], "1..=3600"),
        (&["top", "--pod", "p"], "unexpected argument"),
        (&["logs", "--pod", "p"], "unexpected argument"),
        (&["logs", "-o", "json"], "unexpected argument"),
    ] {
        fails(&app, arguments, why).await;
    }
}

#[tokio::test]
async fn shells_are_told_what_to_complete() {
    let empty = folder(&[]);
    for (shell, begins) in [
        ("bash", "_portside()"),
        ("zsh", "#compdef portside"),
        ("fish", "complete"),
    ] {
        let output = portside(empty.path(), &["completion", shell]).await;
        assert!(output.status.success(), "{}", errors(&output));
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains(begins) && script.contains("events"),
            "{shell}: {script}"
        );
    }
    let other = portside(empty.path(), &["completion", "csh"]).await;
    assert!(errors(&other).contains("bash, zsh, fish"), "{other:?}");
}
