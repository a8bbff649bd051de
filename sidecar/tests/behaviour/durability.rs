//! What the store's failures may and may not do to a worker's state.

use std::sync::Arc;
use std::time::Duration;

use portside_core::ids::{SHARDS, WorkerKey};
use portside_store::Store;
use tokio::time::timeout;

use crate::app::{Setup, TestApp, eventually};
use crate::held::{HeldStore, Mode};
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    nothing_is_durable_on_top_of_a_failed_commit,
    who_waits_for_a_store_that_fails_hears_of_it,
    a_store_that_does_not_load_a_worker_fails_only_who_asks_then,
    a_worker_answers_after_the_answer_to_its_settling_was_lost,
    a_worker_answers_when_two_settlings_of_its_shard_meet,
];

const SERVER: &str = r#"
export default {
  fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const { port } = new ServerlessWorker("./worker.js", searchParams.get("name") ?? "a");
    return new Promise((resolve, reject) => {
      let failed = "";
      port.onmessage = (event) => resolve(new Response(String(event.data)));
      if (pathname === "/error") port.onerror = ({ error }) => failed = `${error.code}: ${error.message}, then `;
      port.onclose = (event) => resolve(new Response(failed + event.code));
      port.postMessage(pathname);
    });
  },
};"#;

/// The second put's turn begins before the first put's commit fails, and ends after the shard has moved on.
const WORKER: &str = r#"
const stored = [await storage.get("first"), await storage.get("second")];
export default {
  connect({ ports: [port] }) {
    port.onmessage = async ({ data }) => {
      if (data === "/stored") return port.postMessage(JSON.stringify(stored));
      storage.put("first", 1);
      await new Promise((resolve) => setTimeout(resolve, 0));
      const end = performance.now() + 1_000;
      while (performance.now() < end);
      storage.put("second", 2);
    };
  },
};"#;

/// The application, its worker awake, on a store that tests hold up.
async fn start() -> (TestApp, Arc<HeldStore>) {
    let store = HeldStore::new().await;
    let mut setup = Setup::new(&[("server.js", SERVER), ("worker.js", WORKER)]);
    setup.store = Some(store.clone());
    let app = setup.start().await;
    assert_eq!(app.text("/stored").await, "[null,null]");
    (app, store)
}

async fn nothing_is_durable_on_top_of_a_failed_commit() {
    let (app, store) = start().await;
    fail_a_commit(&app, &store).await;
    assert_eq!(app.text("/stored").await, "[null,null]");
    app.stop().await;
}

/// However long the store fails: the writer hears it at once, and whoever asks the same worker then before long.
async fn who_waits_for_a_store_that_fails_hears_of_it() {
    let (app, store) = start().await;
    store.set(Mode::Full);
    let within = Duration::from_secs(30);
    let written = timeout(within, app.text("/write")).await;
    assert_eq!(written.expect("the writer hears of it"), "lost");
    let asked = timeout(within, app.text("/stored")).await;
    assert_eq!(asked.expect("who asks hears of it"), "lost");
    assert_eq!(app.text("/stored?name=b").await, "[null,null]");
    store.set(Mode::Open);
    app.eventually("/stored", "[null,null]").await;
    app.stop().await;
}

/// The worker is not taken for one that failed: who asks once the store answers is not turned away.
async fn a_store_that_does_not_load_a_worker_fails_only_who_asks_then() {
    let (app, store) = start().await;
    store.fail_loads(usize::MAX);
    for _ in 0..3 {
        let unavailable = "unavailable: storage: the test fails this load, then lost";
        assert_eq!(app.text("/error?name=b").await, unavailable);
    }
    // What it was sent after it was turned away is turned away as well.
    assert!(eventually(async || app.awake() <= 1).await);
    store.fail_loads(0);
    assert_eq!(app.text("/stored?name=b").await, "[null,null]");
    app.stop().await;
}

/// Fails one commit of the worker, and lets the store go on.
async fn fail_a_commit(app: &TestApp, store: &HeldStore) {
    store.take_asked();
    store.set(Mode::Failing);
    let reopen = async {
        store.is_asked().await;
        store.set(Mode::Open);
    };
    let (answer, ()) = tokio::join!(app.text("/write"), reopen);
    assert_eq!(answer, "lost");
}

async fn a_worker_answers_after_the_answer_to_its_settling_was_lost() {
    let (app, store) = start().await;
    store.lose(0, 1);
    fail_a_commit(&app, &store).await;
    let moved_on = eventually(async || store.to_lose() == 0);
    assert!(moved_on.await, "the shard was moved on, and nobody told");
    app.eventually("/stored", "[null,null]").await;
    app.stop().await;
}

async fn a_worker_answers_when_two_settlings_of_its_shard_meet() {
    let (app, store) = start().await;
    let shard = |name: &str| {
        let key = WorkerKey::new("worker.js", name).unwrap();
        key.id().shard(SHARDS)
    };
    let neighbour = (0..1_000_000)
        .map(|n| n.to_string())
        .find(|name| shard(name) == shard("a"))
        .unwrap();
    // The winner's answer is under way when a neighbour is to be loaded, whose epoch is over by then.
    store.hold_advances(true);
    let epoch = async || {
        let pods = store.observe().await.unwrap();
        let owned = store.owned(pods[0].pod).await.unwrap();
        owned
            .into_iter()
            .find(|(of, _)| *of == shard("a"))
            .unwrap()
            .1
    };
    let before = epoch().await;
    let meet = async {
        let moved = eventually(async || epoch().await > before).await;
        assert!(moved, "the shard was not moved on");
        let path = format!("/stored?name={neighbour}");
        let let_go = async {
            let wakes = eventually(async || app.awake() >= 2).await;
            assert!(wakes, "nobody wakes the neighbour");
            // Time to ask the store, for one that does not wait.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            store.hold_advances(false);
        };
        tokio::join!(app.get(&path), let_go)
    };
    let ((), ((_, answer), ())) = tokio::join!(fail_a_commit(&app, &store), meet);
    assert_eq!(answer, "[null,null]");
    app.eventually("/stored", "[null,null]").await;
    app.stop().await;
}
