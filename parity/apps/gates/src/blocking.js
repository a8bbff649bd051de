// blockConcurrencyWhile.

import { DurableObject } from "cloudflare:workers";

import { within } from "./parity/parity.js";

/** Its constructor blocks for as long as its name says. */
export class Blocked extends DurableObject {
  log = ["constructed"];

  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => {
      this.stored = await ctx.storage.get("stored");
      await scheduler.wait(100);
      this.log.push("ready");
    });
    this.log.push("constructor ends");
  }

  events() {
    this.log.push("event");
    return this.log;
  }

  async tooLong() {
    return this.ctx.blockConcurrencyWhile(() => scheduler.wait(40_000));
  }
}

export const blocking = { inside: {}, outside: {} };

Object.assign(blocking.inside, {
  "block: gives what its callback gives": ({ ctx }, t) =>
    t.try("value", () => ctx.blockConcurrencyWhile(async () => ({ a: 1 }))),
  "block: a callback that is not async": ({ ctx }, t) => t.try("value", () => ctx.blockConcurrencyWhile(() => 5)),
  "block: returns a promise": ({ ctx }, t) =>
    t.log("promise", ctx.blockConcurrencyWhile(async () => {}) instanceof Promise),
  "block: when the callback begins": async ({ ctx }, t) => {
    const block = ctx.blockConcurrencyWhile(async () => t.log("callback"));
    t.log("after the call");
    await block;
  },
  "block: no callback": async ({ ctx }, t) => {
    await t.try("none", () => ctx.blockConcurrencyWhile());
    await t.try("text", () => ctx.blockConcurrencyWhile("x"));
    await t.try("promise", () => ctx.blockConcurrencyWhile(Promise.resolve()));
  },
  "block: nested": ({ ctx }, t) =>
    t.try("value", () =>
      ctx.blockConcurrencyWhile(async () => [await ctx.blockConcurrencyWhile(async () => "inner"), "outer"]),
    ),
  "block: nested 60 deep": ({ ctx }, t) => {
    const nest = (depth) => ctx.blockConcurrencyWhile(async () => (depth === 0 ? "bottom" : nest(depth - 1)));
    return t.try("value", () => nest(60));
  },
  "block: nested 70 deep": ({ ctx }, t) => {
    const nest = (depth) => ctx.blockConcurrencyWhile(async () => (depth === 0 ? "bottom" : nest(depth - 1)));
    return t.try("value", () => nest(70));
  },
  "block: two in a row of one event": async ({ ctx }, t) => {
    const log = [];
    const run = (name) =>
      ctx.blockConcurrencyWhile(async () => {
        log.push(`${name} begins`);
        await scheduler.wait(5);
        log.push(`${name} ends`);
      });
    await Promise.all([run("first"), run("second")]);
    t.log("log", log);
  },
  "block: storage within": async ({ ctx, storage }, t) => {
    await ctx.blockConcurrencyWhile(async () => {
      await storage.put("a", 1);
      t.log("get", await storage.get("a"));
      await storage.transaction(async (txn) => txn.put("b", 2));
    });
    t.log("list", await storage.list());
  },
  "block: timers within": ({ ctx }, t) =>
    t.try("value", () => ctx.blockConcurrencyWhile(() => new Promise((resolve) => setTimeout(resolve, 5, "timer")))),
  "block: calls to other objects within": ({ ctx, env }, t) =>
    t.try("value", () => ctx.blockConcurrencyWhile(() => env.BLOCKED.getByName(`${t.name}: other`).events())),
  "block: a timer from before": async ({ ctx }, t) => {
    const log = [];
    const timer = new Promise((resolve) => setTimeout(() => resolve(log.push("timer")), 10));
    await ctx.blockConcurrencyWhile(async () => {
      await scheduler.wait(100);
      log.push("block ends");
    });
    await timer;
    t.log("log", log);
  },
  "block: a storage get from before": async ({ ctx, storage }, t) => {
    const log = [];
    const got = storage.get("a").then(() => log.push("get"));
    await ctx.blockConcurrencyWhile(async () => {
      await scheduler.wait(50);
      log.push("block ends");
    });
    await got;
    t.log("log", log);
  },
  "block: a microtask from before": async ({ ctx }, t) => {
    const log = [];
    const task = Promise.resolve().then(() => log.push("microtask"));
    await ctx.blockConcurrencyWhile(async () => {
      await scheduler.wait(20);
      log.push("block ends");
    });
    await task;
    t.log("log", log);
  },
});

Object.assign(blocking.outside, {
  "block: in the constructor": async (env, _ctx, t) => t.log("log", await env.BLOCKED.getByName(t.name).events()),
  "block: in the constructor, two events": async (env, _ctx, t) => {
    const stub = env.BLOCKED.getByName(t.name);
    t.log("log", await Promise.all([stub.events(), stub.events()]));
  },
  "block: for longer than 30 s": within(50, async (env, _ctx, t) => {
    const stub = env.BLOCKED.getByName(t.name);
    await stub.events();
    const begin = Date.now();
    const blocked = t.try("the call that blocks", () => stub.tooLong());
    await scheduler.wait(100);
    const waiting = stub.events().then(
      () => ["is answered"],
      (error) => ["throws", error],
    );
    await blocked;
    t.elapsed("after", Date.now() - begin, 29_000, 34_000);
    const [how, error] = await waiting;
    t.log(`a call that waited ${how}`, error);
    t.log("a new stub", await env.BLOCKED.getByName(t.name).events());
  }),
});
