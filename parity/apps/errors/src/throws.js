// Errors that objects throw in calls and in fetch: they reach the caller, and the object goes on.

import { thrown } from "./objects.js";

export const throws = {};

for (const what of Object.keys(thrown)) {
  throws[`call throws ${what}`] = async (env, _ctx, t) => {
    const stub = env.THROWER.getByName(t.name);
    await t.try("call", () => stub.throw(what));
    t.log("calls of the same instance", await stub.calls());
  };
  throws[`fetch throws ${what}`] = async (env, _ctx, t) => {
    const stub = env.THROWER.getByName(t.name);
    await t.try("fetch", () => stub.fetch(`http://object/?${new URLSearchParams({ what })}`));
    t.log("calls of the same instance", await stub.calls());
  };
}

for (const what of ["an Error", "an Error with properties", "text"]) {
  throws[`call rejects with ${what}`] = async (env, _ctx, t) => {
    await t.try("call", () => env.THROWER.getByName(t.name).reject(what));
  };
}

/** A call of a method, and then which instance answers. */
const call =
  (method, { wait = 0, binding = "THROWER" } = {}) =>
  async (env, _ctx, t) => {
    const stub = env[binding].getByName(t.name);
    t.log("first", await stub.calls());
    await t.try("call", () => stub[method]());
    await scheduler.wait(wait);
    await t.try("second", () => stub.calls());
  };

Object.assign(throws, {
  "call throws by itself": call("notFunction"),
  "call returns an error": call("returnError"),
  "unhandled rejection": call("leaveRejection", { wait: 300 }),
  "unhandled rejection after the answer": call("leaveLateRejection", { wait: 300 }),
  "error in a timer": call("throwInTimer", { wait: 300 }),
  "rejection in waitUntil": call("rejectInWaitUntil", { wait: 300 }),
  "without SQLite: call throws by itself": call("notFunction", { binding: "THROWER_PLAIN" }),
  "a getter that throws": async (env, _ctx, t) => {
    const stub = env.THROWER.getByName(t.name);
    await t.try("getter", () => stub.getter);
    t.log("calls", await stub.calls());
  },
  "stack of an error": async (env, _ctx, t) => {
    const stack = await env.THROWER.getByName(t.name)
      .throw("an Error")
      .catch((error) => error.stack);
    t.log("kind", typeof stack, stack.split("\n")[0]);
    t.log("tells where it was thrown", /objects\.js|index\.js/.test(stack));
  },
  "an error that comes through another object": async (env, _ctx, t) => {
    await t.try("call", () =>
      env.CALLER.getByName(t.name).call(`${t.name}: thrower`, "throw", "an Error with properties"),
    );
  },
  "an error as another object sees it": async (env, _ctx, t) => {
    await t.try("call", () =>
      env.CALLER.getByName(t.name).catch(`${t.name}: thrower`, "throw", "an Error with properties"),
    );
    await t.try("abort", () => env.CALLER.getByName(t.name).catch(`${t.name}: thrower`, "abort", "gone"));
  },
  "a reset that comes through another object": async (env, _ctx, t) => {
    const caller = env.CALLER.getByName(t.name);
    await t.try("call", () => caller.call(`${t.name}: thrower`, "abort", "gone"));
    await t.try("call again", () => caller.call(`${t.name}: thrower`, "calls"));
  },
});
