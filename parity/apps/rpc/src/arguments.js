// Arguments and results.

class Plain {
  constructor() {
    this.a = 1;
  }
}

const circle = { a: 1 };
circle.self = circle;
const shared = { n: 1 };

const carried = {
  undefined: () => undefined,
  null: () => null,
  booleans: () => [true, false],
  numbers: () => [0, -0, 1.5, NaN, Infinity, 2 ** 53],
  bigints: () => [1n, -(2n ** 70n)],
  strings: () => ["", "a\0b", "\u{1F600}", "\uD800"],
  dates: () => [new Date(0), new Date(NaN)],
  "regular expressions": () => /a+/giu,
  "boxed values": () => [new Number(1), new String("s"), new Boolean(false)],
  "objects and arrays": () => ({ a: [1, { b: null }], c: {} }),
  "an array with holes": () => [1, , 3],
  "an object without a prototype": () => Object.assign(Object.create(null), { a: 1 }),
  "an object with undefined": () => ({ a: undefined }),
  "an object with a symbol as a key": () => ({ [Symbol("s")]: 1, a: 2 }),
  "an object with a getter": () => ({
    get a() {
      return 7;
    },
  }),
  maps: () =>
    new Map([
      ["a", { b: 1 }],
      [{ k: 1 }, 2],
    ]),
  sets: () => new Set([1, "a", [2]]),
  "a circle": () => circle,
  "the same object twice": () => [shared, shared],
  "an array buffer": () => new Uint8Array([1, 2, 3]).buffer,
  "typed arrays": () => [new Uint8Array([1]), new Float32Array([1.5]), new BigUint64Array([1n])],
  "a part of a buffer": () => new Uint8Array([1, 2, 3, 4]).subarray(1, 3),
  "a DataView": () => new DataView(new ArrayBuffer(2)),
  errors: () => [new Error("e"), new TypeError("t")],
  "an error with properties": () => Object.assign(new Error("e"), { code: "E", retryable: true }),
  "an error with a cause": () => new Error("e", { cause: new RangeError("c") }),
  "a DOMException": () => new DOMException("d", "AbortError"),
  "a thousand properties": () => Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`k${n}`, n])),
  "deep nesting": () => Array.from({ length: 100 }).reduce((inner) => ({ inner }), 1),
  "an instance of a class": () => new Plain(),
  "an instance of a class in an object": () => ({ a: new Plain() }),
  "an instance of a class in an array": () => [new Plain()],
  "an instance of a class in a Map": () => new Map([["a", new Plain()]]),
  "a symbol": () => Symbol("s"),
  "a WeakMap": () => new WeakMap(),
  "a WeakRef": () => new WeakRef({}),
  "a generator": () => (function* () {})(),
  "a URL": () => new URL("http://a/"),
  "a URLSearchParams": () => new URLSearchParams("a=1"),
  "a FormData": () => new FormData(),
  "an AbortController": () => new AbortController(),
  "an Event": () => new Event("e"),
  "a getter that throws": () => ({
    get a() {
      throw new RangeError("getter");
    },
  }),
  globalThis: () => globalThis,
  Math: () => Math,
  "an array of a class of its own": () => new (class List extends Array {})(),
  "an error of a class of its own": () =>
    new (class Special extends Error {
      name = "Special";
    })("special"),
};

export const arguments_ = {};
for (const [name, make] of Object.entries(carried)) {
  arguments_[`carried: ${name}`] = async (env, _ctx, t) => {
    const stub = env.TARGET.getByName(t.name);
    await t.try("over there", async () => (await stub.describe(make()))[0]);
    await t.try("back", () => stub.echo(make()));
  };
}

const text = async (body) => new Response(body).text();

Object.assign(arguments_, {
  "carried: the same object twice is one again": async (env, _ctx, t) => {
    const [first, second] = await env.TARGET.getByName(t.name).echo([shared, shared]);
    t.log("one", first === second);
  },
  "carried: the same object as two arguments": async (env, _ctx, t) => {
    const [first, second] = await env.TARGET.getByName(t.name).echoAll(shared, shared);
    t.log("one", first === second);
  },
  "carried: arguments are copies": async (env, _ctx, t) => {
    const value = { a: 1 };
    t.log("changed over there", await env.TARGET.getByName(t.name).mutate(value));
    t.log("here", value);
  },
  "carried: copied at the call": async (env, _ctx, t) => {
    const value = { a: 1 };
    const call = env.TARGET.getByName(t.name).echo(value);
    value.a = 2;
    t.log("value", await call);
  },
  "carried: a refused argument throws at once or rejects": async (env, _ctx, t) => {
    const call = t.sync(
      "call",
      () =>
        typeof env.TARGET.getByName(t.name)
          .echo(new Plain())
          .catch(() => {}),
    );
    t.log("returned", call);
  },
  "carried: 1 MiB": async (env, _ctx, t) => {
    const stub = env.TARGET.getByName(t.name);
    await t.try("there and back", async () => (await stub.echo("x".repeat(1 << 20))).length);
    await t.try("bytes", async () => (await stub.echo(new Uint8Array(1 << 20))).length);
  },
  "carried: just below 32 MiB": async (env, _ctx, t) => {
    await t.try("result", async () => (await env.TARGET.getByName(t.name).big((32 << 20) - 1000)).length);
  },
  "carried: a result beyond 32 MiB": async (env, _ctx, t) => {
    await t.try("result", async () => (await env.TARGET.getByName(t.name).big((32 << 20) + 1000)).length);
  },
  "carried: an argument beyond 32 MiB": async (env, _ctx, t) => {
    const { name, message } = await env.TARGET.getByName(t.name).count("x".repeat((32 << 20) + 1000)).catch((error) => error);
    // Not how many bytes: of an array of arguments, V8 may have known that it has no holes, or not.
    t.log("error", name, message.replace(/: \d+ bytes/, ""));
  },
  "carried: Headers": async (env, _ctx, t) => {
    await t.try("back", () => env.TARGET.getByName(t.name).echo(new Headers({ a: "1", B: "2" })));
  },
  "carried: a Request": async (env, _ctx, t) => {
    await t.try("back", async () => {
      const request = new Request("http://a/b?c", { method: "POST", headers: { x: "1" }, body: "body" });
      const back = await env.TARGET.getByName(t.name).echo(request);
      return [back.constructor.name, back.method, back.url, back.headers.get("x"), await back.text()];
    });
  },
  "carried: a Response": async (env, _ctx, t) => {
    await t.try("back", async () => {
      const response = new Response("body", { status: 201, headers: { x: "1" } });
      const back = await env.TARGET.getByName(t.name).echo(response);
      return [back.constructor.name, back.status, back.headers.get("x"), await back.text()];
    });
  },
  "carried: a stream of bytes": async (env, _ctx, t) => {
    await t.try("back", async () => text(await env.TARGET.getByName(t.name).echo(new Response("bytes").body)));
  },
  "carried: a stream that is not of bytes": async (env, _ctx, t) => {
    const stream = new ReadableStream({
      start(controller) {
        controller.enqueue("text");
        controller.close();
      },
    });
    await t.try("back", async () => (await env.TARGET.getByName(t.name).echo(stream)).constructor.name);
  },
  "carried: a Blob": async (env, _ctx, t) => {
    await t.try("back", async () =>
      (await env.TARGET.getByName(t.name).echo(new Blob(["blob"], { type: "text/plain" }))).text(),
    );
  },
  "carried: an AbortSignal": async (env, _ctx, t) => {
    await t.try("back", async () => (await env.TARGET.getByName(t.name).echo(AbortSignal.abort("why"))).aborted);
  },
});
