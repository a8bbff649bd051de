//! Reminders, from outside.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{App, eventually};

const ADA: &str = "/users/ada/reminders";

/// Sets a reminder some seconds ahead and returns it.
async fn remind(app: &App, text: &str, seconds: f64) -> Value {
    let reply = app.post(ADA, &json!({ "text": text, "in": seconds })).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()
}

fn texts(reminders: &Value) -> Vec<&str> {
    let reminders = reminders.as_array().unwrap();
    reminders
        .iter()
        .map(|reminder| reminder["text"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn one_alarm_serves_many_reminders_in_order() {
    let app = App::start("reminder").await;
    remind(&app, "second", 3.0).await;
    remind(&app, "never", 3600.0).await;
    remind(&app, "first", 1.0).await;

    let list = eventually("two fired reminders", async || {
        let list = app.get(ADA).await.json();
        (texts(&list["fired"]).len() == 2).then_some(list)
    })
    .await;
    assert_eq!(texts(&list["fired"]), ["first", "second"]);
    assert_eq!(texts(&list["pending"]), ["never"]);
    for reminder in list["fired"].as_array().unwrap() {
        // ISO dates compare as text.
        let time = |name: &str| reminder[name].as_str().unwrap().to_owned();
        assert!(time("firedAt") >= time("due"), "fired early: {reminder}");
    }
}

#[tokio::test]
async fn alarms_outlive_a_crash_without_anybody_asking() {
    let mut app = App::start("reminder").await;
    remind(&app, "later", 9.0).await;
    remind(&app, "missed", 3.0).await;
    app.kill().await;
    // Time has to pass while nothing runs.
    tokio::time::sleep(Duration::from_secs(3)).await;
    app.run().await;
    // Only the alarms wake the worker: no request is made until both have fired.
    app.wrote("reminder for ada: missed").await;
    app.wrote("reminder for ada: later").await;

    let list = app.get(ADA).await.json();
    assert_eq!(texts(&list["fired"]), ["missed", "later"]);
    assert_eq!(texts(&list["pending"]), [""; 0]);
}

#[tokio::test]
async fn an_alarm_wakes_a_sleeping_worker() {
    let app = App::start("reminder").await;
    // Well past the four idle seconds after which class.yaml lets the worker sleep.
    remind(&app, "wake up", 10.0).await;
    let before = app.get(ADA).await.json();
    app.wrote("reminder for ada: wake up").await;

    let after = app.get(ADA).await.json();
    let fired = &after["fired"][0];
    assert_eq!(fired["text"], "wake up");
    // ISO dates compare as text: the module that fired was evaluated anew.
    let awake = |value: &Value| value["awakeSince"].as_str().unwrap().to_owned();
    assert!(awake(fired) > awake(&before), "it had not slept: {fired}");
}

#[tokio::test]
async fn a_removed_reminder_does_not_fire() {
    let app = App::start("reminder").await;
    let removed = remind(&app, "removed", 4.0).await;
    remind(&app, "kept", 4.2).await;
    let path = format!("{ADA}/{}", removed["id"].as_str().unwrap());
    let delete = async || app.request(Method::DELETE, &path, &[], "").await.status;
    assert_eq!(delete().await, 204);
    assert_eq!(delete().await, 404);

    app.wrote("reminder for ada: kept").await;
    let list = app.get(ADA).await.json();
    assert_eq!(texts(&list["fired"]), ["kept"]);
    let other = app.get("/users/grace/reminders").await.json();
    assert_eq!(texts(&other["fired"]), [""; 0], "each user has their own");
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("reminder").await;
    for body in [
        json!(null),
        json!({ "in": 1 }),
        json!({ "text": " ", "in": 1 }),
        json!({ "text": "x" }),
        json!({ "text": "x", "in": 1, "at": "2999-01-01" }),
        json!({ "text": "x", "in": "1" }),
        json!({ "text": "x", "at": "whenever" }),
        json!({ "text": "x", "at": "1999-01-01" }),
    ] {
        let reply = app.post(ADA, &body).await;
        assert_eq!(reply.status, 400, "{body}");
    }
    let put = app.request(Method::PUT, ADA, &[], "").await;
    assert_eq!(put.status, 405);
    assert_eq!(put.header("allow"), "GET, POST");
    assert_eq!(app.get("/").await.status, 404);
}
