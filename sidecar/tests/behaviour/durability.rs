//! What the store's failures may and may not do to a worker's state.

use crate::app::Setup;
use crate::held::{HeldStore, Mode};
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![nothing_is_durable_on_top_of_a_failed_commit];

const SERVER: &str = r#"
export default {
  fetch(request) {
    const { port } = new ServerlessWorker("./worker.js", "a");
    return new Promise((resolve, reject) => {
      port.onmessage = (event) => resolve(new Response(String(event.data)));
      port.onclose = (event) => resolve(new Response(event.code));
      port.postMessage(new URL(request.url).pathname);
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

async fn nothing_is_durable_on_top_of_a_failed_commit() {
    let store = HeldStore::new().await;
    let mut setup = Setup::new(&[("server.js", SERVER), ("worker.js", WORKER)]);
    setup.store = Some(store.clone());
    let app = setup.start().await;
    assert_eq!(app.text("/stored").await, "[null,null]");
    store.take_asked();
    store.set(Mode::Failing);
    let reopen = async {
        store.is_asked().await;
        store.set(Mode::Open);
    };
    let (answer, ()) = tokio::join!(app.text("/write"), reopen);
    assert_eq!(answer, "lost");
    assert_eq!(app.text("/stored").await, "[null,null]");
    app.stop().await;
}
