//! An application whose workers do the jobs that a test defines for them.

use std::time::Duration;

use crate::app::{PATIENCE, Setup, TestApp};

/// `/NAME/JOB?ARGUMENT` has the worker NAME do a job: 200 with its result (text, or else JSON), 500 with the error it threw,
/// 503 when the port says that the worker failed. `/-/` answers itself.
const SERVER: &str = r#"
export default {
  async fetch(request) {
    const url = new URL(request.url);
    const [, name, job] = url.pathname.split("/");
    if (name === "-") return new Response("the server");
    const { promise, resolve } = Promise.withResolvers();
    const { port } = new ServerlessWorker("./worker.js", name);
    port.onmessage = ({ data }) => resolve(new Response(data.text, { status: data.failed ? 500 : 200 }));
    port.onerror = ({ message }) => resolve(new Response(message, { status: 503 }));
    port.onclose = ({ reason }) => resolve(new Response(`closed: ${reason}`, { status: 503 }));
    port.postMessage({ job, argument: decodeURIComponent(url.search.slice(1)) });
    return promise;
  },
};"#;

const WORKER: &str = r#"
import * as user from "./user.js";

function show(value) {
  return typeof value === "string" ? value : JSON.stringify(value) ?? String(value);
}

export default {
  connect({ ports: [port] }) {
    port.onmessage = async ({ data: { job, argument } }) => {
      let answer;
      try {
        answer = { text: show(await user.jobs[job](argument, port)) };
      } catch (error) {
        answer = { text: `${error?.name}: ${error?.message}`, failed: true };
      }
      port.postMessage(answer);
    };
  },
  alarm(info) {
    return user.alarm?.(info);
  },
};"#;

/// A setup whose workers run `user`, a module that exports `jobs`, an object of functions, and maybe `alarm(info)`.
pub fn lab(user: &str) -> Setup {
    Setup::new(&[
        ("server.js", SERVER),
        ("worker.js", WORKER),
        ("user.js", user),
    ])
}

/// Asks until the answer is a 200 with this text; for workers that are started again with a delay.
pub async fn recovers(app: &TestApp, path: &str, wanted: &str) {
    let mut last = (0, String::new());
    let met = crate::app::eventually(async || {
        last = app.get(path).await;
        last == (200, wanted.to_owned())
    });
    assert!(met.await, "{path}: {last:?} instead of {wanted:?}");
}

/// Whether another instance answers `path`, which tells instances apart, within [`PATIENCE`]: asks ever again with pauses
/// in which the worker could fall asleep.
pub async fn is_replaced(app: &TestApp, path: &str, pause: Duration) -> bool {
    let first = app.text(path).await;
    let give_up = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < give_up {
        tokio::time::sleep(pause).await;
        if app.text(path).await != first {
            return true;
        }
    }
    false
}
