//! The application most tests use: a ledger that must never lose an entry it has confirmed, nor write one twice.

use serde_json::{Value, json};

const WORKER: &str = r#"
const entries = [...(await storage.list()).values()];
export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => {
      if (data.add === undefined) return port.postMessage({ entries });
      storage.put(String(entries.length).padStart(9, "0"), data.add);
      entries.push(data.add);
      port.postMessage({ added: data.add, entries: entries.length });
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
/// `POST /<name>?entry=<text>` adds an entry, `GET /<name>` lists them in the order in which they were added.
pub fn ledger_code(version: &str) -> Value {
    json!({ "inline": { "server.js": SERVER.replace("VERSION", version), "ledger.js": WORKER } })
}

/// A class that runs the ledger.
pub fn ledger(version: &str) -> Value {
    json!({ "code": ledger_code(version) })
}
