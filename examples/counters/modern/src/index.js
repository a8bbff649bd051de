// Counters by name, each an object of its own.
//
//   GET    /counters/<name>          value, next reset, and what was counted before each of the last resets
//   POST   /counters/<name>          one more, or {"by": integer}
//   PUT    /counters/<name>/reset    {"in": seconds}: when to begin at 0 again
//   DELETE /counters/<name>/reset    not to

export { Counter } from "./counter.js";

const ROUTE = /^\/counters\/([\w-]{1,64})(\/reset)?$/;
const LONGEST_WAIT_S = 365 * 24 * 60 * 60;

export default {
  async fetch(request, env) {
    const route = ROUTE.exec(new URL(request.url).pathname);
    if (!route) return problem(404, "use /counters/<name>");
    const [, name, reset] = route;
    const counter = env.COUNTERS.getByName(name);
    const methods = reset ? RESET : COUNTER;
    const answer = methods[request.method];
    return answer ? answer(counter, request) : notAllowed(Object.keys(methods));
  },
};

const COUNTER = {
  async GET(counter) {
    return Response.json(await counter.read());
  },

  async POST(counter, request) {
    const text = await request.text();
    const by = text === "" ? 1 : parse(text)?.by;
    if (!Number.isSafeInteger(by)) return problem(400, 'send nothing, or {"by": integer}');
    const value = await counter.add(by);
    if (value === null) return problem(409, "the sum would be no exact integer any more");
    return Response.json({ value });
  },
};

const RESET = {
  async PUT(counter, request) {
    const seconds = parse(await request.text())?.in;
    if (!(typeof seconds === "number" && seconds >= 0 && seconds <= LONGEST_WAIT_S)) {
      return problem(400, `send {"in": seconds}, ${LONGEST_WAIT_S} at most`);
    }
    // A Date is passed as a Date: arguments and results are structured clones.
    return Response.json({ resetAt: await counter.resetAt(new Date(Date.now() + seconds * 1000)) });
  },

  async DELETE(counter) {
    await counter.keep();
    return new Response(null, { status: 204 });
  },
};

function notAllowed(methods) {
  const allow = methods.join(", ");
  return problem(405, `use one of ${allow}`, { allow });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function problem(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
