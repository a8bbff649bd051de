// Instances while the server runs.

import { within } from "./parity/parity.js";

/** Longer than an object stays that nobody asks. */
const IDLE = 16_000;

export const instances = {
  "instance: fields stay from call to call": async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    t.log("calls", await stub.call(), await stub.call(), await env.COUNTER.getByName(t.name).call());
  },
  "instance: there is one for calls at the same time": async (env, _ctx, t) => {
    const calls = await Promise.all(Array.from({ length: 10 }, () => env.COUNTER.getByName(t.name).call()));
    t.log(
      "calls",
      calls.sort((a, b) => a - b),
    );
  },
  "instance: one for each name": async (env, _ctx, t) => {
    t.log(
      "calls",
      await env.COUNTER.getByName(`${t.name}: a`).call(),
      await env.COUNTER.getByName(`${t.name}: b`).call(),
    );
  },
  "instance: one for each class": async (env, _ctx, t) => {
    t.log("calls", await env.COUNTER.getByName(t.name).call(), await env.PLAIN.getByName(t.name).call());
  },
  "instance: a new one after an abort": async (env, _ctx, t) => {
    const counter = () => env.COUNTER.getByName(t.name);
    t.log("calls", await counter().call(), await counter().call());
    await counter().putAwaited("a");
    await counter()
      .abort()
      .catch(() => {});
    t.log("calls", await counter().call());
    t.log("keys", await counter().keys());
  },
  "instance: the constructor runs at each wake": async (env, _ctx, t) => {
    const waker = () => env.WAKER.getByName(t.name);
    t.log("wakes", await waker().woken(), await waker().woken());
    await waker()
      .abort()
      .catch(() => {});
    t.log("wakes", await waker().woken());
    await waker()
      .abort()
      .catch(() => {});
    t.log("wakes", await waker().woken());
  },
  "instance: deleteAll does not end it": async (env, _ctx, t) => {
    const stub = env.WAKER.getByName(t.name);
    t.log("wakes", await stub.woken());
    await stub.deleteAll();
    t.log("wakes", await stub.woken());
    await stub.abort().catch(() => {});
    t.log("wakes after it", await env.WAKER.getByName(t.name).woken());
  },
  "instance: id and name after an abort": async (env, _ctx, t) => {
    const counter = () => env.COUNTER.getByName(t.name);
    const id = await counter().ownId();
    await counter()
      .abort()
      .catch(() => {});
    t.log("same id", (await counter().ownId()) === id);
    t.log("name", await counter().ownName());
  },
  "instance: a timer goes on after the answer": async (env, _ctx, t) => {
    await env.COUNTER.getByName(t.name).timer(100, "late");
    await scheduler.wait(300);
    t.log("keys", await env.COUNTER.getByName(t.name).keys());
  },
  "instance: waitUntil goes on after the answer": async (env, _ctx, t) => {
    await env.COUNTER.getByName(t.name).waitUntil(100, "late");
    await scheduler.wait(300);
    t.log("keys", await env.COUNTER.getByName(t.name).keys());
  },
  "idle: an object that nobody asks begins anew": within(40, async (env, _ctx, t) => {
    t.log("calls", await env.COUNTER.getByName(t.name).call());
    await scheduler.wait(IDLE);
    t.log("calls", await env.COUNTER.getByName(t.name).call());
  }),
  "idle: the same stub, afterwards": within(40, async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    t.log("calls", await stub.call());
    await scheduler.wait(IDLE);
    await t.try("calls", () => stub.call());
  }),
  "idle: one that is asked goes on": within(40, async (env, _ctx, t) => {
    for (let waited = 0; waited < IDLE; waited += 2000) {
      await env.COUNTER.getByName(t.name).call();
      await scheduler.wait(2000);
    }
    t.log("calls", await env.COUNTER.getByName(t.name).call());
  }),
  "idle: one whose call is under way goes on": within(40, async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    t.log("calls", await stub.call());
    await stub.wait(IDLE);
    t.log("calls", await stub.call());
  }),
  "idle: one with an interval": within(40, async (env, _ctx, t) => {
    await env.COUNTER.getByName(t.name).interval(1000);
    t.log("calls", await env.COUNTER.getByName(t.name).call());
    await scheduler.wait(IDLE);
    t.log("calls", await env.COUNTER.getByName(t.name).call());
  }),
  "idle: one with a timer that has not come": within(40, async (env, _ctx, t) => {
    await env.COUNTER.getByName(t.name).timer(IDLE + 2000, "late");
    t.log("calls", await env.COUNTER.getByName(t.name).call());
    await scheduler.wait(IDLE);
    t.log("calls", await env.COUNTER.getByName(t.name).call());
  }),
  "idle: a timer comes though nobody asks": within(40, async (env, _ctx, t) => {
    await env.COUNTER.getByName(t.name).timer(IDLE - 2000, "late");
    await scheduler.wait(IDLE);
    t.log("keys", await env.COUNTER.getByName(t.name).keys());
  }),
  "idle: waitUntil goes on though nobody asks": within(40, async (env, _ctx, t) => {
    await env.COUNTER.getByName(t.name).waitUntil(IDLE - 2000, "late");
    t.log("calls", await env.COUNTER.getByName(t.name).call());
    await scheduler.wait(IDLE);
    t.log("keys", await env.COUNTER.getByName(t.name).keys());
    t.log("calls", await env.COUNTER.getByName(t.name).call());
  }),
  "idle: what is stored": within(40, async (env, _ctx, t) => {
    await env.COUNTER.getByName(t.name).put("a");
    await scheduler.wait(IDLE);
    t.log("keys", await env.COUNTER.getByName(t.name).keys());
  }),
};
