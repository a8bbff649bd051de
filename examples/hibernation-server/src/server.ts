// The object: it answers each message with what it knows, and says how often it was constructed to be able to.

import { DurableObject } from "cloudflare:workers";
import type { Env } from "./index.ts";

/** What is known of a socket; it stays with the socket while the object sleeps. */
interface Session {
  id: string;
  messages: number;
}

export class HibernationServer extends DurableObject<Env> {
  /** How often the constructor has run, ever. */
  #constructed: number;
  #sessions = new Map<WebSocket, Session>();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const { kv } = ctx.storage;
    this.#constructed = (kv.get<number>("constructed") ?? 0) + 1;
    kv.put("constructed", this.#constructed);
    // The sockets are still there. What else was in memory is gone; this is how it comes back.
    for (const socket of ctx.getWebSockets()) {
      const session: Session | null = socket.deserializeAttachment();
      if (session) this.#sessions.set(socket, session);
    }
    // Answered without this object, so it goes on sleeping.
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  override async fetch(_request: Request) {
    const [client, socket] = Object.values(new WebSocketPair()) as [WebSocket, WebSocket];
    this.ctx.acceptWebSocket(socket);
    this.#remember(socket, { id: crypto.randomUUID(), messages: 0 });
    return new Response(null, { status: 101, webSocket: client });
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer) {
    const { id, messages } = this.#sessions.get(socket)!;
    this.#remember(socket, { id, messages: messages + 1 });
    const answer = {
      id,
      messages: messages + 1,
      ofAll: this.#count(),
      connections: this.#sessions.size,
      constructed: this.#constructed,
      lastPing: this.ctx.getWebSocketAutoResponseTimestamp(socket),
      message: typeof message === "string" ? message : `${message.byteLength} bytes`,
    };
    socket.send(JSON.stringify({ type: "answer", ...answer }));
    for (const other of this.#sessions.keys()) {
      if (other !== socket) other.send(JSON.stringify({ type: "heard", id, message: answer.message }));
    }
  }

  override async webSocketClose(socket: WebSocket) {
    socket.close();
    this.#sessions.delete(socket);
  }

  override async webSocketError(socket: WebSocket) {
    this.#sessions.delete(socket);
  }

  #remember(socket: WebSocket, session: Session) {
    this.#sessions.set(socket, session);
    socket.serializeAttachment(session);
  }

  /** Counts a message in storage; the answer that tells the number waits until it is there. */
  #count() {
    const { kv } = this.ctx.storage;
    const count = (kv.get<number>("messages") ?? 0) + 1;
    kv.put("messages", count);
    return count;
  }
}
