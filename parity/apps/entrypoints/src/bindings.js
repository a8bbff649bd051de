// env.

import * as workers from "cloudflare:workers";
import { env as imported } from "cloudflare:workers";

// While the module is evaluated.
const atTheTop = { text: imported.TEXT, keys: Object.keys(imported).sort(), lab: typeof imported.LAB?.idFromName };

export const bindings = {
  "env: variables": (env, _ctx, t) => {
    for (const name of ["TEXT", "NUMBER", "LIST", "FALSE", "NULL", "NONE"]) t.log(name, env[name]);
  },
  "env: keys": (env, _ctx, t) => t.log("keys", Object.keys(env).sort()),
  "env: imported": (env, _ctx, t) => {
    t.log("keys", Object.keys(imported).sort());
    t.log("the same namespace", imported.LAB === env.LAB, imported.TEXT === env.TEXT, imported.LIST === env.LIST);
    t.log("the same object", imported === env);
  },
  "env: imported, at the top of a module": (_env, _ctx, t) => t.log("found", atTheTop),
  "env: imported, calls an object": async (_env, _ctx, t) =>
    t.log("answer", await imported.LAB.getByName(t.name).hello()),
  "env: set by a request": (env, _ctx, t) => {
    t.sync("set", () => {
      env.MINE = 1;
      return env.MINE;
    });
    t.log("imported", imported.MINE);
    delete env.MINE;
  },
  "env: withEnv": async (_env, _ctx, t) => {
    t.log("typeof", typeof workers.withEnv);
    await t.try("within", () => workers.withEnv({ ONLY: 1 }, async () => [workers.env.ONLY, workers.env.TEXT]));
    t.log("afterwards", workers.env.TEXT, workers.env.ONLY);
  },
  "module: what cloudflare:workers exports": (_env, _ctx, t) => {
    const names = [
      "DurableObject",
      "RpcStub",
      "RpcTarget",
      "WorkerEntrypoint",
      "env",
      "exports",
      "waitUntil",
      "withEnv",
    ];
    t.log(
      "exports",
      names.map((name) => [name, typeof workers[name]]),
    );
  },
  "module: base classes": (_env, _ctx, t) => {
    t.sync("DurableObject without arguments", () => new workers.DurableObject());
    t.sync("DurableObject with others", () => {
      const made = new workers.DurableObject({ a: 1 }, { b: 2 });
      return [made.ctx, made.env];
    });
    t.sync("WorkerEntrypoint with others", () => {
      const made = new workers.WorkerEntrypoint({ a: 1 }, { b: 2 });
      return [made.ctx, made.env];
    });
    t.sync("RpcTarget", () => typeof new workers.RpcTarget());
    t.log("names", workers.DurableObject.name, workers.WorkerEntrypoint.name, workers.RpcTarget.name);
  },
  "module: imported exports": (_env, ctx, t) => {
    t.sync("keys", () => Object.keys(workers.exports).sort());
    t.sync("the same", () => workers.exports === ctx.exports);
  },
  "ctx: its members": (_env, ctx, t) => {
    for (const name of ["waitUntil", "passThroughOnException", "exports", "props", "abort"])
      t.log(name, typeof ctx[name]);
    t.log("props", ctx.props);
    t.sync("waitUntil without its this", () => (0, ctx.waitUntil)(Promise.resolve()));
  },
};
