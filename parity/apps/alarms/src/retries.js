// Alarms whose handler fails, or ends with its object; and alarms of a server that was killed.

import { DurableObject } from "cloudflare:workers";

import { within } from "./parity/parity.js";

/** Its alarm's handler does what its plan says, one entry for each time that it runs, and writes down each time. */
export class Planned extends DurableObject {
  /** Whether this instance has had another event before. */
  woken = true;

  async arm(plan, delay = 20) {
    this.woken = false;
    await this.ctx.storage.put({ plan, runs: [] });
    await this.ctx.storage.setAlarm(Date.now() + delay);
  }

  async alarm({ isRetry, retryCount, scheduledTime }) {
    const { storage } = this.ctx;
    const [plan, runs] = [await storage.get("plan"), await storage.get("runs")];
    const what = plan[runs.length];
    runs.push({
      isRetry,
      retryCount,
      scheduledTime,
      at: Date.now(),
      alarm: await storage.getAlarm(),
      name: this.ctx.id.name,
      woken: this.woken,
    });
    this.woken = false;
    await storage.put("runs", runs);
    await storage.sync();
    await this[what]?.();
  }

  throw() {
    throw new Error("as planned");
  }

  async writeAndThrow() {
    await this.ctx.storage.put("written", true);
    throw new Error("as planned");
  }

  async deleteAndThrow() {
    await this.ctx.storage.deleteAlarm();
    throw new Error("as planned");
  }

  async setAndDeleteAndThrow() {
    await this.ctx.storage.setAlarm(Date.now() + 3_600_000);
    await this.ctx.storage.deleteAlarm();
    throw new Error("as planned");
  }

  abort() {
    this.ctx.abort("as planned");
  }

  abortWithoutRetry() {
    this.ctx.abort("as planned", { retryAlarm: false });
  }

  abortWithRetry() {
    this.ctx.abort("as planned", { retryAlarm: true });
  }

  async setAndAbort() {
    // Not due before it is stored, however busy the machine is.
    await this.ctx.storage.setAlarm(Date.now() + 2000);
    await this.ctx.storage.sync();
    this.ctx.abort("as planned");
  }

  block() {
    return this.ctx.blockConcurrencyWhile(() => Promise.reject(new Error("as planned")));
  }

  async state() {
    const { storage } = this.ctx;
    return {
      runs: (await storage.get("runs")) ?? [],
      alarm: await storage.getAlarm(),
      written: await storage.get("written"),
    };
  }

  setAlarm(delay) {
    return this.ctx.storage.setAlarm(Date.now() + delay);
  }

  deleteAlarm() {
    return this.ctx.storage.deleteAlarm();
  }
}

/** The object's state once its handler has run `count` times, from a new stub each time: aborts break them. */
async function ran(env, t, count) {
  for (;;) {
    const state = await env.PLANNED.getByName(t.name)
      .state()
      .catch(() => ({ runs: [] }));
    if (state.runs.length >= count) return state;
    await scheduler.wait(20);
  }
}

const told = ({ runs }) => runs.map(({ isRetry, retryCount, alarm }) => ({ isRetry, retryCount, alarm }));

/** A case in which the handler runs as often as the plan has entries, and not again within `rest` ms. */
function planned(plan, { seconds = 30, rest = 0 } = {}) {
  return within(seconds, async (env, _ctx, t) => {
    await env.PLANNED.getByName(t.name).arm(plan);
    await ran(env, t, plan.length);
    await scheduler.wait(rest);
    const state = await env.PLANNED.getByName(t.name).state();
    t.log("runs", told(state));
    t.log("after", state.alarm, state.written);
    t.log("name", state.runs.at(-1).name === t.name);
    state.runs
      .slice(1)
      .forEach(({ at }, nth) => t.elapsed(`retry ${nth + 1} after`, at - state.runs[nth].at, ...delay(nth, plan[nth])));
  });
}

/** Milliseconds that a busy machine may add. */
const BUSY = 2000;

/** From 2 s, doubled each time, with up to a quarter more; not where another alarm was set. */
const delay = (nth, what) =>
  what === "setAndAbort" ? [0, 2000 + BUSY] : [2000 * 2 ** nth - 100, 2500 * 2 ** nth + BUSY];

export const retries = {
  "retry: a handler that throws once": planned(["throw", "end"], { rest: 500 }),
  "retry: a handler that throws twice": planned(["throw", "throw", "end"]),
  "retry: writes of a handler that throws stay": planned(["writeAndThrow", "end"]),
  "retry: a handler that deletes the alarm and throws": planned(["deleteAndThrow"], { rest: 4000 }),
  "retry: a handler that aborts": planned(["abort", "end"], { rest: 500 }),
  "retry: a handler that aborts with retryAlarm true": planned(["abortWithRetry", "end"]),
  "retry: a handler that aborts with retryAlarm false": planned(["abortWithoutRetry"], { rest: 4000 }),
  "retry: a handler that aborts twice": planned(["abort", "abort", "end"]),
  "retry: a handler that throws and then aborts": planned(["throw", "abort", "end"]),
  "retry: a handler that sets an alarm and aborts": planned(["setAndAbort", "end"]),
  "retry: a handler that sets and deletes an alarm and throws": planned(["setAndDeleteAndThrow"], { rest: 4000 }),
  "retry: a handler whose blockConcurrencyWhile fails": planned(["block", "end"]),
  "retry: getAlarm between two tries": within(30, async (env, _ctx, t) => {
    const stub = env.PLANNED.getByName(t.name);
    await stub.arm(["throw", "end"]);
    await ran(env, t, 1);
    await scheduler.wait(300);
    const { alarm, runs } = await stub.state();
    t.log("alarm", alarm === null ? null : typeof alarm, runs.length);
  }),
  "idle: an alarm wakes the object": within(40, async (env, _ctx, t) => {
    await env.PLANNED.getByName(t.name).arm(["end"], 14_000);
    await scheduler.wait(16_000);
    const { runs } = await ran(env, t, 1);
    t.log("woken", runs[0].woken, runs[0].name === t.name);
    t.elapsed("late", runs[0].at - runs[0].scheduledTime, 0, BUSY);
  }),
  "idle: an alarm of an object that is awake": within(40, async (env, _ctx, t) => {
    await env.PLANNED.getByName(t.name).arm(["end"], 1000);
    t.log("woken", (await ran(env, t, 1)).runs[0].woken);
  }),
  "retry: scheduledTime of the second try": within(30, async (env, _ctx, t) => {
    const stub = env.PLANNED.getByName(t.name);
    await stub.arm(["throw", "end"]);
    const { runs } = await ran(env, t, 2);
    t.log("the same", runs[1].scheduledTime === runs[0].scheduledTime);
  }),
  "retry: deleteAlarm between two tries": within(30, async (env, _ctx, t) => {
    const stub = env.PLANNED.getByName(t.name);
    await stub.arm(["throw", "end"]);
    await ran(env, t, 1);
    await scheduler.wait(300);
    await stub.deleteAlarm();
    await scheduler.wait(4000);
    t.log("runs", told(await stub.state()));
  }),
  "retry: setAlarm between two tries": within(30, async (env, _ctx, t) => {
    const stub = env.PLANNED.getByName(t.name);
    await stub.arm(["throw", "end"]);
    await ran(env, t, 1);
    await scheduler.wait(300);
    await stub.setAlarm(50);
    const { runs } = await ran(env, t, 2);
    t.log("runs", told({ runs }));
    t.elapsed("after", runs[1].at - runs[0].at, 300, 4500);
    await scheduler.wait(4000);
    t.log("in the end", (await stub.state()).runs.length);
  }),
  "retry: given up after six": planned(Array(7).fill("throw"), { seconds: 300, rest: 5000 }),
};

/** Each has a step before and one after the server has ended. */
export const restarts = {
  "an alarm of the future comes": [
    async (env, _ctx, t) => {
      await env.PLANNED.getByName(t.name).arm(["end"], 3000);
    },
    async (env, _ctx, t) => {
      const { runs } = await ran(env, t, 1);
      t.log("runs", told({ runs }));
      t.log("name", runs[0].name === t.name);
    },
  ],
  "an alarm comes without anybody asking": [
    async (env, _ctx, t) => {
      await env.PLANNED.getByName(t.name).arm(["end"], 1000);
    },
    async (env, _ctx, t) => {
      await scheduler.wait(5000);
      t.log("runs", told(await env.PLANNED.getByName(t.name).state()));
    },
  ],
  "an alarm that was deleted does not come": [
    async (env, _ctx, t) => {
      const stub = env.PLANNED.getByName(t.name);
      await stub.arm(["end"], 2000);
      await stub.deleteAlarm();
    },
    async (env, _ctx, t) => {
      await scheduler.wait(3000);
      t.log("runs", (await env.PLANNED.getByName(t.name).state()).runs);
    },
  ],
  "an alarm that has come does not come again": [
    async (env, _ctx, t) => {
      await env.PLANNED.getByName(t.name).arm(["end"]);
      t.log("runs", told(await ran(env, t, 1)));
      await scheduler.wait(500);
    },
    async (env, _ctx, t) => {
      await scheduler.wait(3000);
      t.log("runs", told(await env.PLANNED.getByName(t.name).state()));
    },
  ],
  "an alarm that waits for its next try": [
    async (env, _ctx, t) => {
      await env.PLANNED.getByName(t.name).arm(["throw", "end"]);
      t.log("runs", told(await ran(env, t, 1)));
      await scheduler.wait(200);
    },
    async (env, _ctx, t) => {
      const { runs } = await ran(env, t, 2);
      t.log("times", runs.length);
    },
  ],
  "getAlarm after it": [
    async (env, _ctx, t) => {
      await env.PLANNED.getByName(t.name).arm(["end"], 3_600_000);
    },
    async (env, _ctx, t) => {
      const { alarm } = await env.PLANNED.getByName(t.name).state();
      t.elapsed("away", alarm - Date.now(), 3_500_000, 3_600_000);
    },
  ],
};
