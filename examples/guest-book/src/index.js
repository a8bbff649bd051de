// A guest book. Its page is files in public/, which are served without any code; this is what is behind them.
//
//   GET /api/entries     the entries, as JSON, the newest first
//   POST /api/entries    adds one: { "name": …, "text": … }

import { DurableObject } from "cloudflare:workers";

const LONGEST_NAME = 40;
const LONGEST_TEXT = 500;
const SHOWN = 100;

export class Book extends DurableObject {
  #sql = this.ctx.storage.sql;

  constructor(ctx, env) {
    super(ctx, env);
    this.#sql.exec("CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, at INTEGER, name TEXT, text TEXT)");
  }

  add(name, text) {
    this.#sql.exec("INSERT INTO entries (at, name, text) VALUES (?, ?, ?)", Date.now(), name, text);
  }

  entries() {
    return this.#sql.exec("SELECT at, name, text FROM entries ORDER BY id DESC LIMIT ?", SHOWN).toArray();
  }
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname !== "/api/entries") return problem(404, "there is /api/entries alone");
    const book = env.BOOKS.getByName("the book");
    if (request.method === "GET") return Response.json(await book.entries());
    if (request.method !== "POST") return problem(405, "only GET and POST are served here", { allow: "GET, POST" });
    const { name, text } = (await request.json().catch(() => null)) ?? {};
    if (!isText(name, LONGEST_NAME) || !isText(text, LONGEST_TEXT)) {
      return problem(400, `give a name of 1 to ${LONGEST_NAME} characters, and a text of 1 to ${LONGEST_TEXT}`);
    }
    await book.add(name.trim(), text.trim());
    return Response.json(await book.entries(), { status: 201 });
  },
};

function isText(value, longest) {
  return typeof value === "string" && value.trim() !== "" && value.length <= longest;
}

function problem(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
