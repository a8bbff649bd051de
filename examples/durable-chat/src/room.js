// One room: its last messages are stored, who is there is known by the sockets alone.

import { DurableObject } from "cloudflare:workers";

const KEPT = 100;
const LONGEST_NAME = 32;
const LONGEST_TEXT = 2000;

// Each message has a key of its own. Digits are padded because keys are listed in the order of their bytes.
const PREFIX = "message:";
const key = (seq) => PREFIX + String(seq).padStart(12, "0");

export class ChatRoom extends DurableObject {
  #seq = 0;
  #turns = new WeakMap();

  // Runs whenever the room wakes, also for a message on a socket that was open all the time.
  constructor(ctx, env) {
    super(ctx, env);
    console.log(`room ${ctx.id.name ?? ctx.id} is awake`);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    ctx.blockConcurrencyWhile(async () => {
      const newest = await ctx.storage.list({ prefix: PREFIX, reverse: true, limit: 1 });
      for (const { seq } of newest.values()) this.#seq = seq;
    });
  }

  fetch(request) {
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      const headers = { upgrade: "websocket" };
      return Response.json({ error: "open this address as a WebSocket" }, { status: 426, headers });
    }
    const [client, socket] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(socket);
    // What must be known of a socket after the room has slept is in its attachment.
    socket.serializeAttachment({ address: addressOf(request) });
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, data) {
    // One after the other: what somebody says is not overtaken by what the same person says next.
    const turn = (this.#turns.get(socket) ?? Promise.resolve()).then(() => this.#handle(socket, data));
    this.#turns.set(socket, turn.catch(() => {}));
    return turn;
  }

  webSocketClose(socket) {
    socket.close();
    this.#quit(socket);
  }

  webSocketError(socket) {
    this.#quit(socket);
  }

  // === what clients ask for ===

  async #handle(socket, data) {
    const message = parse(data);
    const session = socket.deserializeAttachment();
    const act = { enter: this.#enter, say: this.#say }[message?.type];
    const error = act
      ? await act.call(this, socket, session, message)
      : 'send {"type":"enter","name":…} or {"type":"say","text":…}';
    if (error) send(socket, { type: "error", error });
  }

  /** Returns what is wrong with it, if anything, as `#say` does. */
  async #enter(socket, session, { name }) {
    if (session.name) return "you have entered already";
    if (!isText(name, LONGEST_NAME)) return `"name" must be a text of 1 to ${LONGEST_NAME} characters`;
    name = name.trim();
    const newest = await this.ctx.storage.list({ prefix: PREFIX, reverse: true, limit: KEPT });
    // Who waits for storage is overtaken by no message: so none is missing between this list and what is said next.
    socket.serializeAttachment({ ...session, name });
    const names = this.#sessions().map(([, session]) => session.name).sort();
    send(socket, { type: "welcome", names, messages: [...newest.values()].reverse() });
    this.#broadcast({ type: "joined", name }, socket);
    return undefined;
  }

  async #say(_socket, { name, address }, { text }) {
    if (!name) return "enter first";
    if (!isText(text, LONGEST_TEXT)) return `"text" must be a text of 1 to ${LONGEST_TEXT} characters`;
    // A method of the address's limiter, wherever that runs. It counts for all rooms.
    const wait = await this.env.LIMITERS.getByName(address).take();
    if (wait > 0) return `too many messages: wait ${Math.ceil(wait / 1000)} s`;
    const message = { seq: ++this.#seq, name, text: text.trim(), at: Date.now() };
    // Not awaited: the broadcast leaves only when this is durable. The oldest one goes, so the room does not grow.
    this.ctx.storage.put(key(message.seq), message);
    this.ctx.storage.delete(key(message.seq - KEPT));
    this.#broadcast({ type: "message", message });
    return undefined;
  }

  // === who is there ===

  /** The sockets that have entered, and what is known of each. */
  #sessions() {
    const all = this.ctx.getWebSockets().map((socket) => [socket, socket.deserializeAttachment()]);
    return all.filter(([socket, session]) => session?.name && socket.readyState === WebSocket.OPEN);
  }

  #broadcast(message, except) {
    for (const [socket] of this.#sessions()) {
      if (socket !== except) send(socket, message);
    }
  }

  #quit(socket) {
    const name = socket.deserializeAttachment()?.name;
    if (name) this.#broadcast({ type: "quit", name }, socket);
  }
}

/** Whom the front door saw: a client, or what the outermost proxy that it trusts says. */
function addressOf(request) {
  return request.headers.get("x-forwarded-for")?.split(",")[0].trim() ?? "unknown";
}

function isText(value, longest) {
  return typeof value === "string" && value.trim() !== "" && value.length <= longest;
}

function send(socket, message) {
  socket.send(JSON.stringify(message));
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}
