// How often one address may do something. One object for each address, asked by all rooms.

import { DurableObject } from "cloudflare:workers";

const REFILL_MS = 1000;

export class RateLimiter extends DurableObject {
  // Nothing is stored: an object sleeps after ten idle seconds or later, and a budget of ten is full again by then.
  #burst = Number(this.env.BURST);
  #left = this.#burst;
  #counted = Date.now();

  /** Takes one from the budget: 0, or after how many milliseconds there will be one again. */
  take() {
    const now = Date.now();
    this.#left = Math.min(this.#burst, this.#left + (now - this.#counted) / REFILL_MS);
    this.#counted = now;
    if (this.#left < 1) return Math.ceil((1 - this.#left) * REFILL_MS);
    this.#left -= 1;
    return 0;
  }
}
