// Alarms: setting them, when and with what they come, and what becomes of those that fail.

import { DurableObject } from "cloudflare:workers";

import { handling } from "./handling.js";
import { inside, perform, serve } from "./parity/parity.js";
import { Planned, retries, restarts } from "./retries.js";
import { setting } from "./setting.js";

export { Planned };

const cases = { ...setting, ...handling };

/** Runs cases of which each says itself what the alarm does: `object.onAlarm`. */
export class Lab extends DurableObject {
  #heard = [];
  #waiting = [];

  fetch(request) {
    return perform(cases, this, request);
  }

  async alarm(info) {
    try {
      return await this.onAlarm?.(info, this.#heard.length);
    } finally {
      this.#heard.push(info);
      this.#waiting.splice(0).forEach((resume) => resume());
    }
  }

  /** The infos of the first `count` alarms, when they have been handled. */
  async alarms(count) {
    while (this.#heard.length < count) await new Promise((resolve) => this.#waiting.push(resolve));
    return this.#heard.slice(0, count);
  }

  get heard() {
    return this.#heard.length;
  }
}

export class Plain extends Lab {}

const noHandler = {
  "without a handler": async ({ storage }, t) => {
    await t.try("setAlarm", () => storage.setAlarm(Date.now() + 10));
    await t.try("getAlarm", () => storage.getAlarm());
    await t.try("deleteAlarm", () => storage.deleteAlarm());
  },
  "without a handler, in a transaction": ({ storage }, t) =>
    t.try("transaction", () => storage.transaction((txn) => txn.setAlarm(Date.now() + 10))),
};

export class NoHandler extends DurableObject {
  fetch(request) {
    return perform(noHandler, this, request);
  }
}

/** Sets its alarm in its constructor. */
export class Early extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => {
      if ((await ctx.storage.getAlarm()) === null && !(await ctx.storage.get("alarmed")))
        await ctx.storage.setAlarm(Date.now() + 20);
    });
  }

  async alarm() {
    await this.ctx.storage.put("alarmed", true);
  }

  alarmed() {
    return this.ctx.storage.get("alarmed");
  }
}

const constructed = {
  "set in the constructor": async (env, _ctx, t) => {
    const stub = env.EARLY.getByName(t.name);
    let alarmed;
    for (let tries = 0; tries < 100 && !alarmed; tries++) {
      alarmed = await stub.alarmed();
      await scheduler.wait(20);
    }
    t.log("alarmed", alarmed);
  },
};

const after = (end) => Object.fromEntries(Object.entries(restarts).map(([name, steps]) => [`${end}: ${name}`, steps]));

export default serve(
  {
    ...inside("LAB", cases),
    ...inside("PLAIN", cases, "without SQLite: "),
    ...inside("NO_HANDLER", noHandler),
    ...constructed,
    ...retries,
  },
  { stopped: after("stopped"), killed: after("killed") },
);
