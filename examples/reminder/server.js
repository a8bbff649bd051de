// Reminders: each user is a worker that wakes itself up when something is due.
//
//   POST   /users/<user>/reminders       {"text": …, "at": ISO date} or {"text": …, "in": seconds}
//   GET    /users/<user>/reminders       what is pending and what has fired
//   DELETE /users/<user>/reminders/<id>  forgets a pending reminder

const ROUTE = /^\/users\/([\w.@-]{1,100})\/reminders(?:\/([\w-]{1,64}))?$/;
const MAX_TEXT = 500;
const MAX_AHEAD_MS = 10 * 365 * 24 * 3600 * 1000;

export default {
  async fetch(request) {
    const route = ROUTE.exec(new URL(request.url).pathname);
    if (!route) return problem(404, "use /users/<user>/reminders");
    const [, user, id] = route;
    const allowed = id ? ["DELETE"] : ["GET", "POST"];
    if (!allowed.includes(request.method)) {
      const allow = allowed.join(", ");
      return problem(405, `only ${allow} is served here`, { allow });
    }

    const { question, error } = await asked(request, id);
    if (error) return problem(400, error);

    try {
      const { status, body } = await ask(new ServerlessWorker("./reminders.js", user), question);
      return body === undefined ? new Response(null, { status }) : Response.json(body, { status });
    } catch (error) {
      console.error("no answer from the user's worker:", error);
      return problem(503, "try again in a moment", { "retry-after": "1" });
    }
  },
};

// The question that a request is for the worker, or what is wrong with it.
async function asked(request, id) {
  if (request.method === "GET") return { question: { type: "list" } };
  if (request.method === "DELETE") return { question: { type: "remove", id } };
  let body;
  try {
    body = await request.json();
  } catch {
    return { error: "the body must be JSON" };
  }
  const { text, at, in: seconds } = body ?? {};
  if (typeof text !== "string" || text.trim() === "" || text.length > MAX_TEXT) {
    return { error: `"text" must be a string of 1 to ${MAX_TEXT} characters` };
  }
  if ((at === undefined) === (seconds === undefined)) {
    return { error: 'give either "at", an ISO date, or "in", a number of seconds' };
  }
  const now = Date.now();
  const due = typeof seconds === "number" ? now + seconds * 1000 : Date.parse(String(at));
  if (!(due >= now - 1000 && due <= now + MAX_AHEAD_MS)) {
    return { error: "the time must be in the next ten years" };
  }
  const added = { id: crypto.randomUUID(), text: text.trim(), due: Math.round(due) };
  return { question: { type: "add", ...added } };
}

// One question, one answer, over a port of its own.
function ask(worker, question) {
  const { port } = worker;
  return new Promise((resolve, reject) => {
    port.onmessage = (event) => resolve(event.data);
    port.onclose = () => reject(new Error("the worker went away before it answered"));
    port.postMessage(question);
  }).finally(() => port.close());
}

function problem(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
