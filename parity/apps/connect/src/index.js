// Raw connections to objects: stub.connect, and the handler connect.

import { DurableObject } from "cloudflare:workers";

import { serve } from "./parity/parity.js";

export class Echo extends DurableObject {
  calls = 0;

  async connect(socket) {
    this.calls += 1;
    await socket.readable.pipeTo(socket.writable);
  }

  count() {
    return this.calls;
  }
}

export class NoConnect extends DurableObject {}

const address = { hostname: "object", port: 7 };

const cases = {
  connect: async (env, _ctx, t) => {
    const stub = env.ECHO.getByName(t.name);
    const socket = t.sync("connect", () => stub.connect(address) && "connected");
    t.log("socket", socket);
  },
  "connect: bytes there and back": async (env, _ctx, t) => {
    const socket = env.ECHO.getByName(t.name).connect(address);
    const writer = socket.writable.getWriter();
    const written = writer.write(new TextEncoder().encode("echo"));
    const { value } = await socket.readable.getReader().read();
    await written;
    t.log("read", new TextDecoder().decode(value));
    t.log("calls", await env.ECHO.getByName(t.name).count());
  },
  "connect: a class without a handler": async (env, _ctx, t) => {
    await t.try("opened", async () => {
      const socket = env.NO_CONNECT.getByName(t.name).connect(address);
      await socket.opened;
      return new Response(socket.readable).text();
    });
  },
  "connect: addresses": async (env, _ctx, t) => {
    const stub = env.ECHO.getByName(t.name);
    for (const value of ["object:7", "object", "", 7, {}]) t.sync(String(value), () => typeof stub.connect(value));
  },
};

export default serve(cases);
