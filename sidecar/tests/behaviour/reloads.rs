//! New code under load: requests that run end on the old code, those that come meanwhile wait for the new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::task::JoinHandle;

use crate::app::{Setup, TestApp};
use crate::lab::lab;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    no_request_fails_and_no_write_is_lost_under_load,
    a_running_request_ends_on_the_old_code_and_a_new_one_waits,
    requests_of_the_old_code_reach_workers_of_the_old_code,
    a_stream_goes_on_beside_new_code,
    a_request_that_is_never_answered_does_not_keep_new_code_waiting,
    code_whose_server_cannot_be_loaded_replaces_nothing,
];

/// Code that can tell which it is.
fn version(version: u32) -> Setup {
    lab(&format!(
        r#"
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const jobs = {{
  async count() {{
    await storage.transaction(async (txn) => txn.put("n", (await txn.get("n") ?? 0) + 1));
    await sleep(2);
    return "counted";
  }},
  total: () => storage.get("n"),
  version: () => "{version}",
  async slow() {{
    console.log("slow begins");
    await sleep(500);
    return "{version}";
  }},
  async cross(other) {{
    console.log("cross begins");
    await sleep(500);
    const {{ port }} = new ServerlessWorker("./worker.js", other);
    const answer = new Promise((resolve) => {{
      port.onmessage = ({{ data }}) => resolve(data.text);
      port.onclose = ({{ reason }}) => resolve(`closed: ${{reason}}`);
    }});
    port.postMessage({{ job: "version" }});
    const text = await answer;
    port.close();
    return text;
  }},
}};"#
    ))
}

fn ask(app: &Arc<TestApp>, path: &str) -> JoinHandle<(u16, String)> {
    let (app, path) = (app.clone(), path.to_owned());
    tokio::spawn(async move { app.get(&path).await })
}

async fn no_request_fails_and_no_write_is_lost_under_load() {
    const WORKERS: usize = 3;
    const CALLERS: usize = 4;
    let app = Arc::new(version(0).start().await);
    let over = Arc::new(AtomicBool::new(false));
    let call = |worker: usize| {
        let (app, over) = (app.clone(), over.clone());
        tokio::spawn(async move {
            let mut counted = 0;
            while !over.load(Ordering::Relaxed) {
                let answer = app.get(&format!("/w{worker}/count")).await;
                assert_eq!(answer.0, 200, "{}", answer.1);
                counted += 1;
            }
            counted
        })
    };
    let callers: Vec<_> = (0..WORKERS)
        .map(|worker| (0..CALLERS).map(|_| call(worker)).collect::<Vec<_>>())
        .collect();
    for next in 1..=8 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        app.replace(version(next).class()).await.unwrap();
    }
    app.eventually("/w0/version", "8").await;
    over.store(true, Ordering::Relaxed);
    for (worker, callers) in callers.into_iter().enumerate() {
        let counted = join_all(callers).await.into_iter().map(Result::unwrap);
        let counted: usize = counted.sum();
        let total = app.text(&format!("/w{worker}/total")).await;
        assert_eq!(total, counted.to_string());
    }
    app.app.shut_down().await;
}

async fn a_running_request_ends_on_the_old_code_and_a_new_one_waits() {
    let app = Arc::new(version(1).start().await);
    let old = ask(&app, "/w/slow");
    app.expect_log("slow begins").await;
    app.replace(version(2).class()).await.unwrap();
    let new = ask(&app, "/w/version");
    assert_eq!(app.text("/other/version").await, "2");
    assert_eq!(old.await.unwrap(), (200, "1".into()));
    assert_eq!(new.await.unwrap(), (200, "2".into()));
    app.app.shut_down().await;
}

/// Two workers of the old code, each held by a request, ask each other something: neither waits for the new one, which would
/// wait for both.
async fn requests_of_the_old_code_reach_workers_of_the_old_code() {
    let app = Arc::new(version(1).start().await);
    let crossing = [ask(&app, "/v/cross?w"), ask(&app, "/w/cross?v")];
    let begun = crate::app::eventually(async || app.count_logged("cross begins") == 2);
    assert!(begun.await);
    app.replace(version(2).class()).await.unwrap();
    let new = [ask(&app, "/v/version"), ask(&app, "/w/version")];
    for old in crossing {
        assert_eq!(old.await.unwrap(), (200, "1".into()));
    }
    for new in new {
        assert_eq!(new.await.unwrap(), (200, "2".into()));
    }
    app.app.shut_down().await;
}

fn streaming(version: u32) -> Setup {
    Setup::new(&[(
        "server.js",
        &format!(
            r#"
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export default {{
  async fetch(request) {{
    const {{ pathname }} = new URL(request.url);
    if (pathname === "/never") return new Promise(() => console.log("never begins"));
    if (pathname !== "/stream") return new Response("{version}");
    const body = new ReadableStream({{
      async start(controller) {{
        for (let n = 0; n < 8; n++) {{
          controller.enqueue(new TextEncoder().encode("{version}"));
          await sleep(500);
        }}
        controller.close();
      }},
    }});
    return new Response(body);
  }},
}};"#
        ),
    )])
}

async fn a_stream_goes_on_beside_new_code() {
    let app = Arc::new(streaming(1).start().await);
    let stream = app.request("GET", "/stream", "").await.unwrap();
    let began = Instant::now();
    app.replace(streaming(2).class()).await.unwrap();
    assert_eq!(app.text("/").await, "2");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(crate::app::text(stream.body).await, "11111111");
    app.app.shut_down().await;
}

async fn a_request_that_is_never_answered_does_not_keep_new_code_waiting() {
    let app = Arc::new(streaming(1).start().await);
    let never = ask(&app, "/never");
    app.expect_log("never begins").await;
    let began = Instant::now();
    app.replace(streaming(2).class()).await.unwrap();
    assert_eq!(app.text("/").await, "2");
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "{:?}",
        began.elapsed()
    );
    never.abort();
    app.app.shut_down().await;
}

async fn code_whose_server_cannot_be_loaded_replaces_nothing() {
    let app = streaming(1).start().await;
    for (broken, why) in [
        ("throw new Error('boom');", "boom"),
        ("const all = []; for (;;) all.push({});", "heap"),
    ] {
        let mut broken = Setup::new(&[("server.js", broken)]);
        broken.limits.heap_bytes = 32 << 20;
        let refused = app.replace(broken.class()).await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(app.text("/").await, "1");
    }
    app.replace(streaming(2).class()).await.unwrap();
    assert_eq!(app.text("/").await, "2");
    app.stop().await;
}
