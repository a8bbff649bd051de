// ctx.storage, the asynchronous storage, of objects with SQLite and of those without.

import { DurableObject } from "cloudflare:workers";

import { basics } from "./basics.js";
import { lists } from "./lists.js";
import { order } from "./order.js";
import { inside, perform, serve } from "./parity/parity.js";
import { values } from "./values.js";

const cases = { ...basics, ...lists, ...order, ...values };

export class Lab extends DurableObject {
  fetch(request) {
    return perform(cases, this, request);
  }
}

export class Plain extends Lab {}

export default serve({ ...inside("LAB", cases), ...inside("PLAIN", cases, "without SQLite: ") });
