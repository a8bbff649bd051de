// The same in objects.

import { DurableObject, env as imported, exports as importedExports } from "cloudflare:workers";

import { perform } from "./parity/parity.js";

export class Lab extends DurableObject {
  fetch(request) {
    return perform(insideObject, this, request);
  }

  hello() {
    return `hello from ${this.ctx.id.name}`;
  }

  put(key) {
    return this.ctx.storage.put(key, 1);
  }

  async keys() {
    return [...(await this.ctx.storage.list()).keys()];
  }
}

export class Other extends Lab {}

export const insideObject = {
  "object: env": ({ env }, t) => t.log("keys", Object.keys(env).sort(), env.TEXT, env.LIST),
  "object: env imported": ({ env }, t) => t.log("same", imported.LAB === env.LAB, imported.TEXT),
  "object: ctx and env are its own": ({ object, ctx, env }, t) => {
    t.log("keys", Object.keys(object).sort());
    t.log("same", object.ctx === ctx, object.env === env);
  },
  "object: exports": async ({ ctx }, t) => {
    t.log("keys", Object.keys(ctx.exports).sort());
    t.sync("imported", () => importedExports === ctx.exports);
    await t.try("entrypoint", () => ctx.exports.Entry.echo(1));
    await t.try("object", () => ctx.exports.Other.getByName(t.name).hello());
  },
  "object: props": ({ ctx }, t) => t.log("props", ctx.props),
  "object: waitUntil": async ({ ctx }, t) => {
    t.sync("a promise", () => ctx.waitUntil(Promise.resolve(1)));
    t.sync("a value", () => ctx.waitUntil(1));
    t.sync("nothing", () => ctx.waitUntil());
    t.sync("a thenable", () => ctx.waitUntil({ then: (resolve) => resolve() }));
  },
  "object: its prototype": ({ object }, t) => {
    t.log(
      "chain",
      object instanceof Lab,
      object instanceof DurableObject,
      Object.getPrototypeOf(object) === Lab.prototype,
    );
  },
};
