// An API that lets each client call it ten times a minute.

export default {
  async fetch(request) {
    if (request.method !== "GET") {
      return problem(405, "only GET is served here", { allow: "GET" });
    }
    const key = request.headers.get("x-api-key");
    if (!key) {
      return problem(401, "send your key in the x-api-key header", { "www-authenticate": "ApiKey" });
    }

    let verdict;
    try {
      const limiter = new ServerlessWorker("./limiter.js", await fingerprint(key));
      verdict = await ask(limiter, { type: "hit" });
    } catch (error) {
      // Without a verdict the request must not pass: a limiter that fails open is none.
      console.error("no verdict from the limiter:", error);
      return problem(503, "try again in a moment", { "retry-after": "1" });
    }

    const seconds = String(Math.max(1, Math.ceil((verdict.resetsAt - Date.now()) / 1000)));
    const headers = {
      "ratelimit-limit": String(verdict.limit),
      "ratelimit-remaining": String(verdict.remaining),
      "ratelimit-reset": seconds,
    };
    if (!verdict.allowed) {
      return problem(429, "too many requests", { ...headers, "retry-after": seconds });
    }
    return Response.json({ message: "welcome", remaining: verdict.remaining }, { headers });
  },
};

// One question, one answer, over a port of its own.
function ask(worker, question) {
  const { port } = worker;
  return new Promise((resolve, reject) => {
    port.onmessage = (event) => resolve(event.data);
    port.onclose = () => reject(new Error("the worker went away before it answered"));
    port.postMessage(question);
  }).finally(() => port.close());
}

// Names of workers are shown to operators, so a key must not be one.
async function fingerprint(key) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function problem(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
