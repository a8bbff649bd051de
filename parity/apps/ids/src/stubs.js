// Namespaces' methods, and stubs as values.

export const stubs = {
  "stub: id and name": (env, _ctx, t) => {
    const stub = env.LAB.getByName(t.name);
    t.log("id", stub.id.equals(env.LAB.idFromName(t.name)));
    t.log("name", stub.name);
    const unique = env.LAB.get(env.LAB.newUniqueId());
    t.log("without a name", unique.name, "name" in unique);
    t.log("same id", stub.id === stub.id);
  },
  "stub: keys": (env, _ctx, t) => {
    const stub = env.LAB.getByName(t.name);
    t.log("keys", Object.keys(stub));
    t.log("of one without a name", Object.keys(env.LAB.get(env.LAB.newUniqueId())));
    t.log("tag", Object.prototype.toString.call(stub), stub.constructor.name);
    t.log("typeof", typeof stub);
    t.log("JSON", JSON.stringify(stub)?.replace(/[0-9a-f]{64}/, "…"));
  },
  "stub: any name is a function": (env, _ctx, t) => {
    const stub = env.LAB.getByName(t.name);
    for (const name of [
      "count",
      "nowhere",
      "fetch",
      "connect",
      "then",
      "catch",
      "toString",
      "constructor",
      "dup",
      "toJSON",
    ]) {
      t.log(name, typeof stub[name], name in stub);
    }
    t.log("by symbol", typeof stub[Symbol("s")], typeof stub[Symbol.iterator], typeof stub[Symbol.dispose]);
  },
  "stub: is not thenable": async (env, _ctx, t) => {
    const stub = env.LAB.getByName(t.name);
    t.log("same", (await stub) === stub);
  },
  "stub: of the same object is another": (env, _ctx, t) =>
    t.log("same", env.LAB.getByName(t.name) === env.LAB.getByName(t.name)),
  "stub: a property set on it": (env, _ctx, t) => {
    const stub = env.LAB.getByName(t.name);
    t.sync("set", () => {
      stub.mine = 1;
      return stub.mine;
    });
    t.sync("set id", () => {
      "use strict";
      stub.id = 1;
      return typeof stub.id;
    });
  },
  "stub: a method taken off": async (env, _ctx, t) => {
    const { count } = env.LAB.getByName(t.name);
    await t.try("call", () => count());
  },
  "stub: fetch taken off": async (env, _ctx, t) => {
    const { fetch } = env.LAB.getByName(t.name);
    await t.try("call", () => fetch("http://object/"));
  },
  "stub: bind, call and apply of a method": async (env, _ctx, t) => {
    const stub = env.LAB.getByName(t.name);
    await t.try("bind", () => stub.count.bind(null)());
    await t.try("call", () => stub.count.call(null));
    await t.try("apply", () => stub.count.apply(null, []));
  },
  "stub: is made without waking the object": async (env, _ctx, t) => {
    env.LAB.getByName(t.name);
    t.log("count", await env.LAB.getByName(t.name).count());
  },
  "stub: structuredClone": (env, _ctx, t) => t.sync("clone", () => structuredClone(env.LAB.getByName(t.name))),
  "namespace: get without an id": (env, _ctx, t) => {
    t.sync("nothing", () => env.LAB.get());
    t.sync("text", () => env.LAB.get(String(env.LAB.newUniqueId())));
    t.sync("null", () => env.LAB.get(null));
    t.sync("an object", () => env.LAB.get({ name: "x" }));
  },
  "namespace: get with an id of another": (env, _ctx, t) => t.sync("get", () => env.OTHER.get(env.LAB.newUniqueId())),
  "namespace: get with options": async (env, _ctx, t) => {
    const id = env.LAB.newUniqueId();
    for (const options of [
      { locationHint: "weur" },
      { locationHint: "nowhere" },
      {},
      null,
      undefined,
      { routingMode: "primary-only" },
      { retry: { maxRetries: 1, timeoutMs: 1000 } },
    ]) {
      await t.try(JSON.stringify(options) ?? "undefined", () => env.LAB.get(id, options).count());
    }
    t.sync("retry that is no object", () => typeof env.LAB.get(id, { retry: 7 }));
    t.sync("retry after 100 ms", () => typeof env.LAB.get(id, { retry: { timeoutMs: 100 } }));
    t.sync("retry with a negative number", () => typeof env.LAB.get(id, { retry: { maxRetries: -1 } }));
    t.sync("unknown routing mode", () => typeof env.LAB.get(id, { routingMode: "sideways" }));
    t.sync("no object", () => typeof env.LAB.get(id, 7));
  },
  "namespace: getByName with options": (env, _ctx, t) =>
    t.try("call", () => env.LAB.getByName(t.name, { locationHint: "oc" }).count()),
  "namespace: getByName without a name": (env, _ctx, t) => t.sync("call", () => typeof env.LAB.getByName()),
  "namespace: idFromName without a name": (env, _ctx, t) => t.sync("call", () => typeof env.LAB.idFromName()),
  "namespace: as a value": (env, _ctx, t) => {
    t.log("tag", Object.prototype.toString.call(env.LAB), env.LAB.constructor.name);
    t.log("keys", Object.keys(env.LAB));
    t.log(
      "methods",
      ["newUniqueId", "idFromName", "idFromString", "get", "getByName", "jurisdiction"].filter(
        (name) => name in env.LAB,
      ),
    );
    t.log("same", env.LAB === env.LAB);
    t.sync("a method taken off", () => (0, env.LAB.newUniqueId)());
  },
  "namespace: structuredClone": (env, _ctx, t) => t.sync("clone", () => structuredClone(env.LAB)),
  "namespace: of an object is that of the Worker": async (env, _ctx, t) => {
    t.log("env", Object.keys(env).sort());
  },
};
