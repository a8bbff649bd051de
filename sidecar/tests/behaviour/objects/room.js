// An object with hibernatable sockets, which does what it is told.
import { DurableObject } from "cloudflare:workers";

export class Room extends DurableObject {
  messages = 0;

  constructor(ctx, env) {
    super(ctx, env);
    this.found = ctx.getWebSockets().map((socket) => [ctx.getTags(socket), socket.deserializeAttachment()]);
  }

  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/count") return new Response(`${this.ctx.getWebSockets().length}`);
    if (pathname === "/log") return new Response(JSON.stringify((await this.ctx.storage.get("log")) ?? []));
    if (pathname === "/ping") {
      this.ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
      return new Response();
    }
    const [client, socket] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(socket, searchParams.getAll("tag"));
    socket.serializeAttachment({ tags: searchParams.getAll("tag") });
    return new Response(null, { status: 101, webSocket: client });
  }

  async webSocketMessage(socket, message) {
    this.messages += 1;
    if (message === "messages") return socket.send(`${this.messages}`);
    if (message === "found") return socket.send(JSON.stringify(this.found));
    if (message === "flood") for (;;) socket.send("x".repeat(1 << 16));
    if (message === "throw") throw new Error("in the handler");
    if (message === "abort") this.ctx.abort("asked to");
    if (message === "loop") for (;;);
    if (message === "name") return socket.send(`${this.ctx.id.name}`);
    for (const each of this.ctx.getWebSockets(message)) each.send(`to ${message}`);
  }

  async webSocketClose(socket, code, reason, wasClean) {
    const log = (await this.ctx.storage.get("log")) ?? [];
    await this.ctx.storage.put("log", [...log, [code, reason, wasClean]]);
    if (code === 4000) socket.close(4001, "answered");
  }
}

export default {
  async fetch(request, env) {
    return env.ROOM.getByName("room").fetch(request);
  },
};
