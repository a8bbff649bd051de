// Objects whose sockets come from clients. What a client sends says what is to be done: `NAME ARGUMENTS`, those in JSON.

import { DurableObject } from "cloudflare:workers";

import { inspect } from "./parity/inspect.js";

const commands = {
  say: (_object, socket, text) => socket.send(text),
  tags: ({ ctx }, socket) => socket.send(JSON.stringify(ctx.getTags(socket))),
  attach: (_object, socket, value) => socket.serializeAttachment(value),
  attachment: (_object, socket) => socket.send(inspect(socket.deserializeAttachment())),
  count: ({ ctx }, socket, ...tag) => socket.send(String(ctx.getWebSockets(...tag).length)),
  names: ({ ctx }, socket) => socket.send(JSON.stringify(ctx.getWebSockets().map((each) => ctx.getTags(each)[0]))),
  isSame: ({ ctx, first }, socket) => socket.send(String(ctx.getWebSockets().includes(socket) && first.has(socket))),
  /** Which message this is for this instance. */
  instance: (object, socket) => socket.send(String(object.messages)),
  broadcast({ ctx }, _socket, text, ...tag) {
    for (const each of ctx.getWebSockets(...tag)) each.send(text);
  },
  close: (_object, socket, ...args) => socket.close(...args),
  closeOther: ({ ctx }, _socket, tag, ...args) => ctx.getWebSockets(tag).forEach((each) => each.close(...args)),
  closeAndSend(_object, socket) {
    socket.close(4000, "closed");
    socket.send("after");
  },
  throw() {
    throw new Error("in the handler");
  },
  async reject() {
    await scheduler.wait(1);
    throw new Error("in the handler");
  },
  abort: ({ ctx }) => ctx.abort("asked to"),
  autoResponse: ({ ctx }, _socket, request, response) =>
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(request, response)),
  noAutoResponse: ({ ctx }) => ctx.setWebSocketAutoResponse(),
  timestamp({ ctx }, socket) {
    const time = ctx.getWebSocketAutoResponseTimestamp(socket);
    socket.send(time === null ? "null" : String(time instanceof Date && Date.now() - time < 60_000));
  },
  getAutoResponse({ ctx }, socket) {
    const pair = ctx.getWebSocketAutoResponse();
    socket.send(pair === null ? "null" : `${pair.request} ${pair.response}`);
  },
  async put({ ctx }, socket, key, value) {
    await ctx.storage.put(key, value);
    socket.send("put");
  },
  async get({ ctx }, socket, key) {
    socket.send(inspect(await ctx.storage.get(key)));
  },
  async wait(_object, socket, ms, text) {
    await scheduler.wait(ms);
    socket.send(text);
  },
  async block({ ctx }, socket, ms) {
    await ctx.blockConcurrencyWhile(() => scheduler.wait(ms));
    socket.send("unblocked");
  },
  state: (_object, socket) => socket.send(String(socket.readyState)),
  constructed: ({ atFirst }, socket) => socket.send(JSON.stringify(atFirst)),
};

export class Sockets extends DurableObject {
  messages = 0;
  first = new Set();

  constructor(ctx, env) {
    super(ctx, env);
    // What a constructor finds at a wake.
    this.atFirst = ctx
      .getWebSockets()
      .map((socket) => [ctx.getTags(socket), socket.deserializeAttachment(), socket.readyState]);
  }

  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/log") return Response.json((await this.ctx.storage.get("log")) ?? []);
    if (pathname === "/count") return Response.json(this.ctx.getWebSockets().length);
    const [client, socket] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(socket, searchParams.getAll("tag"));
    this.first.add(socket);
    if (searchParams.has("greet")) socket.send("hello");
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, message) {
    this.messages += 1;
    if (typeof message !== "string") return socket.send(inspect(message));
    const [name, ...args] = message.split(" ");
    return commands[name](this, socket, ...JSON.parse(`[${args.join(" ")}]`));
  }

  async webSocketClose(socket, code, reason, wasClean) {
    const attachment = inspect(socket.deserializeAttachment());
    const sockets = this.ctx.getWebSockets();
    const line = [
      code,
      reason,
      wasClean,
      `state ${socket.readyState}`,
      `${sockets.length} left`,
      sockets.includes(socket),
      attachment,
    ];
    await this.note("close", ...line);
    switch (attachment) {
      case '"answer"':
        return socket.close(code === 1005 ? 4005 : code, "answered");
      case '"answer another"':
        return socket.close(4001, "another");
      case '"send"':
        return socket.send("in webSocketClose");
      case '"throw"':
        throw new Error("in webSocketClose");
    }
  }

  webSocketError(socket, error) {
    return this.note("error", error?.name, error?.message, `state ${socket.readyState}`);
  }

  async note(...line) {
    const log = (await this.ctx.storage.get("log")) ?? [];
    await this.ctx.storage.put("log", [...log, line]);
  }
}

/** It has no handlers. */
export class Silent extends DurableObject {
  fetch() {
    const [client, socket] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(socket);
    socket.send("accepted");
    return new Response(null, { status: 101, webSocket: client });
  }
}
