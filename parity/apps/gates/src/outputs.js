// What becomes of writes whose event ends in one way or another, and of what was sent meanwhile.

import { DurableObject } from "cloudflare:workers";

export class Slow extends DurableObject {
  async putAndAnswer() {
    this.ctx.storage.put("a", 1);
    return "answer";
  }

  async putAndThrow() {
    this.ctx.storage.put("a", 1);
    throw new Error("after put");
  }

  async putAwaitedAndThrow() {
    await this.ctx.storage.put("a", 1);
    throw new Error("after put");
  }

  async putAndAbort() {
    this.ctx.storage.put("a", 1);
    this.ctx.abort("after put");
  }

  async putAwaitedAndAbort() {
    await this.ctx.storage.put("a", 1);
    this.ctx.abort("after put");
  }

  async putSyncedAndAbort() {
    this.ctx.storage.put("a", 1);
    await this.ctx.storage.sync();
    this.ctx.abort("after sync");
  }

  async putUnconfirmedSyncedAndAbort() {
    this.ctx.storage.put("a", 1, { allowUnconfirmed: true });
    await this.ctx.storage.sync();
    this.ctx.abort("after sync");
  }

  async putWaitAndAbort() {
    this.ctx.storage.put("a", 1);
    await scheduler.wait(200);
    this.ctx.abort("after put");
  }

  async putTwiceAcrossWaitAndAbort() {
    this.ctx.storage.put("a", 1);
    await this.ctx.storage.sync();
    this.ctx.storage.put("a", 2);
    this.ctx.storage.put("b", 2);
    this.ctx.abort("after put");
  }

  async putInWaitUntil() {
    this.ctx.waitUntil(scheduler.wait(20).then(() => this.ctx.storage.put("a", 1)));
    return "answer";
  }

  async putAfterAnswer() {
    setTimeout(() => this.ctx.storage.put("a", 1), 20);
    return "answer";
  }

  async putInBlockThatFails() {
    return this.ctx.blockConcurrencyWhile(async () => {
      this.ctx.storage.put("a", 1);
      throw new Error("block");
    });
  }

  async execAndThrow() {
    this.ctx.storage.sql.exec("CREATE TABLE t (a)");
    throw new Error("after exec");
  }

  async execAndAbort() {
    this.ctx.storage.sql.exec("CREATE TABLE t (a)");
    this.ctx.abort("after exec");
  }

  async tell(other) {
    this.ctx.storage.put("a", 1);
    return this.env.SLOW.getByName(other).putAndAnswer();
  }

  async keys() {
    return [...(await this.ctx.storage.list()).keys()];
  }

  tables() {
    return this.ctx.storage.sql.exec("SELECT name FROM sqlite_schema WHERE name NOT GLOB '_cf_*'").toArray();
  }
}

/** Calls a method, and looks at what is stored afterwards, with a new stub: an abort breaks the old one. */
const after =
  (method, { read = "keys", wait = 0 } = {}) =>
  async (env, _ctx, t) => {
    await t.try("call", () => env.SLOW.getByName(t.name)[method](`${t.name}: other`));
    await scheduler.wait(wait);
    await t.try("stored", () => env.SLOW.getByName(t.name)[read]());
  };

export const outputs = {
  "writes: put, then an answer": after("putAndAnswer"),
  "writes: put, then throw": after("putAndThrow"),
  "writes: await put, then throw": after("putAwaitedAndThrow"),
  "writes: put, then abort": after("putAndAbort"),
  "writes: await put, then abort": after("putAwaitedAndAbort"),
  "writes: put, await sync, then abort": after("putSyncedAndAbort"),
  "writes: unconfirmed put, await sync, then abort": after("putUnconfirmedSyncedAndAbort"),
  "writes: put, wait, then abort": after("putWaitAndAbort"),
  "writes: put, await sync, put, then abort": after("putTwiceAcrossWaitAndAbort"),
  "writes: put in waitUntil": after("putInWaitUntil", { wait: 300 }),
  "writes: put by a timer after the answer": after("putAfterAnswer", { wait: 300 }),
  "writes: put in a blockConcurrencyWhile that fails": after("putInBlockThatFails"),
  "writes: exec, then throw": after("execAndThrow", { read: "tables" }),
  "writes: exec, then abort": after("execAndAbort", { read: "tables" }),
  "writes: put, then a call to another object": after("tell"),
};
