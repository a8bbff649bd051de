// A board that many people point at and pin notes to.
//
//   GET /                                 leads to a board
//   GET /boards/<board>                   the page
//   GET /boards/<board>/socket?name=…     its WebSocket
//   GET /boards/<board>/notes             its notes, as JSON

import type { Board } from "./board.ts";
import page from "./page.html";
import { LONGEST_NAME } from "./protocol.ts";

export { Board } from "./board.ts";

export interface Env {
  BOARDS: DurableObjectNamespace<Board>;
}

const ROUTE = /^\/boards\/([\w-]{1,64})(?:\/(socket|notes))?$/;

const PAGE_HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-cache",
  // The page loads nothing, and its text comes from strangers.
  "content-security-policy":
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; " +
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
};

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    if (request.method !== "GET") return problem(405, "only GET is served here", { allow: "GET" });
    if (pathname === "/") return new Response(null, { status: 302, headers: { location: "/boards/welcome" } });
    const [, name, part] = ROUTE.exec(pathname) ?? [];
    if (name === undefined) return problem(404, "use /boards/<board>");
    if (part === undefined) return new Response(page, { headers: PAGE_HEADERS });

    const board = env.BOARDS.getByName(name);
    if (part === "notes") return Response.json(await board.contents());
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      return problem(426, "open this address as a WebSocket", { upgrade: "websocket" });
    }
    const visitor = searchParams.get("name")?.trim() ?? "";
    if (visitor === "" || visitor.length > LONGEST_NAME) {
      return problem(400, `give a name of 1 to ${LONGEST_NAME} characters in ?name=`);
    }
    return board.fetch(request);
  },
} satisfies ExportedHandler<Env>;

function problem(status: number, error: string, headers = {}) {
  return Response.json({ error }, { status, headers });
}
