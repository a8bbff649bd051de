// ctx.exports.

import { WorkerEntrypoint } from "cloudflare:workers";

export class Entry extends WorkerEntrypoint {
  field = 1;

  echo(value) {
    return value;
  }

  context() {
    return {
      props: this.ctx.props,
      text: this.env.TEXT,
      exports: typeof this.ctx.exports,
      waitUntil: typeof this.ctx.waitUntil,
    };
  }

  count() {
    return this.field++;
  }

  throw() {
    throw Object.assign(new RangeError("in an entrypoint"), { code: 1 });
  }

  object(name) {
    return this.env.LAB.getByName(name).hello();
  }

  get getter() {
    return "from a getter";
  }

  fetch(request) {
    return new Response(`entry ${new URL(request.url).pathname}`);
  }
}

export class NoFetch extends WorkerEntrypoint {
  hello() {
    return "hello";
  }
}

/** Writes into an object after it has answered. */
export class Waits extends WorkerEntrypoint {
  later(name) {
    this.ctx.waitUntil(scheduler.wait(50).then(() => this.env.LAB.getByName(name).put("late")));
    return "answered";
  }
}

export const exported = {
  "exports: keys": (_env, ctx, t) => t.log("keys", Object.keys(ctx.exports).sort()),
  "exports: a handler": (_env, ctx, t) =>
    t.try("fetch", async () => (await ctx.exports.handler.fetch("http://x/")).text()),
  "exports: the default": (_env, ctx, t) =>
    t.try("fetch", async () => (await ctx.exports.default.fetch("http://x/nowhere")).text()),
  "exports: nothing of that name": (_env, ctx, t) => t.log("typeof", typeof ctx.exports.Nowhere),
  "exports: an entrypoint's method": (_env, ctx, t) => t.try("call", () => ctx.exports.Entry.echo({ a: [1] })),
  "exports: an entrypoint's getter": (_env, ctx, t) => t.try("read", () => ctx.exports.Entry.getter),
  "exports: an entrypoint's own field": (_env, ctx, t) => t.try("read", () => ctx.exports.Entry.field),
  "exports: an entrypoint's fetch": (_env, ctx, t) =>
    t.try("fetch", async () => (await ctx.exports.Entry.fetch("http://x/path")).text()),
  "exports: an entrypoint without fetch": async (_env, ctx, t) => {
    await t.try("fetch", () => ctx.exports.NoFetch.fetch("http://x/"));
    await t.try("call", () => ctx.exports.NoFetch.hello());
  },
  "exports: an entrypoint is made for each call": async (_env, ctx, t) => {
    t.log("counts", await ctx.exports.Entry.count(), await ctx.exports.Entry.count());
  },
  "exports: an entrypoint's context": (_env, ctx, t) => t.try("context", () => ctx.exports.Entry.context()),
  "exports: an entrypoint with props": async (_env, ctx, t) => {
    await t.try("context", () => ctx.exports.Entry({ props: { a: 1 } }).context());
    await t.try("refused props", () => ctx.exports.Entry({ props: { f: new WeakMap() } }).context());
    await t.try("no options", () => ctx.exports.Entry().context());
  },
  "exports: an entrypoint throws": (_env, ctx, t) => t.try("call", () => ctx.exports.Entry.throw()),
  "exports: a method that an entrypoint lacks": (_env, ctx, t) => t.try("call", () => ctx.exports.Entry.nowhere()),
  "exports: an entrypoint calls an object": (_env, ctx, t) => t.try("call", () => ctx.exports.Entry.object(t.name)),
  "exports: a class of objects": async (env, ctx, t) => {
    t.log(
      "methods",
      ["idFromName", "newUniqueId", "get", "getByName", "idFromString"].map((name) => typeof ctx.exports.Lab[name]),
    );
    t.log("the same ids", ctx.exports.Lab.idFromName(t.name).equals(env.LAB.idFromName(t.name)));
    await t.try("call", () => ctx.exports.Lab.getByName(t.name).hello());
  },
  "exports: a class of objects with props": (_env, ctx, t) =>
    t.sync("call", () => typeof ctx.exports.Lab({ props: { a: 1 } })),
  "exports: the same object each time": (_env, ctx, t) =>
    t.log("same", ctx.exports === ctx.exports, ctx.exports.Entry === ctx.exports.Entry),
};
