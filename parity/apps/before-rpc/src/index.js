// A compatibility date from before calls of methods.

import { DurableObject } from "cloudflare:workers";

import { inside, perform, serve } from "./parity/parity.js";

const cases = {
  storage: async ({ storage }, t) => {
    await storage.put({ a: 1, b: 2 });
    t.log("list", await storage.list({ reverse: true }));
  },
  id: ({ ctx }, t) => t.log("name", ctx.id.name),
};

export class Lab extends DurableObject {
  fetch(request) {
    return perform(cases, this, request);
  }
  hello() {
    return "hello";
  }
}

export class Sockets extends DurableObject {
  fetch() {
    const [client, socket] = Object.values(new WebSocketPair());
    socket.accept();
    socket.addEventListener("message", ({ data }) => socket.send(data));
    return new Response(null, { status: 101, webSocket: client });
  }
}

export class Bare {
  constructor(state) {
    this.state = state;
  }
  async fetch() {
    const n = ((await this.state.storage.get("n")) ?? 0) + 1;
    await this.state.storage.put("n", n);
    return Response.json(n);
  }
  hello() {
    return "hello";
  }
}

const others = {
  "a call of a class that extends DurableObject": (env, _ctx, t) =>
    t.try("call", () => env.LAB.get(env.LAB.idFromName(t.name)).hello()),
  "a call of a class that extends nothing": (env, _ctx, t) =>
    t.try("call", () => env.BARE.get(env.BARE.idFromName(t.name)).hello()),
  fetch: async (env, _ctx, t) => {
    const stub = env.BARE.get(env.BARE.idFromName(t.name));
    t.log(
      "answers",
      await (await stub.fetch("http://object/")).json(),
      await (await stub.fetch("http://object/")).json(),
    );
  },
  "fetch of a relative URL": (env, _ctx, t) =>
    t.try("fetch", () => env.BARE.get(env.BARE.idFromName(t.name)).fetch("/path")),
  "the stub": (env, _ctx, t) => {
    const stub = env.BARE.get(env.BARE.idFromName(t.name));
    t.log("any name", typeof stub.anything, typeof stub.fetch, Object.keys(stub));
    t.sync("getByName", () => typeof env.BARE.getByName);
  },
};

export default serve(
  { ...inside("LAB", cases), ...others },
  { fetch: (request, env) => env.SOCKETS.get(env.SOCKETS.newUniqueId()).fetch(request) },
);
