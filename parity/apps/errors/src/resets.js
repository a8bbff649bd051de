// Constructors that throw, and blockConcurrencyWhile that fails.

import { DurableObject } from "cloudflare:workers";

const constructors = {
  throw() {
    throw Object.assign(new RangeError("in the constructor"), { code: 3 });
  },
  "throw text"() {
    throw "only text";
  },
  block(ctx) {
    ctx.blockConcurrencyWhile(() => Promise.reject(new RangeError("in the constructor's block")));
  },
  "block later"(ctx) {
    ctx.blockConcurrencyWhile(async () => {
      await scheduler.wait(20);
      throw new RangeError("in the constructor's block");
    });
  },
  abort(ctx) {
    ctx.abort("in the constructor");
  },
  reject() {
    Promise.reject(new Error("nobody waits"));
  },
  "return another object"() {
    return { hello: () => "not an instance" };
  },
};

/** Its constructor does what its name says after the last colon. */
export class Constructed extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    return constructors[ctx.id.name.split(": ").at(-1)]?.(ctx) ?? this;
  }

  hello() {
    return "hello";
  }

  fetch() {
    return new Response("hello");
  }
}

/** Its constructor fails once: the first time, by what it has stored in a block before. */
export class Blocks extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => {
      if (await ctx.storage.get("failed")) return;
      await ctx.storage.put("failed", true);
      await ctx.storage.sync();
      throw new Error("the first time");
    });
  }

  hello() {
    return "hello";
  }
}

/** It does not hand on what its constructor gets. */
export class Forgetful extends DurableObject {
  constructor() {
    super();
  }

  hello() {
    return "hello";
  }
}

export const resets = {};

for (const what of Object.keys(constructors)) {
  resets[`constructor: ${what}`] = async (env, _ctx, t) => {
    const stub = env.CONSTRUCTED.getByName(t.name);
    await t.try("call", () => stub.hello());
    await t.try("the same stub", () => stub.hello());
    await t.try("a new stub", () => env.CONSTRUCTED.getByName(t.name).hello());
    await t.try("fetch of a new stub", async () =>
      (await env.CONSTRUCTED.getByName(t.name).fetch("http://object/")).text(),
    );
  };
}

Object.assign(resets, {
  "constructor that calls super() without arguments": async (env, _ctx, t) => {
    await t.try("call", () => env.FORGETFUL.getByName(t.name).hello());
  },
  "constructor that fails the first time": async (env, _ctx, t) => {
    const stub = env.BLOCKS.getByName(t.name);
    await t.try("call", () => stub.hello());
    await t.try("the same stub", () => stub.hello());
    await t.try("a new stub", () => env.BLOCKS.getByName(t.name).hello());
  },
});

for (const [name, method] of Object.entries({
  "block that throws": "blockAndThrow",
  "block that throws text": "blockAndThrowText",
  "block that throws, caught": "blockThrowAndCatch",
  "block that throws, not awaited": "blockWithoutAwait",
  "block that throws later, not awaited": "blockWithoutAwaitLater",
  "block in a block that throws, caught": "nestedBlockThrows",
})) {
  resets[name] = async (env, _ctx, t) => {
    const stub = env.THROWER.getByName(t.name);
    t.log("before", await stub.calls());
    await t.try("call", () => stub[method]());
    await scheduler.wait(300);
    await t.try("the same stub", () => stub.calls());
    await t.try("a new stub", () => env.THROWER.getByName(t.name).calls());
  };
}
