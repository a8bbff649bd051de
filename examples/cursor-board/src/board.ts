// One board: notes are in its tables, who is there is known by the sockets alone.

import { DurableObject } from "cloudflare:workers";
import type { Env } from "./index.ts";
import { type Changes, type FromPage, type Note, type Person, type Place, read, type ToPage } from "./protocol.ts";
import { migrate, versionOf } from "./schema.ts";

const MOST_NOTES = 500;

const COLUMNS = "id, x, y, text, author";

type Row = { id: string; x: number; y: number; text: string; author: string };

export class Board extends DurableObject<Env> {
  // Runs at every wake, also for a message on a socket that was open all the time.
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    migrate(ctx.storage);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  /** What is on the board, and the version of its tables. */
  contents() {
    return { version: versionOf(this.ctx.storage), notes: this.#notes() };
  }

  override async fetch(request: Request) {
    const [client, socket] = Object.values(new WebSocketPair()) as [WebSocket, WebSocket];
    const name = new URL(request.url).searchParams.get("name")!.trim();
    const person: Person = { id: crypto.randomUUID(), name, at: null };
    this.ctx.acceptWebSocket(socket);
    socket.serializeAttachment(person);
    const people = this.#people().map(([, person]) => person);
    send(socket, { type: "welcome", you: person.id, people, notes: this.#notes() });
    this.#broadcast({ type: "person", person }, socket);
    return new Response(null, { status: 101, webSocket: client });
  }

  override async webSocketMessage(socket: WebSocket, data: string | ArrayBuffer) {
    let message: FromPage;
    try {
      message = read(data);
    } catch (error) {
      send(socket, { type: "error", error: (error as Error).message });
      return;
    }
    const person: Person = socket.deserializeAttachment();
    switch (message.type) {
      case "point":
        return this.#point(socket, person, message.at);
      case "put":
        return this.#put(socket, person, message.id, message);
      case "remove":
        return this.#remove(message.id);
    }
  }

  override async webSocketClose(socket: WebSocket) {
    socket.close();
    this.#leave(socket);
  }

  override async webSocketError(socket: WebSocket) {
    this.#leave(socket);
  }

  // === what pages ask for ===

  #point(socket: WebSocket, person: Person, at: Place | null) {
    // Kept with the socket, not in tables: it is to outlive the object's sleep, and nothing else.
    const moved = { ...person, at };
    socket.serializeAttachment(moved);
    this.#broadcast({ type: "person", person: moved }, socket);
  }

  #put(socket: WebSocket, person: Person, id: string, { x, y, text }: Changes) {
    const update = `UPDATE notes SET x = coalesce(?, x), y = coalesce(?, y), text = coalesce(?, text)
                    WHERE id = ? RETURNING ${COLUMNS}`;
    const [changed] = this.ctx.storage.sql.exec<Row>(update, x ?? null, y ?? null, text ?? null, id);
    if (changed) {
      // To whom it is from, too: that it comes back tells that it is durable, for it leaves no earlier.
      this.#broadcast({ type: "note", note: changed });
    } else if (x === undefined || y === undefined || text === undefined) {
      send(socket, { type: "removed", id }); // By somebody else, meanwhile.
    } else {
      this.#make(socket, { id, x, y, text, author: person.name });
    }
  }

  #make(socket: WebSocket, note: Note) {
    const { sql } = this.ctx.storage;
    const { notes } = sql.exec<{ notes: number }>("SELECT count(*) AS notes FROM notes").one();
    if (notes >= MOST_NOTES) {
      send(socket, { type: "error", id: note.id, error: `the board is full: it has ${notes} notes` });
      return;
    }
    const { id, x, y, text, author } = note;
    sql.exec(`INSERT INTO notes (${COLUMNS}) VALUES (?, ?, ?, ?, ?)`, id, x, y, text, author);
    this.#broadcast({ type: "note", note });
  }

  #remove(id: string) {
    this.ctx.storage.sql.exec("DELETE FROM notes WHERE id = ?", id);
    this.#broadcast({ type: "removed", id });
  }

  #leave(socket: WebSocket) {
    const { id }: Person = socket.deserializeAttachment();
    this.#broadcast({ type: "gone", id }, socket);
  }

  // === what there is ===

  #notes(): Note[] {
    return this.ctx.storage.sql.exec<Row>(`SELECT ${COLUMNS} FROM notes ORDER BY rowid`).toArray();
  }

  #people(): [WebSocket, Person][] {
    const open = this.ctx.getWebSockets().filter((socket) => socket.readyState === WebSocket.OPEN);
    return open.map((socket) => [socket, socket.deserializeAttachment()]);
  }

  #broadcast(message: ToPage, except?: WebSocket) {
    for (const [socket] of this.#people()) {
      if (socket !== except) send(socket, message);
    }
  }
}

function send(socket: WebSocket, message: ToPage) {
  socket.send(JSON.stringify(message));
}
