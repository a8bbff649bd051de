//! The application most tests use: a ledger that must never lose an entry it has confirmed.

use serde_json::{Value, json};

const WORKER: &str = r#"
const entries = new Map(await storage.list());
export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => {
      if (data.add === undefined) return port.postMessage({ entries: [...entries.keys()] });
      entries.set(data.add, true);
      storage.put(data.add, true);
      port.postMessage({ added: data.add, entries: entries.size });
    };
  },
};
"#;

const SERVER: &str = r#"
function ask(name, question) {
  const { port } = new ServerlessWorker("./ledger.js", name);
  return new Promise((resolve, reject) => {
    port.onmessage = ({ data }) => resolve(data);
    port.onclose = ({ code }) => reject(new Error(`the ledger went away: ${code}`));
    port.postMessage(question);
  });
}

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const question = request.method === "POST" ? { add: searchParams.get("entry") } : {};
    const answer = await ask(pathname, question);
    return Response.json({ ...answer, version: "VERSION", greeting: env.GREETING });
  },
};
"#;

/// The ledger's files; `version` is in every answer.
///
/// `POST /<name>?entry=<text>` adds an entry, `GET /<name>` lists them.
pub fn ledger_code(version: &str) -> Value {
    json!({ "inline": { "server.js": SERVER.replace("VERSION", version), "ledger.js": WORKER } })
}

/// A class that runs the ledger.
pub fn ledger(version: &str) -> Value {
    json!({ "code": ledger_code(version) })
}
