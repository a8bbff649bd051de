// What is measured, each at a path of its own; ../../portside/workers answers the same.

import { DurableObject } from "cloudflare:workers";

export default {
  async fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    const name = search.slice(1);
    switch (pathname) {
      case "/ping":
        return env.PING.getByName(name).fetch("http://object/ping");
      case "/add":
        return env.COUNTER.getByName(name).fetch("http://object/add");
      case "/read":
        return env.COUNTER.getByName(name).fetch("http://object/read");
      case "/arm": {
        const [object, time] = name.split("&");
        return env.ALARM.getByName(object).fetch(`http://object/${time}`);
      }
      case "/tally":
        return env.TALLY.getByName("tally").fetch("http://object/read");
      case "/echo":
        return echo();
      case "/room":
        return env.ROOM.getByName(name).fetch(request);
      default:
        return new Response("ready");
    }
  },
};

function echo() {
  const { 0: client, 1: socket } = new WebSocketPair();
  socket.accept();
  socket.addEventListener("message", ({ data }) => socket.send(data));
  return new Response(null, { status: 101, webSocket: client });
}

export class Ping extends DurableObject {
  async fetch() {
    return new Response("ping");
  }
}

export class Counter extends DurableObject {
  // Whether this is the first question since the object woke: the benchmark of waking looks at it.
  state = "woken";

  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => {
      this.count = (await ctx.storage.get("count")) ?? 0;
    });
  }

  async fetch(request) {
    if (request.url.endsWith("/add")) this.ctx.storage.put("count", ++this.count);
    const response = new Response(`${this.count} ${this.state}`);
    this.state = "awake";
    return response;
  }
}

export class Alarm extends DurableObject {
  // Whether this is the first event since the object woke.
  woken = true;

  async fetch(request) {
    this.woken = false;
    const time = Number(new URL(request.url).pathname.slice(1));
    await Promise.all([this.ctx.storage.put("armed", time), this.ctx.storage.setAlarm(time)]);
    return new Response("armed");
  }

  async alarm() {
    const { id, storage } = this.ctx;
    storage.put("fired", Date.now());
    // It leaves when the write is durable.
    const told = this.env.TALLY.getByName("tally").fetch(`http://object/${id}/${this.woken}`);
    this.woken = false;
    await told;
  }
}

export class Tally extends DurableObject {
  // Whose alarms were handled.
  heard = new Set();
  // Of those, how many had been asleep.
  woken = 0;

  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/read") return new Response(`${this.heard.size} ${this.woken}`);
    const [, id, woken] = pathname.split("/");
    if (woken === "true" && !this.heard.has(id)) this.woken += 1;
    this.heard.add(id);
    return new Response();
  }
}

export class Room extends DurableObject {
  members = new Set();

  async fetch() {
    const { 0: client, 1: socket } = new WebSocketPair();
    socket.accept();
    this.members.add(socket);
    socket.addEventListener("close", () => this.members.delete(socket));
    socket.addEventListener("message", ({ data }) => {
      for (const member of this.members) member.send(data);
    });
    socket.send("joined");
    return new Response(null, { status: 101, webSocket: client });
  }
}
