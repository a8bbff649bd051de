//! Turns that are killed, or that end with commits on their way: all of what they wrote counts, or nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::app::{Setup, TestApp, eventually};
use crate::held::{HeldStore, Mode};
use crate::hostile::limited;
use crate::lab::recovers;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    a_turn_that_loops_leaves_nothing,
    a_turn_that_exhausts_the_heap_leaves_nothing,
    events_behind_a_killed_turn_run_in_the_successor,
    short_stretches_do_not_add_up,
    a_worker_that_dies_while_the_process_closes_is_not_started_again,
    a_successor_waits_for_the_commits_of_a_dead_instance,
    who_takes_a_sleeping_workers_place_waits_for_its_commits,
    a_put_that_does_not_fit_stores_nothing,
    a_transaction_that_does_not_fit_stores_nothing,
    nobody_is_woken_by_what_is_not_durable,
    an_answer_of_an_instance_that_ends_is_not_taken_for_whole,
    what_is_logged_names_the_request,
];

const TORN: &str = r#"export const jobs = {
    ping: () => "pong",
    torn: async () => [await storage.get("torn"), await storage.get("other")],
    loop() { storage.put("torn", 1); for (;;) {} },
    leak() { storage.put("torn", 1); const kept = []; for (;;) kept.push(new Array(1000).fill(Math.random())); },
    wait() { const end = performance.now() + 200; while (performance.now() < end); return "done"; },
    // Some tenths of a second of CPU time, whatever else the machine does.
    stretch() { let n = 0; for (let i = 0; i < 200_000_000; i++) n = (n + i) | 0; return `done${n & 0}`; },
};"#;

async fn killed(job: &str) {
    let app = limited(TORN).start().await;
    assert_ne!(app.get(&format!("/w/{job}")).await.0, 200);
    recovers(&app, "/w/torn", "[null,null]").await;
    app.stop().await;
}

async fn a_turn_that_loops_leaves_nothing() {
    killed("loop").await;
}

async fn a_turn_that_exhausts_the_heap_leaves_nothing() {
    killed("leak").await;
}

fn ask(app: &Arc<TestApp>, path: &str) -> tokio::task::JoinHandle<(u16, String)> {
    let (app, path) = (app.clone(), path.to_owned());
    tokio::spawn(async move { app.get(&path).await })
}

async fn events_behind_a_killed_turn_run_in_the_successor() {
    let app = limited(TORN).start().await;
    assert_eq!(app.text("/w/ping").await, "pong");
    // All of it reaches the worker while it is busy.
    let jobs = format!("wait+loop{}", "+ping".repeat(20));
    let answers = app.text(&format!("/w/{jobs}")).await;
    let mut answers: Vec<(String, u16)> = serde_json::from_str(&answers).unwrap();
    let behind = answers.split_off(2);
    assert_eq!(answers[0], ("done".to_owned(), 200));
    assert_eq!(answers[1].1, 503);
    for answer in behind {
        assert_eq!(answer, ("pong".to_owned(), 200));
    }
    assert_eq!(app.text("/w/torn").await, "[null,null]");
    app.stop().await;
}

/// What waits for it is turned away: another instance would have to be waited for.
async fn a_worker_that_dies_while_the_process_closes_is_not_started_again() {
    let user = format!("console.log('born'); {TORN}");
    let app = Arc::new(limited(&user).start().await);
    assert_eq!(app.text("/w/ping").await, "pong");
    let mut asked = vec![ask(&app, "/w/loop")];
    tokio::time::sleep(Duration::from_millis(100)).await; // it loops for a second
    asked.extend((0..5).map(|_| ask(&app, "/w/ping")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    app.app.shut_down().await;
    assert_eq!(app.count_logged("born"), 1);
    for answer in asked {
        assert_ne!(answer.await.unwrap().0, 200);
    }
}

/// Together they take more than the limit of a second.
async fn short_stretches_do_not_add_up() {
    let app = Arc::new(limited(TORN).start().await);
    let asked: Vec<_> = (0..20).map(|_| ask(&app, "/w/stretch")).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), (200, "done0".to_owned()));
    }
    app.app.shut_down().await;
}

async fn a_successor_waits_for_the_commits_of_a_dead_instance() {
    let user = r#"export const jobs = {
        ping: () => "pong",
        get: () => storage.get("k"),
        async die() { storage.put("k", 1); await new Promise((go) => setTimeout(go, 50)); for (;;) {} },
    };"#;
    let store = HeldStore::new().await;
    let setup = Setup {
        store: Some(store.clone()),
        ..limited(user)
    };
    let app = Arc::new(setup.start().await);
    assert_eq!(app.text("/w/ping").await, "pong");
    store.take_asked();
    store.set(Mode::Held);
    let died = ask(&app, "/w/die");
    store.is_asked().await;
    assert_ne!(died.await.unwrap().0, 200);
    // Time in which it could be forgotten, and another loaded from what is stored so far.
    let forgotten = eventually(async || app.awake() == 0);
    let _ = tokio::time::timeout(Duration::from_millis(500), forgotten).await;
    let read = ask(&app, "/w/get");
    tokio::time::sleep(Duration::from_millis(500)).await;
    store.set(Mode::Open);
    assert_eq!(read.await.unwrap(), (200, "1".to_owned()));
    app.app.shut_down().await;
}

/// A worker falls asleep over an alarm whose handler never ends. That this delivery failed is being stored when somebody
/// wakes the worker anew: what takes its place must know of the alarm as it is then, or it would not handle it.
async fn who_takes_a_sleeping_workers_place_waits_for_its_commits() {
    let user = r#"
        console.log("born");
        export const jobs = {
            async arm() { await setAlarm(Date.now() + 100); return "armed"; },
            ping: () => "pong",
        };
        export function alarm({ retryCount }) {
            console.log(`rings, ${retryCount}`);
            if (retryCount === 0) return new Promise(() => {});
        }"#;
    let store = HeldStore::new().await;
    let mut setup = crate::lab::lab(user);
    setup.store = Some(store.clone());
    setup.limits.wait_until = Duration::from_millis(500);
    let app = Arc::new(setup.start().await);
    assert_eq!(app.text("/w/arm").await, "armed");
    app.expect_log("rings, 0").await;
    store.take_asked();
    store.set(Mode::Held);
    store.is_asked().await; // it sleeps
    assert_eq!(app.count_logged("born"), 1);
    let woken = ask(&app, "/w/ping");
    let early = eventually(async || app.count_logged("born") > 1);
    let early = tokio::time::timeout(Duration::from_millis(500), early).await;
    assert!(early.is_err(), "it was loaded from what is stored so far");
    store.set(Mode::Open);
    assert_eq!(woken.await.unwrap(), (200, "pong".to_owned()));
    // It stays awake until its alarm rings again.
    let rings = eventually(async || app.text("/w/ping").await == "pong" && app.logged("rings, 1"));
    assert!(rings.await);
    assert_eq!(app.count_logged("born"), 2);
    app.app.shut_down().await;
}

const LARGE: &str = r#"
const entries = (n) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${i}`, new Uint8Array(2_000_000)]));
export const jobs = {
    put: () => storage.put(entries(40)),
    txn: () => storage.transaction(async (txn) => { await txn.put(entries(20)); for (let i = 20; i < 40; i++) await txn.put(`k${i}`, new Uint8Array(2_000_000)); }),
    count: async () => (await storage.list()).size,
};"#;

async fn stores_nothing(job: &str) {
    let app = crate::lab::lab(LARGE).start().await;
    let (status, text) = app.get(&format!("/w/{job}")).await;
    assert_eq!(status, 500, "{text}");
    assert!(
        text.starts_with("ServerlessWorkerOverloadedError"),
        "{text}"
    );
    assert_eq!(app.text("/w/count").await, "0");
    app.stop().await;
}

async fn a_put_that_does_not_fit_stores_nothing() {
    stores_nothing("put").await;
}

async fn a_transaction_that_does_not_fit_stores_nothing() {
    stores_nothing("txn").await;
}

async fn nobody_is_woken_by_what_is_not_durable() {
    const OTHER: &str = r#"
console.log("woken");
export default { connect({ ports: [port] }) { port.onmessage = () => port.postMessage("heard"); } };"#;
    let user = r#"export const jobs = {
        tell() {
            storage.put("k", 1);
            const { port } = new ServerlessWorker("./other.js", "o");
            return new Promise((resolve) => { port.onmessage = ({ data }) => resolve(data); port.postMessage("hello"); });
        },
    };"#;
    let store = HeldStore::new().await;
    let mut setup = crate::lab::lab(user);
    setup.add("other.js", OTHER);
    setup.store = Some(store.clone());
    let app = Arc::new(setup.start().await);
    store.set(Mode::Held);
    let answer = ask(&app, "/w/tell");
    store.is_asked().await;
    tokio::time::sleep(Duration::from_secs(1)).await; // time to wake it
    assert!(!app.logged("woken"), "another worker can act on it");
    store.set(Mode::Open);
    assert_eq!(answer.await.unwrap(), (200, "heard".to_owned()));
    app.app.shut_down().await;
}

async fn an_answer_of_an_instance_that_ends_is_not_taken_for_whole() {
    use futures::StreamExt;
    use portside_exchange::Body;
    let mut setup = Setup::new(&[(
        "server.js",
        r#"export default { fetch() {
            let sent = false;
            return new Response(new ReadableStream({
                async pull(controller) {
                    if (!sent) { sent = true; return controller.enqueue(new TextEncoder().encode("half ")); }
                    for (;;) {}
                },
            }));
        } };"#,
    )]);
    setup.limits.cpu = Duration::from_millis(300);
    let app = setup.start().await;
    let response = app.request("GET", "/", "").await.unwrap();
    let Body::Stream(stream) = response.body else {
        panic!("a stream")
    };
    let chunks: Vec<_> = stream.collect().await;
    assert!(chunks.last().unwrap().is_err(), "{chunks:?}");
    assert!(eventually(async || app.logged("CPU time")).await);
    app.stop().await;
}

async fn what_is_logged_names_the_request() {
    let user = r#"export const jobs = { say() { console.log("said"); return "done"; } };"#;
    let app = crate::lab::lab(user).start().await;
    let mut request = portside_exchange::Request {
        method: http::Method::GET,
        url: "http://app.test/w/say".into(),
        headers: http::HeaderMap::new(),
        body: portside_exchange::Body::Empty,
        websocket: false,
    };
    let name = http::HeaderValue::from_static("request-7");
    request.headers.insert("x-request-id", name);
    portside_exchange::Application::fetch(&*app.app, request)
        .await
        .unwrap();
    app.expect_log("said").await;
    let log = app.log.lock().unwrap().clone();
    let line = log.iter().find(|line| line.text == "said").unwrap();
    assert_eq!(line.request.as_deref(), Some("request-7"), "across a port");
    app.stop().await;
}
