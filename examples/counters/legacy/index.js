// A counter in the style of 2022: a class that extends nothing, asked by fetch alone.
//
//   GET  /     the value
//   POST /+    one more
//   POST /-    one less

export class CounterObject {
  constructor(state) {
    this.storage = state.storage;
    // No request comes in before the value is here. From then on the copy in memory is never behind the stored one.
    state.blockConcurrencyWhile(async () => {
      this.value = (await this.storage.get("value")) ?? 0;
    });
  }

  async fetch(request) {
    const step = { "/": 0, "/+": 1, "/-": -1 }[new URL(request.url).pathname];
    if (step === undefined) return problem(404, "use /, /+ or /-");
    const method = step === 0 ? "GET" : "POST";
    if (request.method !== method) return problem(405, `use ${method} here`, { allow: method });
    if (step !== 0) {
      // Changed and written without an await between: requests cannot come in between. The write is not awaited,
      // for the response waits for it anyway.
      this.value += step;
      this.storage.put("value", this.value);
    }
    return Response.json({ counter: this.value });
  }
}

export default {
  fetch(request, env) {
    return env.COUNTER.get(env.COUNTER.idFromName("counter")).fetch(request);
  },
};

function problem(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
