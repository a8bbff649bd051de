//! Section 9: sleep and wake.

use std::time::Duration;

use crate::app::{Setup, TestApp};
use crate::held::{HeldStore, Mode};
use crate::lab::{is_replaced, lab, recovers};
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r071_idle_workers_sleep_and_wake,
    r072_wait_until_keeps_awake,
    r072_wait_until_rejections_are_logged,
    r073_open_ports_keep_awake,
    r073_timers_keep_awake,
    r073_running_handlers_keep_awake,
    r073_unfinished_writes_keep_awake,
    r073_pending_fetches_keep_awake,
    r074_nothing_runs_on_sleep,
    r075_new_code_takes_over,
];

const IDLE: Duration = Duration::from_millis(50);
/// Long enough to fall asleep many times over.
const PAUSE: Duration = Duration::from_millis(600);

async fn start(user: &str) -> TestApp {
    let mut setup = lab(user);
    setup.limits.idle = IDLE;
    setup.start().await
}

/// Asserts that no idle time puts the worker to sleep, then that it does sleep once `/w/release` was called.
async fn stays_awake_until_released(app: &TestApp) {
    let first = app.text("/w/born").await;
    tokio::time::sleep(PAUSE).await;
    assert_eq!(app.text("/w/born").await, first, "it was put to sleep");
    app.text("/w/release").await;
    assert!(is_replaced(app, "/w/born", PAUSE).await, "it never sleeps");
}

async fn r071_idle_workers_sleep_and_wake() {
    let user = r#"
        console.log("evaluated");
        const born = crypto.randomUUID();
        let memory = 0;
        export const jobs = { born: () => born, async count() { const n = (await storage.get("n") ?? 0) + 1; storage.put("n", n); return [++memory, n]; } };
    "#;
    let app = start(user).await;
    assert_eq!(app.text("/w/count").await, "[1,1]");
    assert!(is_replaced(&app, "/w/born", PAUSE).await);
    assert!(is_replaced(&app, "/w/born", PAUSE).await);
    assert_eq!(app.text("/x/count").await, "[1,1]");
    tokio::time::sleep(PAUSE).await;
    assert_eq!(app.text("/x/count").await, "[1,2]");
    app.stop().await;
}

async fn r072_wait_until_keeps_awake() {
    let user = r#"
        const born = crypto.randomUUID();
        const { promise, resolve } = Promise.withResolvers();
        waitUntil(promise);
        waitUntil("not a promise");
        export const jobs = { born: () => born, release: () => { resolve(); return "released"; } };
    "#;
    let app = start(user).await;
    stays_awake_until_released(&app).await;
    app.stop().await;
}

async fn r072_wait_until_rejections_are_logged() {
    let user = r#"
        export const jobs = { reject() { waitUntil(Promise.reject(new Error("told nobody"))); return "rejected"; } };
    "#;
    let app = start(user).await;
    assert_eq!(app.text("/w/reject").await, "rejected");
    app.expect_log("told nobody").await;
    assert_eq!(app.text("/w/reject").await, "rejected");
    app.stop().await;
}

async fn r073_open_ports_keep_awake() {
    let server = r#"
        const holders = [];
        export default {
          async fetch(request, env, context) {
            const job = new URL(request.url).pathname.split("/")[2];
            if (job === "release") {
              for (const release of holders) release();
              return new Response("released");
            }
            const { promise, resolve } = Promise.withResolvers();
            const { port } = new ServerlessWorker("./worker.js");
            port.onmessage = ({ data }) => resolve(new Response(data));
            port.postMessage("born");
            if (job === "hold") context.waitUntil(new Promise((release) => holders.push(release)));
            return promise;
          },
        };
    "#;
    let worker = r#"
        const born = crypto.randomUUID();
        export default { connect({ ports: [port] }) { port.onmessage = () => port.postMessage(born); } };
    "#;
    let mut setup = Setup::new(&[("server.js", server), ("worker.js", worker)]);
    setup.limits.idle = IDLE;
    let app = setup.start().await;
    let held = app.text("/w/hold").await;
    tokio::time::sleep(PAUSE).await;
    assert_eq!(app.text("/w/born").await, held, "it was put to sleep");
    // The request is held by one of two servers: ask until both were asked.
    for _ in 0..4 {
        futures::future::join_all((0..8).map(|_| app.text("/w/release"))).await;
    }
    assert!(is_replaced(&app, "/w/born", PAUSE).await, "it never sleeps");
    app.stop().await;
}

async fn r073_timers_keep_awake() {
    let user = r#"
        const born = crypto.randomUUID();
        const timer = setInterval(() => {}, 20);
        const far = setTimeout(() => {}, 1e8);
        export const jobs = { born: () => born, release: () => { clearInterval(timer); clearTimeout(far); return "released"; } };
    "#;
    let app = start(user).await;
    stays_awake_until_released(&app).await;
    app.stop().await;
}

async fn r073_running_handlers_keep_awake() {
    // The caller's request is over, its connect handler is not.
    let server = r#"
        export default {
          async fetch(request) {
            const { promise, resolve } = Promise.withResolvers();
            const { port } = new ServerlessWorker("./worker.js");
            port.onmessage = ({ data }) => resolve(new Response(data));
            port.postMessage(new URL(request.url).pathname);
            return promise;
          },
        };
    "#;
    let worker = r#"
        const born = crypto.randomUUID();
        const { promise, resolve } = Promise.withResolvers();
        let first = true;
        export default {
          async connect({ ports: [port] }) {
            port.onmessage = ({ data }) => {
              if (data === "/w/release") resolve();
              port.postMessage(born);
            };
            if (first) {
              first = false;
              await promise;
            }
          },
        };
    "#;
    let mut setup = Setup::new(&[("server.js", server), ("worker.js", worker)]);
    setup.limits.idle = IDLE;
    let app = setup.start().await;
    let first = app.text("/w/born").await;
    tokio::time::sleep(PAUSE).await;
    assert_eq!(app.text("/w/born").await, first, "it was put to sleep");
    assert_eq!(app.text("/w/release").await, first);
    // Each new instance's first handler waits in turn, so ask for the release each time.
    assert!(
        is_replaced(&app, "/w/release", PAUSE).await,
        "it never sleeps"
    );
    app.stop().await;
}

async fn r073_unfinished_writes_keep_awake() {
    let user = r#"
        const born = crypto.randomUUID();
        export const jobs = {
          born: () => born,
          late() { setTimeout(() => storage.put("k", born), 10); return born; },
          async stored() { return await storage.get("k") ?? "nothing"; },
        };
    "#;
    let store = HeldStore::new().await;
    let mut setup = lab(user);
    setup.limits.idle = IDLE;
    setup.store = Some(store.clone());
    let app = setup.start().await;
    store.set(Mode::Held);
    let first = app.text("/w/late").await;
    store.is_asked().await;
    tokio::time::sleep(PAUSE).await;
    let (awake, ()) = tokio::join!(app.text("/w/born"), async { store.set(Mode::Open) });
    assert_eq!(
        awake, first,
        "it was put to sleep before its write was durable"
    );
    assert!(is_replaced(&app, "/w/born", PAUSE).await);
    assert_eq!(app.text("/w/stored").await, first);
    app.stop().await;
}

async fn r073_pending_fetches_keep_awake() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let user = format!(
        r#"
        const born = crypto.randomUUID();
        const abort = new AbortController();
        if (!(await storage.get("fetched"))) fetch("http://{}/", {{ signal: abort.signal }}).catch(() => {{}});
        await storage.put("fetched", true);
        export const jobs = {{ born: () => born, release: () => {{ abort.abort(); return "released"; }} }};
        "#,
        listener.local_addr().unwrap()
    );
    let app = start(&user).await;
    stays_awake_until_released(&app).await;
    app.stop().await;
}

async fn r074_nothing_runs_on_sleep() {
    let user = r#"
        const born = crypto.randomUUID();
        for (const name of ["beforeunload", "unload", "pagehide", "close", "sleep"]) addEventListener(name, () => console.log(`ran ${name}`));
        export const jobs = { born: () => born };
    "#;
    let app = start(user).await;
    assert!(is_replaced(&app, "/w/born", PAUSE).await);
    assert!(!app.logged("ran "));
    app.stop().await;
}

async fn r075_new_code_takes_over() {
    let version = |number: u32| {
        format!(
            r#"export const jobs = {{
                version: () => {number},
                async count() {{ const n = (await storage.get("n") ?? 0) + 1; storage.put("n", n); return n; }},
            }};"#
        )
    };
    let app = lab(&version(1)).start().await;
    assert_eq!(app.text("/w/version").await, "1");
    assert_eq!(app.text("/w/count").await, "1");
    app.replace(lab(&version(2)).class()).await.unwrap();
    recovers(&app, "/w/version", "2").await;
    assert_eq!(app.text("/w/count").await, "2");
    app.stop().await;
}
