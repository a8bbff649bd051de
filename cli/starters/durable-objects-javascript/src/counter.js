// One counter. There is one object for each name.

import { DurableObject } from "cloudflare:workers";

export class Counter extends DurableObject {
  #count = Number(this.ctx.storage.kv.get("count") ?? 0); // on every wake

  read() {
    return this.#count;
  }

  increment() {
    this.#count += 1;
    this.ctx.storage.kv.put("count", this.#count);
    return this.#count; // arrives when the write is durable
  }
}
