//! An application whose workers do the jobs that a test defines for them.

use std::time::Duration;

use crate::app::{PATIENCE, Setup, TestApp};

/// `/NAME/JOB?ARGUMENT` has the worker NAME do a job: 200 with its result (text, or else JSON), 500 with the error it threw,
/// 503 when the port says that the worker failed. `/NAME/JOB+JOB` has it asked for several in one turn, each by a port of its own:
/// 200 with their answers, `[text, status]`. `/-/` answers itself.
const SERVER: &str = r#"
export default {
  async fetch(request) {
    const url = new URL(request.url);
    const [, name, job] = url.pathname.split("/");
    if (name === "-") return new Response("the server");
    const ask = (job) => new Promise((resolve) => {
      const { port } = new ServerlessWorker("./worker.js", name);
      port.onmessage = ({ data }) => resolve([data.text, data.failed ? 500 : 200]);
      port.onerror = ({ message }) => resolve([message, 503]);
      port.onclose = ({ reason }) => resolve([`closed: ${reason}`, 503]);
      port.postMessage({ job, argument: decodeURIComponent(url.search.slice(1)) });
    });
    if (job.includes("+")) return Response.json(await Promise.all(job.split("+").map(ask)));
    const [text, status] = await ask(job);
    return new Response(text, { status });
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
