// What is measured, each at a path of its own; ../../portside/workers answers the same, but for what only objects have.

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
      case "/call":
        return new Response(await env.PING.getByName(name).ping());
      case "/get":
        return env.VALUES.getByName(name).fetch("http://object/get");
      case "/select":
        return env.ROWS.getByName(name).fetch("http://object/select");
      case "/update":
        return env.ROWS.getByName(name).fetch("http://object/update");
      case "/sleeping-echo":
        return env.ECHO.getByName(name).fetch(request);
      case "/lobby":
        return env.LOBBY.getByName(name).fetch(request);
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

  async ping() {
    return "ping";
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

const ROWS = 100;

export class Values extends DurableObject {
  turn = 0;

  constructor(ctx, env) {
    super(ctx, env);
    for (let id = 0; id < ROWS; id++) ctx.storage.put(`key ${id}`, { id, text: `value ${id}` });
  }

  async fetch() {
    const value = await this.ctx.storage.get(`key ${this.turn++ % ROWS}`);
    return new Response(value.text);
  }
}

export class Rows extends DurableObject {
  turn = 0;

  constructor(ctx, env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, value INTEGER, text TEXT)");
    if (sql.exec("SELECT count(*) AS count FROM rows").one().count > 0) return;
    for (let id = 0; id < ROWS; id++) sql.exec("INSERT INTO rows VALUES (?, 0, ?)", id, `row ${id}`);
  }

  async fetch(request) {
    const { sql } = this.ctx.storage;
    const id = this.turn++ % ROWS;
    if (request.url.endsWith("/update")) sql.exec("UPDATE rows SET value = value + 1 WHERE id = ?", id);
    const { value, text } = sql.exec("SELECT value, text FROM rows WHERE id = ?", id).one();
    return new Response(`${text}: ${value}`);
  }
}

/** A socket that stays while the object sleeps. */
function accept(ctx) {
  const { 0: client, 1: socket } = new WebSocketPair();
  ctx.acceptWebSocket(socket);
  socket.send("joined");
  return new Response(null, { status: 101, webSocket: client });
}

export class Echo extends DurableObject {
  // Whether nothing has reached the object since it woke.
  state = "woken";

  async fetch() {
    this.state = "awake";
    return accept(this.ctx);
  }

  webSocketMessage(socket, message) {
    socket.send(message === "state" ? this.state : message);
    this.state = "awake";
  }
}

export class Lobby extends DurableObject {
  async fetch() {
    return accept(this.ctx);
  }

  webSocketMessage(_, message) {
    for (const member of this.ctx.getWebSockets()) member.send(message);
  }
}
