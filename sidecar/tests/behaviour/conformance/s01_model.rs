//! Section 1: the model.

use crate::app::Setup;
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![r002_one_worker_serves_many_callers];

/// Answers `?name=N` with what the worker `N` of `worker.js` answers to "hit".
const SERVER: &str = r#"
export default {
  async fetch(request) {
    const name = new URL(request.url).searchParams.get("name") ?? "";
    const { promise, resolve, reject } = Promise.withResolvers();
    const { port } = new ServerlessWorker("./worker.js", name);
    port.onmessage = (event) => resolve(new Response(String(event.data)));
    port.onerror = (event) => reject(event.error);
    port.postMessage("hit");
    return promise;
  },
};"#;

async fn r002_one_worker_serves_many_callers() {
    let worker = r#"
        let count = 0;
        export default { connect({ ports: [port] }) { port.onmessage = () => port.postMessage(++count); } };
    "#;
    let app = Setup::new(&[("server.js", SERVER), ("worker.js", worker)])
        .start()
        .await;
    let mut seen = vec![];
    for answer in futures::future::join_all((0..100).map(|_| app.text("/?name=shared"))).await {
        seen.push(answer.parse::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
    app.stop().await;
}
