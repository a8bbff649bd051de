// Objects that call each other, and what comes of it.
import { DurableObject, env as imported, exports as importedExports, WorkerEntrypoint } from "cloudflare:workers";

const wait = (ms) => scheduler.wait(ms);
const encoder = new TextEncoder(), decoder = new TextDecoder();

/** What of an error callers go by. */
function told(error) {
  const { name, message, code, remote, durableObjectReset, durableObjectId } = error;
  return { kind: error.constructor.name, name, message, code, remote, durableObjectReset, durableObjectId };
}

/** What a call ends with. */
async function outcome(call) {
  try {
    return await call();
  } catch (error) {
    return told(error);
  }
}

class Plain {
  secret = 1;
}

export class Lab extends DurableObject {
  calls = 0;
  order = [];
  pulled = 0;

  count() {
    return ++this.calls;
  }

  note(what) {
    this.order.push(what);
    return this.order;
  }

  ownName() {
    return this.ctx.id.name;
  }

  throw() {
    throw Object.assign(new RangeError("too far", { cause: new TypeError("why") }), { code: 7 });
  }

  throwText() {
    throw "only text";
  }

  describe(value) {
    return [value.constructor.name, value.code, value.get?.("x")];
  }

  abort(reason) {
    this.ctx.abort(reason);
  }

  abortLater() {
    setTimeout(() => this.ctx.abort("later"), 20);
  }

  wait(ms) {
    return wait(ms);
  }

  timer() {
    setInterval(() => {}, 20);
  }

  spin() {
    for (;;);
  }

  fill() {
    const all = [];
    for (;;) all.push(new Array(100_000).fill(all.length));
  }

  mark() {
    console.log(`${this.ctx.id.name} is reached`);
  }

  putAndCall(other) {
    this.ctx.storage.put("k", 1);
    return this.env.LAB.getByName(other).mark();
  }

  putAndFetch(other) {
    this.ctx.storage.put("k", 1);
    return this.env.LAB.getByName(other).fetch("http://object/mark").then(({ status }) => status);
  }

  putAndCallByEntry(other) {
    this.ctx.storage.put("k", 1);
    return this.ctx.exports.Entry({ props: { other } }).mark();
  }

  seen() {
    return [this.cancelled, this.pulled];
  }

  async fetch(request) {
    const { pathname } = new URL(request.url);
    switch (pathname) {
      case "/mark":
        this.mark();
        return new Response(null, { status: 204 });
      case "/note":
        return Response.json(this.note("fetch"));
      case "/upper":
        return new Response(request.body.pipeThrough(new TextDecoderStream()).pipeThrough(
          new TransformStream({ transform: (text, controller) => controller.enqueue(encoder.encode(text.toUpperCase())) }),
        ));
      case "/endless":
        return new Response(
          new ReadableStream({
            pull: (controller) => {
              this.pulled += 1;
              controller.enqueue(new Uint8Array(64 << 10));
            },
            cancel: () => {
              this.cancelled = true;
            },
          }),
        );
      case "/quiet":
        return new Response(
          new ReadableStream({
            start: (controller) => controller.enqueue(encoder.encode("begin")),
            cancel: () => {
              this.cancelled = true;
            },
          }),
        );
      case "/broken":
        return new Response(
          new ReadableStream({
            start: (controller) => controller.enqueue(encoder.encode("begin")),
            async pull() {
              await wait(20);
              throw new RangeError("broken");
            },
          }),
        );
      case "/redirect":
        return Response.redirect("http://object/echo#here", 303);
      default:
        return Response.json([request.method, request.url, request.redirect, await request.text()]);
    }
  }
}

/** Its constructor fails, but only after a while. */
export class Failing extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => {
      await wait(20);
      throw new RangeError("not ready");
    });
  }

  hello() {
    return "hello";
  }
}

export class Entry extends WorkerEntrypoint {
  calls = 0;

  count() {
    return ++this.calls;
  }

  props() {
    return [this.ctx.props, typeof this.env.LAB, this.constructor.name];
  }

  mark() {
    return this.env.LAB.getByName(this.ctx.props.other).mark();
  }

  fetch(request) {
    return new Response(`entry ${new URL(request.url).pathname}`);
  }
}

const cases = {
  async apart(env) {
    const [a, b] = [env.LAB.getByName("a"), env.LAB.getByName("b")];
    return [await a.count(), await a.count(), await b.count(), await env.LAB.getByName("a").count()];
  },
  async order(env) {
    const stub = env.LAB.getByName("order");
    const calls = [];
    for (let i = 0; i < 20; i++) calls.push(stub.note(i), stub.fetch("http://object/note"));
    await Promise.all(calls);
    return (await stub.note("end")).join();
  },
  async reset(env) {
    const [stub, other] = [env.LAB.getByName("reset"), env.LAB.getByName("other")];
    const unused = env.LAB.getByName("reset");
    await Promise.all([stub.count(), other.count()]);
    const waits = outcome(() => env.LAB.getByName("reset").wait(5_000));
    const aborts = await outcome(() => stub.abort("enough"));
    const broken = await outcome(() => stub.count());
    return { aborts, waits: await waits, broken, unused: await unused.count(), other: await other.count() };
  },
  async idleReset(env) {
    const stub = env.LAB.getByName("idle");
    await stub.abortLater();
    await wait(200);
    return [await outcome(() => stub.count()), await env.LAB.getByName("idle").count()];
  },
  async failing(env) {
    const stub = env.FAILING.getByName("failing");
    return [await outcome(() => stub.hello()), await outcome(() => env.FAILING.getByName("failing").hello())];
  },
  async errors(env) {
    const stub = env.LAB.getByName("errors");
    const error = await stub.throw().catch((error) => error);
    const { durableObjectId, ...rest } = told(error);
    return [rest, durableObjectId === String(stub.id), told(error.cause).kind, await outcome(() => stub.throwText())];
  },
  async values(env) {
    const stub = env.LAB.getByName("values");
    return [
      await stub.describe(new Headers({ x: "1" })),
      await stub.describe(Object.assign(new TypeError(), { code: 1 })),
      (await outcome(() => stub.describe({ deep: [new Plain()] }))).message,
      (await outcome(() => stub.describe(Object.create(null)))).name,
    ];
  },
  async duplex(env) {
    const { readable, writable } = new TransformStream();
    const writer = writable.getWriter();
    const answer = env.LAB.getByName("duplex").fetch("http://object/upper", { method: "POST", body: readable });
    const heard = [];
    await writer.write(encoder.encode("one"));
    const reader = (await answer).body.getReader();
    heard.push(decoder.decode((await reader.read()).value));
    await writer.write(encoder.encode("two")); // only now
    heard.push(decoder.decode((await reader.read()).value));
    await writer.close();
    heard.push((await reader.read()).done);
    return heard;
  },
  async cancelled(env) {
    const stub = env.LAB.getByName("cancelled");
    const reader = (await stub.fetch("http://object/endless")).body.getReader();
    await reader.read();
    await wait(300);
    const [, before] = await stub.seen();
    await reader.cancel();
    let seen;
    for (let i = 0; i < 100 && !seen; i++) {
      await wait(10);
      [seen] = await stub.seen();
    }
    return [seen, before > 1 && before < 100];
  },
  async cancelledReading(env) {
    const stub = env.LAB.getByName("cancelled reading");
    const { body } = await stub.fetch("http://object/quiet");
    const reader = body.pipeThrough(new TextDecoderStream()).getReader(); // which waits for more at once
    const { value } = await reader.read();
    await reader.cancel();
    let seen;
    for (let i = 0; i < 100 && !seen; i++) {
      await wait(10);
      [seen] = await stub.seen();
    }
    return [value, seen];
  },
  async broken(env) {
    const reader = (await env.LAB.getByName("broken").fetch("http://object/broken")).body.getReader();
    const first = decoder.decode((await reader.read()).value);
    const { kind, message, remote } = await outcome(() => reader.read());
    return [first, kind, message, remote];
  },
  async redirect(env) {
    const init = { method: "POST", body: "x" };
    const response = await env.LAB.getByName("redirect").fetch("http://user:secret@object/redirect#x", init);
    return [response.url, response.redirected, await response.json()];
  },
  async names(env) {
    const names = Array.from({ length: 50 }, (_, n) => `name ${n}`);
    const known = await Promise.all(names.map((name) => env.LAB.getByName(name).ownName()));
    return known.every((name, n) => name === names[n]);
  },
  async asked(env) {
    const stub = env.LAB.getByName("asked"), timer = env.LAB.getByName("timer"), idle = env.LAB.getByName("nobody");
    await Promise.all([timer.timer(), timer.count(), idle.count()]);
    for (let i = 0; i < 40; i++) {
      await stub.count();
      await wait(50);
    }
    return [await stub.count(), await timer.count(), await idle.count()];
  },
  async limit(env, _ctx, what, name) {
    const stub = env.LAB.getByName(name);
    await stub.count();
    return [await outcome(() => stub[what]()), await outcome(() => stub.count()), await env.LAB.getByName(name).count()];
  },
  async entry(_env, ctx) {
    const { Entry } = ctx.exports;
    return [
      await Entry.count(),
      await Entry.count(),
      await Entry({ props: { a: 1 } }).props(),
      await (await Entry.fetch("http://x/path")).text(),
      (await outcome(() => Entry.nowhere())).message,
      Object.keys(importedExports).sort(),
      imported.LAB === ctx.exports.Nowhere,
    ];
  },
};

for (const what of ["putAndCall", "putAndFetch", "putAndCallByEntry"]) {
  cases[what] = (env) => env.LAB.getByName("caller")[what](what).then(() => "called");
}

/** The Worker is a class. */
export default class extends WorkerEntrypoint {
  async fetch(request) {
    const [name, ...args] = new URL(request.url).pathname.slice(1).split("/");
    return Response.json((await cases[name](this.env, this.ctx, ...args)) ?? null);
  }
}
