// ctx.abort: who hears of it, and what is there afterwards.

/** Calls what aborts, then the same stub and a new one. */
const aborted =
  (method, args = [], { wait = 0, binding = "THROWER" } = {}) =>
  async (env, _ctx, t) => {
    const stub = env[binding].getByName(t.name);
    t.log("before", await stub.calls());
    await t.try("call", () => stub[method](...args));
    await scheduler.wait(wait);
    await t.try("the same stub", () => stub.calls());
    await t.try("the same stub, again", () => stub.calls());
    await t.try("a new stub", () => env[binding].getByName(t.name).calls());
  };

export const aborts = {
  "abort with text": aborted("abort", ["my reason"]),
  "abort without a reason": aborted("abort"),
  "abort with undefined": aborted("abort", [undefined]),
  "abort with null": aborted("abort", [null]),
  "abort with an empty text": aborted("abort", [""]),
  "abort with a number": aborted("abort", [7]),
  "abort with an error": aborted("abortWithError"),
  "abort with options": aborted("abort", ["why", { retryAlarm: false }]),
  "abort in a try": aborted("abortAndCatch"),
  "abort in waitUntil": aborted("abortLater", [20], { wait: 300 }),
  "abort in a timer": aborted("abortInTimer", [20], { wait: 300 }),
  "without SQLite: abort": aborted("abort", ["my reason"], { binding: "THROWER_PLAIN" }),
  "abort while another call waits": async (env, _ctx, t) => {
    const stub = env.THROWER.getByName(t.name);
    const waits = t.try("waiting call", () => stub.wait(2000));
    const fetches = t.try("call of another stub", () => env.THROWER.getByName(t.name).wait(2000));
    await scheduler.wait(200);
    await stub.abort("gone").catch(() => {});
    await Promise.all([waits, fetches]);
    await t.try("a new stub", () => env.THROWER.getByName(t.name).calls());
  },
  "abort breaks every stub of before": async (env, _ctx, t) => {
    const [first, second, unused] = [1, 2, 3].map(() => env.THROWER.getByName(t.name));
    await first.calls();
    await second.calls();
    await first.abort("gone").catch(() => {});
    await t.try("first", () => first.calls());
    await t.try("second", () => second.calls());
    await t.try("one that was not used", () => unused.calls());
  },
  "fetch of a stub that an abort has broken": async (env, _ctx, t) => {
    const stub = env.THROWER.getByName(t.name);
    await stub.abort("gone").catch(() => {});
    await t.try("fetch", () => stub.fetch("http://object/?what=text"));
  },
  "abort ends what runs": async (env, _ctx, t) => {
    const stub = env.THROWER.getByName(t.name);
    const waits = stub.putAndWait(1000).catch(() => {});
    await scheduler.wait(200);
    await stub.abort("gone").catch(() => {});
    await waits;
    await scheduler.wait(1500);
    t.log("stored", await env.THROWER.getByName(t.name).stored());
  },
  "abort twice": async (env, _ctx, t) => {
    for (const time of [1, 2])
      await t.try(`abort ${time}`, () => env.THROWER.getByName(t.name).abort(`reason ${time}`));
    await t.try("then", () => env.THROWER.getByName(t.name).calls());
  },
  "abort leaves other objects alone": async (env, _ctx, t) => {
    const other = env.THROWER.getByName(`${t.name}: other`);
    const waits = t.try("other", () => other.wait(500));
    await env.THROWER.getByName(t.name)
      .abort("gone")
      .catch(() => {});
    await waits;
    t.log("other's calls", await other.calls());
  },
};
