// What an older compatibility date changes: this application's is from before these changes.

import { DurableObject } from "cloudflare:workers";

import { inside, perform, serve } from "./parity/parity.js";

const pair = () => {
  const [left, right] = Object.values(new WebSocketPair());
  left.accept();
  right.accept();
  return [left, right];
};

const cases = {
  "deleteAll and the alarm": async ({ storage }, t) => {
    await storage.setAlarm(Date.now() + 3_600_000);
    await storage.put("a", 1);
    await storage.deleteAll();
    t.log("list", await storage.list());
    t.log("alarm", typeof (await storage.getAlarm()));
  },
  "deleteAll with deleteAlarm": async ({ storage }, t) => {
    await storage.setAlarm(Date.now() + 3_600_000);
    await t.try("deleteAll", () => storage.deleteAll({ deleteAlarm: true }));
    t.log("alarm", typeof (await storage.getAlarm()));
  },
  exports: ({ ctx }, t) => t.log("typeof", typeof ctx.exports),
  binaryType: async (_, t) => {
    const [left, right] = pair();
    t.log("binaryType", right.binaryType);
    const message = new Promise((resolve) => right.addEventListener("message", resolve));
    left.send(new Uint8Array([1, 2]));
    t.log("data", (await message).data);
  },
  "close: a long reason": (_, t) => {
    const [left] = pair();
    t.sync("124 bytes", () => left.close(4000, "x".repeat(124)));
  },
  "close: the other end": async (_, t) => {
    const [left, right] = pair();
    const events = [];
    left.addEventListener("close", ({ code }) => events.push(["left", code]));
    right.addEventListener("close", ({ code }) => events.push(["right", code]));
    left.close(4000, "why");
    await scheduler.wait(300);
    t.log("events", events, left.readyState, right.readyState);
    right.close(4001, "answer");
    await scheduler.wait(300);
    t.log("events", events, left.readyState, right.readyState);
  },
  "id by name": ({ ctx }, t) => t.log("name", ctx.id.name),
  storage: async ({ storage }, t) => {
    await storage.put({ a: 1 });
    t.log("list", await storage.list());
    t.sync("exec", () => storage.sql.exec("SELECT 1 AS a").one());
    t.sync("kv", () => storage.kv.get("a"));
  },
};

export class Lab extends DurableObject {
  fetch(request) {
    return perform(cases, this, request);
  }
  alarm() {}
  hello() {
    return "hello";
  }
}

/** Accepts as the path says, and notes what it hears. */
export class Sockets extends DurableObject {
  log = [];

  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/log") return Response.json(this.log);
    const [client, socket] = Object.values(new WebSocketPair());
    if (pathname === "/kept") {
      this.ctx.acceptWebSocket(socket);
    } else {
      socket.accept();
      socket.addEventListener("message", ({ data }) =>
        socket.send(typeof data === "string" ? data : data.constructor.name),
      );
      socket.addEventListener("close", ({ code }) => {
        this.log.push(["close", code, socket.readyState]);
        if (pathname === "/answers") socket.close(code, "answer");
      });
    }
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, message) {
    socket.send(typeof message === "string" ? message : message.constructor.name);
  }

  webSocketClose(socket, code) {
    this.log.push(["close", code, socket.readyState]);
  }
}

const others = {
  "a call": (env, _ctx, t) => t.try("call", () => env.LAB.getByName(t.name).hello()),
  "an error": (env, _ctx, t) => t.try("call", () => env.LAB.getByName(t.name).nowhere()),
  "exports of the Worker": (_env, ctx, t) => t.log("typeof", typeof ctx.exports),
};

/** `/OBJECT/WHAT` of a client's is the request `/WHAT` to the object of that name. */
function route(request, env) {
  const url = new URL(request.url);
  const [, name, what] = url.pathname.split("/");
  url.pathname = what;
  return env.SOCKETS.getByName(decodeURIComponent(name)).fetch(new Request(url, request));
}

export default serve({ ...inside("LAB", cases), ...others }, { fetch: route });
