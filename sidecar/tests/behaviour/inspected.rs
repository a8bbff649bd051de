//! A worker that debuggers look at, among others of a pod.

use std::sync::Arc;

use futures::FutureExt;
use portside_core::ids::WorkerKey;
use portside_runtime::{Debugger, Inspector, IsolatePool};
use portside_sidecar::manage::{Desk, Inspects};
use serde_json::{Value as Json, json};

use crate::app::{Setup, TestApp};
use crate::cases;
use crate::manage::{ask, awake, order};
use crate::objects::with_objects;

pub const CASES: &[crate::Case] = cases![
    only_the_worker_that_is_asked_for_is_inspected,
    one_that_does_not_begin_is_like_all_others_afterwards,
    one_asks_at_a_time,
    one_that_is_paused_is_put_to_sleep_all_the_same,
    one_that_cannot_be_inspected_alone_says_so,
];

const JOBS: &str = r#"
if (self.name === "broken") throw new Error("it is broken");
let heard = 0;
export const jobs = {
  heard: () => ++heard,
  keep: async () => { await storage.put("kept", 7); return "kept"; },
  kept: async () => await storage.get("kept"),
};
"#;

/// An application whose workers can be inspected, at a port that nobody listens on.
async fn start(mut setup: Setup) -> (TestApp, Arc<Inspector>) {
    let (isolates, inspector) = IsolatePool::inspected_on_request(1, 8, |_| {});
    setup.isolates = Some(Arc::new(isolates));
    let app = setup.start().await;
    let listen = |_| {
        let path = "/ws/".to_owned();
        async { Ok(Desk { port: 9, path }) }.boxed()
    };
    let inspects = Inspects::new(inspector.clone(), Box::new(listen));
    app.owner().inspected_by(inspects);
    (app, inspector)
}

/// The value of an expression in the isolate.
async fn evaluate(debugger: &mut Debugger, expression: &str) -> Json {
    let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
    let call = json!({ "id": 7, "method": "Runtime.evaluate", "params": params });
    debugger.send(call.to_string());
    loop {
        let message = debugger.message().await.unwrap();
        let message: Json = serde_json::from_str(&message).unwrap();
        if message["id"] == 7 {
            return message["result"]["result"]["value"].clone();
        }
    }
}

async fn only_the_worker_that_is_asked_for_is_inspected() {
    let (app, inspector) = start(awake(JOBS)).await;
    for name in ["one", "other"] {
        assert_eq!(app.text(&format!("/{name}/keep")).await, "kept");
        assert_eq!(app.text(&format!("/{name}/heard")).await, "1");
    }
    assert!(inspector.targets().is_empty());
    let path = "/workers/worker.js%23one/inspect";
    let (status, inspected) = ask(&app, "POST", path, "").await;
    assert_eq!(status, 200, "{inspected}");
    assert_eq!(inspected["port"], 9);
    let secret = inspected["path"].as_str().unwrap();
    let secret = secret.strip_prefix("/ws/").unwrap().to_owned();
    let mut debugger = inspector.attach_by(&secret).unwrap();
    let name = evaluate(&mut debugger, "self.name").await;
    assert_eq!(name, "one");
    let targets = inspector.targets();
    assert!(
        matches!(&*targets, [one] if one.title == "worker.js#one"),
        "{targets:?}"
    );
    // It has begun anew, with what is stored; the other has not.
    assert_eq!(app.text("/one/kept").await, "7");
    assert_eq!(app.text("/one/heard").await, "1");
    assert_eq!(app.text("/other/heard").await, "2");

    // Asked for again, it is the same.
    let (_, again) = ask(&app, "POST", path, "").await;
    assert_eq!(again, inspected);
    assert_eq!(app.text("/one/heard").await, "2");
    // Nobody can look any more at what begins later without being asked for.
    drop(debugger);
    order(&app, "POST", "/workers/worker.js%23one/sleep", "").await;
    assert_eq!(app.text("/one/kept").await, "7");
    assert!(inspector.targets().is_empty());
    let one = WorkerKey::new("worker.js", "one").unwrap();
    assert!(!inspector.is_wanted(&one));

    // The secret was that isolate's alone.
    let (_, next) = ask(&app, "POST", path, "").await;
    assert_ne!(next, inspected);
    assert!(inspector.attach_by(&secret).is_none());
}

async fn one_that_does_not_begin_is_like_all_others_afterwards() {
    let (app, inspector) = start(awake(JOBS)).await;
    let path = "/workers/worker.js%23broken/inspect";
    let (status, answer) = ask(&app, "POST", path, "").await;
    assert_ne!(status, 200, "{answer}");
    let broken = WorkerKey::new("worker.js", "broken").unwrap();
    assert!(!inspector.is_wanted(&broken));
}

async fn one_asks_at_a_time() {
    let (app, inspector) = start(awake(JOBS)).await;
    let one = WorkerKey::new("worker.js", "one").unwrap();
    let first = inspector.want(&one).unwrap();
    let path = "/workers/worker.js%23one/inspect";
    let (status, answer) = ask(&app, "POST", path, "").await;
    assert_eq!(status, 503, "{answer}");
    assert!(inspector.is_wanted(&one));
    drop(first);
    let (status, answer) = ask(&app, "POST", path, "").await;
    assert_eq!(status, 200, "{answer}");
}

async fn one_that_cannot_be_inspected_alone_says_so() {
    let module = r#"
import { DurableObject } from "cloudflare:workers";
export class Room extends DurableObject {}
export default { fetch: () => new Response("hello") };
"#;
    let room = || with_objects(module, &[("ROOM", "Room")]);
    let path = "/workers/Room%23lobby/inspect";
    let why = async |app: &TestApp| {
        let (status, answer) = ask(app, "POST", path, "").await;
        assert_eq!(status, 409, "{answer}");
        answer["error"].as_str().unwrap().to_owned()
    };
    let (app, _) = start(room()).await;
    assert!(why(&app).await.contains("shares the isolate"));
    let app = room().start().await;
    assert!(why(&app).await.contains("--inspect"));
}

async fn one_that_is_paused_is_put_to_sleep_all_the_same() {
    let (app, inspector) = start(awake(JOBS)).await;
    let path = "/workers/worker.js%23one/inspect";
    let (_, inspected) = ask(&app, "POST", path, "").await;
    let secret = inspected["path"].as_str().unwrap();
    let secret = secret.strip_prefix("/ws/").unwrap();
    let mut debugger = inspector.attach_by(secret).unwrap();
    for call in ["Debugger.enable", "Debugger.pause"] {
        debugger.send(json!({ "id": 1, "method": call }).to_string());
    }
    let pauses = async {
        while let Some(message) = debugger.message().await {
            if message.contains("Debugger.paused") {
                break;
            }
        }
        let sleep = order(&app, "POST", "/workers/worker.js%23one/sleep", "");
        let is_sent_away = async move { while debugger.message().await.is_some() {} };
        futures::future::join(sleep, is_sent_away).await;
    };
    // What was held up is cut off.
    let (heard, ()) = futures::future::join(app.get("/one/heard"), pauses).await;
    assert_eq!(heard.0, 503, "{heard:?}");
    assert!(inspector.targets().is_empty());
}
