//! Applications in few words: a server made of named routes, and callers whose answers wait in a queue.

use crate::app::{Setup, TestApp};

/// `kit.js`: a caller hears messages, errors and closes of its port in their order.
const KIT: &str = r#"
export function caller(port) {
  const answers = [], waiting = [];
  const hear = (answer) => waiting.length > 0 ? waiting.shift()(answer) : answers.push(answer);
  port.onmessage = (event) => hear(event.data);
  port.onerror = (event) => hear(`error: ${event.error.message}`);
  port.onclose = (event) => hear(`close: ${event.code}`);
  return {
    port,
    send: (message) => port.postMessage(message),
    next: () => answers.length > 0 ? Promise.resolve(answers.shift()) : new Promise((heard) => waiting.push(heard)),
    ask(message) {
      this.send(message);
      return this.next();
    },
  };
}
export function open(name = "", script = "./worker.js") {
  return caller(new ServerlessWorker(script, name).port);
}
export async function thrown(f) {
  try {
    await f();
    return "nothing";
  } catch (error) {
    return error.name;
  }
}
"#;

/// A server whose paths are the members of the object literal `{ROUTES}`; each gets `(query, request, context)` and
/// returns a Response, a string, or what JSON can show.
const SERVER: &str = r#"
import { caller, open, thrown } from "./kit.js";
const routes = {ROUTES};
export default {
  async fetch(request, env, context) {
    const url = new URL(request.url);
    const answer = await routes[url.pathname.slice(1)](url.searchParams, request, context);
    if (answer instanceof Response) return answer;
    return new Response(typeof answer === "string" ? answer : JSON.stringify(answer));
  },
};"#;

/// A counter: any message is answered with how many there were.
pub const COUNTER: &str = r#"
    let count = 0;
    export default { connect({ ports: [port] }) { port.onmessage = () => port.postMessage(++count); } };
"#;

/// An application of these routes and `worker.js`.
pub fn setup(routes: &str, worker: &str) -> Setup {
    let server = SERVER.replace("{ROUTES}", &format!("{{{routes}}}"));
    Setup::new(&[
        ("server.js", &server),
        ("kit.js", KIT),
        ("worker.js", worker),
    ])
}

/// Starts an application of these routes and `worker.js`.
pub async fn start(routes: &str, worker: &str) -> TestApp {
    setup(routes, worker).start().await
}

/// Starts one, and compares what the path `/test` answers.
pub async fn check(routes: &str, worker: &str, wanted: &str) {
    let app = start(routes, worker).await;
    assert_eq!(app.text("/test").await, wanted);
    app.stop().await;
}

/// Requests a path this many times at once.
pub async fn at_once(app: &TestApp, path: &str, times: usize) -> Vec<String> {
    let mut running = vec![];
    for _ in 0..times {
        running.push(app.text(path));
    }
    futures::future::join_all(running).await
}
