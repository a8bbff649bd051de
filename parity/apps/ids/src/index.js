// Namespaces, ids and stubs.

import { DurableObject } from "cloudflare:workers";

import { ids } from "./ids.js";
import { names } from "./names.js";
import { serve } from "./parity/parity.js";
import { stubs } from "./stubs.js";

export class Lab extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    // Kept, for what it says at the time of the constructor.
    this.atFirst = { id: String(ctx.id), name: ctx.id.name };
  }

  self() {
    const { id } = this.ctx;
    return { id: String(id), name: id.name, atFirst: this.atFirst };
  }

  /** Whether the id of this object is the one that a namespace makes of its name, or of its text. */
  compare() {
    const { id } = this.ctx;
    return {
      byName: id.name === undefined ? undefined : id.equals(this.env.LAB.idFromName(id.name)),
      byText: id.equals(this.env.LAB.idFromString(String(id))),
    };
  }

  members() {
    const { ctx } = this;
    const of = (object) => {
      const names = new Set();
      for (let at = Object.getPrototypeOf(object); at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
        Object.getOwnPropertyNames(at).forEach((name) => names.add(name));
      }
      return [...names].sort();
    };
    const public_ = [
      "abort",
      "acceptWebSocket",
      "blockConcurrencyWhile",
      "container",
      "exports",
      "facets",
      "getHibernatableWebSocketEventTimeout",
      "getTags",
      "getWebSocketAutoResponse",
      "getWebSocketAutoResponseTimestamp",
      "getWebSockets",
      "id",
      "props",
      "setHibernatableWebSocketEventTimeout",
      "setWebSocketAutoResponse",
      "storage",
      "waitUntil",
    ];
    return {
      ctx: public_.filter((name) => name in ctx),
      tag: Object.prototype.toString.call(ctx),
      container: ctx.container,
      props: ctx.props,
      id: of(ctx.id),
    };
  }

  returnId() {
    return this.ctx.id;
  }

  echo(value) {
    return value;
  }

  n = 0;
  count() {
    return ++this.n;
  }

  fetch() {
    return Response.json(this.self());
  }
}

export class Other extends Lab {}
export class Plain extends Lab {}

export default serve({ ...ids, ...names, ...stubs });
