// Events that come at the same time: what the input gate keeps apart.

import { DurableObject } from "cloudflare:workers";

/** Counts in several ways, of which some lose what others counted meanwhile. */
export class Counter extends DurableObject {
  n = 0;
  log = [];

  async stored() {
    const n = (await this.ctx.storage.get("n")) ?? 0;
    await this.ctx.storage.put("n", n + 1);
    return n + 1;
  }

  async storedUnconfirmed() {
    const n = (await this.ctx.storage.get("n")) ?? 0;
    await this.ctx.storage.put("n", n + 1, { allowUnconfirmed: true });
    return n + 1;
  }

  async storedAllowingConcurrency() {
    const n = (await this.ctx.storage.get("n", { allowConcurrency: true })) ?? 0;
    await this.ctx.storage.put("n", n + 1);
    return n + 1;
  }

  async listed() {
    const n = (await this.ctx.storage.list()).get("n") ?? 0;
    this.ctx.storage.put("n", n + 1);
    return n + 1;
  }

  async inMemory() {
    const { n } = this;
    await this.ctx.storage.get("n");
    this.n = n + 1;
    return this.n;
  }

  async inMemoryAcrossPut() {
    const { n } = this;
    await this.ctx.storage.put("other", n);
    this.n = n + 1;
    return this.n;
  }

  async inMemoryAcrossTwoGets() {
    const { n } = this;
    await this.ctx.storage.get("n");
    await this.ctx.storage.get("n");
    this.n = n + 1;
    return this.n;
  }

  async inMemoryAcrossMicrotasks() {
    const { n } = this;
    for (let i = 0; i < 10; i++) await null;
    this.n = n + 1;
    return this.n;
  }

  async inMemoryAcrossWait() {
    const { n } = this;
    await scheduler.wait(500);
    this.n = n + 1;
    return this.n;
  }

  async inMemoryAcrossTimer() {
    const { n } = this;
    await new Promise((resolve) => setTimeout(resolve, 500));
    this.n = n + 1;
    return this.n;
  }

  async inMemoryAcrossSync() {
    const { n } = this;
    this.ctx.storage.put("other", n);
    await this.ctx.storage.sync();
    this.n = n + 1;
    return this.n;
  }

  async inMemoryAcrossCall() {
    const { n } = this;
    await this.env.COUNTER.getByName(`${this.ctx.id.name}: other`).slowly(500);
    this.n = n + 1;
    return this.n;
  }

  async storedAcrossWait() {
    const n = (await this.ctx.storage.get("n")) ?? 0;
    await scheduler.wait(500);
    await this.ctx.storage.put("n", n + 1);
    return n + 1;
  }

  transaction() {
    return this.ctx.storage.transaction(async (txn) => {
      const n = (await txn.get("n")) ?? 0;
      await scheduler.wait(1);
      await txn.put("n", n + 1);
      return n + 1;
    });
  }

  async slowTransaction(fate) {
    await this.ctx.storage.transaction(async (txn) => {
      this.log.push("transaction begins");
      await txn.put("a", "of the transaction");
      await scheduler.wait(500);
      this.log.push("transaction ends");
      if (fate === "throws") throw new Error("back");
    });
  }

  async putMeanwhile() {
    await this.ctx.storage.put("b", "meanwhile");
    this.log.push("put");
  }

  async getMeanwhile() {
    const a = await this.ctx.storage.get("a");
    this.log.push(`get ${a}`);
  }

  execMeanwhile() {
    this.ctx.storage.sql.exec("CREATE TABLE t (a)");
    this.log.push("exec");
  }

  kvMeanwhile() {
    this.ctx.storage.kv.put("b", "meanwhile");
    this.log.push(`kv ${this.ctx.storage.kv.get("a")}`);
  }

  async left() {
    const tables = this.ctx.storage.sql.exec("SELECT name FROM sqlite_schema WHERE name = 't'").toArray();
    return { list: await this.ctx.storage.list(), tables, log: this.log };
  }

  blocked() {
    return this.ctx.blockConcurrencyWhile(async () => {
      const { n } = this;
      await scheduler.wait(2);
      this.n = n + 1;
      return this.n;
    });
  }

  async slowly(ms) {
    await scheduler.wait(ms);
  }

  async note(what, ms) {
    this.log.push(`${what} begins`);
    if (ms > 0) await scheduler.wait(ms);
    this.log.push(`${what} ends`);
  }

  async noteInBlock(what, ms) {
    await this.ctx.blockConcurrencyWhile(() => this.note(what, ms));
  }

  notes() {
    return this.log;
  }

  plain(n) {
    this.log.push(n);
  }

  fetch(request) {
    this.log.push(new URL(request.url).pathname);
    return new Response();
  }
}

export class CounterPlain extends Counter {}

/** Twenty calls at the same time. Sorted, for what counts is which numbers were given. */
const twenty =
  (method, binding = "COUNTER") =>
  async (env, _ctx, t) => {
    const stub = env[binding].getByName(t.name);
    const numbers = await Promise.all(Array.from({ length: 20 }, () => stub[method]()));
    t.log(
      "numbers",
      numbers.toSorted((a, b) => a - b),
    );
  };

/** A call of a method while a transaction waits, and what is there in the end. */
const meanwhile = (method, fate) => async (env, _ctx, t) => {
  const stub = env.COUNTER.getByName(t.name);
  await Promise.all([
    t.try("transaction", () => stub.slowTransaction(fate)),
    scheduler.wait(200).then(() => stub[method]()),
  ]);
  t.log("left", await stub.left());
};

export const events = {
  "transaction: a put of another event meanwhile": meanwhile("putMeanwhile", "ends"),
  "transaction: a put of another event meanwhile, then it throws": meanwhile("putMeanwhile", "throws"),
  "transaction: a get of another event meanwhile": meanwhile("getMeanwhile", "ends"),
  "transaction: a get of another event meanwhile, then it throws": meanwhile("getMeanwhile", "throws"),
  "transaction: SQL of another event meanwhile": meanwhile("execMeanwhile", "ends"),
  "transaction: SQL of another event meanwhile, then it throws": meanwhile("execMeanwhile", "throws"),
  "transaction: synchronous storage of another event meanwhile": meanwhile("kvMeanwhile", "ends"),
  "transaction: synchronous storage of another event meanwhile, then it throws": meanwhile("kvMeanwhile", "throws"),
  "input gate: 20 of get and put": twenty("stored"),
  "input gate: 20 of get and put, unconfirmed": twenty("storedUnconfirmed"),
  "input gate: 20 of get with allowConcurrency and put": twenty("storedAllowingConcurrency"),
  "input gate: 20 of list and put": twenty("listed"),
  "input gate: 20 in memory across a get": twenty("inMemory"),
  "input gate: 20 in memory across two gets": twenty("inMemoryAcrossTwoGets"),
  "input gate: 20 in memory across a put": twenty("inMemoryAcrossPut"),
  "input gate: 20 in memory across microtasks": twenty("inMemoryAcrossMicrotasks"),
  "input gate: 20 in memory across a sync": twenty("inMemoryAcrossSync"),
  "input gate: 20 in memory across scheduler.wait": twenty("inMemoryAcrossWait"),
  "input gate: 20 in memory across a timer": twenty("inMemoryAcrossTimer"),
  "input gate: 20 in memory across a call to another object": twenty("inMemoryAcrossCall"),
  "input gate: 20 stored across scheduler.wait": twenty("storedAcrossWait"),
  "input gate: 20 transactions": twenty("transaction"),
  "input gate: 20 of blockConcurrencyWhile": twenty("blocked"),
  "input gate without SQLite: 20 of get and put": twenty("stored", "COUNTER_PLAIN"),
  "input gate without SQLite: 20 in memory across a get": twenty("inMemory", "COUNTER_PLAIN"),
  "input gate without SQLite: 20 in memory across a put": twenty("inMemoryAcrossPut", "COUNTER_PLAIN"),
  "input gate without SQLite: 20 across scheduler.wait": twenty("inMemoryAcrossWait", "COUNTER_PLAIN"),
  "order: calls on one stub": async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    await Promise.all(Array.from({ length: 100 }, (_, n) => stub.plain(n)));
    const notes = await stub.notes();
    t.log(
      "in order",
      notes.every((n, at) => n === at),
      notes.length,
    );
  },
  "order: fetches on one stub": async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    await Promise.all(Array.from({ length: 50 }, (_, n) => stub.fetch(`http://object/${n}`)));
    const notes = await stub.notes();
    t.log(
      "in order",
      notes.every((path, at) => path === `/${at}`),
      notes.length,
    );
  },
  "order: calls and fetches on one stub": async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    const calls = Array.from({ length: 20 }, (_, n) =>
      n % 2 ? stub.plain(`/${n}`) : stub.fetch(`http://object/${n}`),
    );
    await Promise.all(calls);
    const notes = await stub.notes();
    t.log(
      "in order",
      notes.every((path, at) => path === `/${at}`),
      notes.length,
    );
  },
  "order: calls overlap where they wait": async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    await Promise.all([stub.note("first", 500), stub.note("second", 0)]);
    t.log("notes", await stub.notes());
  },
  "order: a call during blockConcurrencyWhile waits": async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    await Promise.all([stub.noteInBlock("first", 500), stub.note("second", 0)]);
    t.log("notes", await stub.notes());
  },
  "order: calls that wait for blockConcurrencyWhile keep theirs": async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    await Promise.all([stub.noteInBlock("block", 200), ...Array.from({ length: 10 }, (_, n) => stub.plain(n))]);
    t.log("notes", await stub.notes());
  },
  "order: two blockConcurrencyWhile": async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    await Promise.all([stub.noteInBlock("first", 200), stub.noteInBlock("second", 10)]);
    t.log("notes", await stub.notes());
  },
  "order: a continuation during another's blockConcurrencyWhile": async (env, _ctx, t) => {
    const stub = env.COUNTER.getByName(t.name);
    await Promise.all([stub.note("waits", 200), stub.noteInBlock("blocks", 600)]);
    t.log("notes", await stub.notes());
  },
};
