// Objects that know which instance they are.

import { DurableObject } from "cloudflare:workers";

import { perform } from "./parity/parity.js";
import { keptInside } from "./restarts.js";

export class Counter extends DurableObject {
  calls = 0;

  fetch(request) {
    return perform(keptInside, this, request);
  }

  call() {
    return ++this.calls;
  }

  async abort() {
    this.ctx.abort("asked to");
  }

  put(key) {
    this.ctx.storage.put(key, 1);
  }

  async putAwaited(key) {
    await this.ctx.storage.put(key, 1);
  }

  async keys() {
    return [...(await this.ctx.storage.list()).keys()];
  }

  ownId() {
    return String(this.ctx.id);
  }

  ownName() {
    return this.ctx.id.name;
  }

  waitUntil(ms, key) {
    this.ctx.waitUntil(scheduler.wait(ms).then(() => this.ctx.storage.put(key, 1)));
  }

  timer(ms, key) {
    setTimeout(() => this.ctx.storage.put(key, 1), ms);
  }

  interval(ms) {
    setInterval(() => {}, ms);
  }

  wait(ms) {
    return scheduler.wait(ms);
  }
}

export class Plain extends Counter {}

/** Counts its wakes, in its storage. */
export class Waker extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => {
      this.wakes = ((await ctx.storage.get("wakes")) ?? 0) + 1;
      await ctx.storage.put("wakes", this.wakes);
    });
  }

  woken() {
    return this.wakes;
  }

  abort() {
    this.ctx.abort("asked to");
  }

  async deleteAll() {
    await this.ctx.storage.deleteAll();
  }
}
