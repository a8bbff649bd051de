// What reaches the object.

export const requests = {};

/** A request to an object that answers with what has arrived. */
const echo =
  (...args) =>
  async (env, _ctx, t) => {
    await t.try("arrived", async () =>
      (
        await env.SERVER.getByName(t.name).fetch(...args.map((arg) => (typeof arg === "function" ? arg() : arg)))
      ).json(),
    );
  };

const sent = {
  "a URL as text": ["http://object/echo"],
  "a URL object": [() => new URL("http://object/echo?a=1")],
  "a Request": [() => new Request("http://object/echo", { method: "PUT", headers: { x: "1" }, body: "body" })],
  "a Request and an init": [
    () => new Request("http://object/echo", { method: "PUT", body: "old" }),
    { method: "POST", body: "new" },
  ],
  https: ["https://object.example/echo"],
  "a port": ["http://object:8080/echo"],
  "user and password": ["http://user:secret@object/echo"],
  "query and fragment": ["http://object/echo?a=1&b=%20#fragment"],
  "a path that needs escapes": ["http://object/ü/a b?ö=ü"],
  "dots in the path": ["http://object/a/../echo"],
  "no path": ["http://object"],
  "upper case in the host": ["http://OBJECT/echo"],
  GET: ["http://object/echo", { method: "GET" }],
  HEAD: ["http://object/echo", { method: "HEAD" }],
  POST: ["http://object/echo", { method: "POST" }],
  DELETE: ["http://object/echo", { method: "DELETE" }],
  PATCH: ["http://object/echo", { method: "PATCH", body: "patch" }],
  OPTIONS: ["http://object/echo", { method: "OPTIONS" }],
  "a method in lower case": ["http://object/echo", { method: "post" }],
  "patch in lower case": ["http://object/echo", { method: "patch", body: "x" }],
  "a method of its own": ["http://object/echo", { method: "PURGE" }],
  "a method that is none": ["http://object/echo", { method: "NO GOOD" }],
  headers: ["http://object/echo", { headers: { "X-Custom": "Value", "x-empty": "" } }],
  "the same header twice": [
    "http://object/echo",
    {
      headers: [
        ["x-a", "1"],
        ["x-a", "2"],
      ],
    },
  ],
  "headers that browsers forbid": [
    "http://object/echo",
    { headers: { cookie: "a=1", origin: "http://o", referer: "http://r/", "user-agent": "ua" } },
  ],
  "accept-encoding": ["http://object/echo", { headers: { "accept-encoding": "br" } }],
  "a header with an umlaut": ["http://object/echo", { headers: { x: "ü" } }],
  "a body of text": ["http://object/echo", { method: "POST", body: "text" }],
  "a body of bytes": ["http://object/echo", { method: "POST", body: new Uint8Array([65, 66]) }],
  "a body of URLSearchParams": ["http://object/echo", { method: "POST", body: new URLSearchParams({ a: "1" }) }],
  "a body of a Blob": ["http://object/echo", () => ({ method: "POST", body: new Blob(["blob"], { type: "text/x" }) })],
  "an empty body": ["http://object/echo", { method: "POST", body: "" }],
  "a body of null": ["http://object/echo", { method: "POST", body: null }],
  "a body with GET": ["http://object/echo", { method: "GET", body: "x" }],
  "a content-type of its own": [
    "http://object/echo",
    { method: "POST", body: "{}", headers: { "content-type": "application/x" } },
  ],
  "redirect manual": ["http://object/echo", { redirect: "manual" }],
  cf: ["http://object/echo", { cf: { cacheTtl: 1 } }],
  "a relative URL": ["/echo"],
  "an empty URL": [""],
  "text that is no URL": ["not a url"],
  "another scheme": ["ftp://object/echo"],
  nothing: [],
  null: [null],
};

for (const [name, args] of Object.entries(sent)) requests[`request: ${name}`] = echo(...args);

Object.assign(requests, {
  "request: names of the headers that arrive": async (env, _ctx, t) => {
    t.log("names", await (await env.SERVER.getByName(t.name).fetch("http://object/raw-headers")).json());
  },
  "request: a stream as its body": async (env, _ctx, t) => {
    const { readable, writable } = new TransformStream();
    const writer = writable.getWriter();
    const encoder = new TextEncoder();
    const answer = env.SERVER.getByName(t.name).fetch("http://object/parts", { method: "POST", body: readable });
    for (const part of ["a", "b", "c"]) {
      await writer.write(encoder.encode(part));
      await scheduler.wait(2);
    }
    await writer.close();
    t.log("answer", await (await answer).json());
  },
  "request: a stream that breaks": async (env, _ctx, t) => {
    let n = 0;
    const body = new ReadableStream({
      pull(controller) {
        if (n++ === 0) controller.enqueue(new TextEncoder().encode("a"));
        else controller.error(new Error("broken"));
      },
    });
    await t.try("answer", async () =>
      (await env.SERVER.getByName(t.name).fetch("http://object/parts", { method: "POST", body })).json(),
    );
  },
  "request: a body of 1 MiB": async (env, _ctx, t) => {
    const body = new Uint8Array(1 << 20);
    t.log(
      "size",
      await (await env.SERVER.getByName(t.name).fetch("http://object/size", { method: "POST", body })).json(),
    );
  },
  "request: a form": async (env, _ctx, t) => {
    const body = new FormData();
    body.append("a", "1");
    body.append("file", new Blob(["content"]), "name.txt");
    t.log(
      "form",
      await (await env.SERVER.getByName(t.name).fetch("http://object/form", { method: "POST", body })).json(),
    );
  },
  "request: a body that the object does not read": async (env, _ctx, t) => {
    const body = new Uint8Array(1 << 20);
    t.log(
      "answer",
      await (await env.SERVER.getByName(t.name).fetch("http://object/unread", { method: "POST", body })).text(),
    );
  },
  "request: a body that comes back": async (env, _ctx, t) => {
    t.log(
      "answer",
      await (
        await env.SERVER.getByName(t.name).fetch("http://object/body", { method: "POST", body: "there and back" })
      ).text(),
    );
  },
  "request: the same Request twice": async (env, _ctx, t) => {
    const stub = env.SERVER.getByName(t.name);
    const request = new Request("http://object/echo", { method: "POST", body: "once" });
    await t.try("first", async () => (await (await stub.fetch(request)).json()).body);
    await t.try("second", async () => (await (await stub.fetch(request)).json()).body);
  },
  "request: with a signal that is aborted": async (env, _ctx, t) => {
    await t.try("fetch", () =>
      env.SERVER.getByName(t.name).fetch("http://object/echo", { signal: AbortSignal.abort() }),
    );
  },
  "request: with a signal that aborts": async (env, _ctx, t) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new RangeError("enough")), 50);
    await t.try("fetch", () => env.SERVER.getByName(t.name).fetch("http://object/slow", { signal: controller.signal }));
  },
});
