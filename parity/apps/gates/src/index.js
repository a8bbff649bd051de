// What runs at the same time in an object, and in which order; what others see of it.

import { DurableObject } from "cloudflare:workers";

import { blocking } from "./blocking.js";
import { events } from "./events.js";
import { outputs } from "./outputs.js";
import { inside, perform, serve } from "./parity/parity.js";
import { turns } from "./turns.js";

export { Blocked } from "./blocking.js";
export { Counter, CounterPlain } from "./events.js";
export { Slow } from "./outputs.js";

const cases = { ...blocking.inside, ...turns };

export class Lab extends DurableObject {
  fetch(request) {
    return perform(cases, this, request);
  }
}

export default serve({ ...inside("LAB", cases), ...events, ...outputs, ...blocking.outside });
