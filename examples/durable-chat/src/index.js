// A chat in the style of Cloudflare's edge chat demo: rooms for all by name, and private ones by an id that nobody guesses.
//
//   GET  /                       the page, which asks for name and room
//   GET  /rooms/<room>           the page of a room
//   GET  /rooms/<room>/socket    its WebSocket
//   POST /rooms                  makes a private room: 201, and where it is

import page from "./page.html";

export { ChatRoom } from "./room.js";
export { RateLimiter } from "./limiter.js";

const ROUTE = /^\/rooms\/([\w-]+)(\/socket)?$/;
const ID = /^[0-9a-f]{64}$/;
const LONGEST_NAME = 32;

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
    const { pathname } = new URL(request.url);
    if (pathname === "/rooms") {
      if (request.method !== "POST") return problem(405, "use POST here", { allow: "POST" });
      const room = env.ROOMS.newUniqueId().toString();
      return Response.json({ room }, { status: 201, headers: { location: `/rooms/${room}` } });
    }
    if (request.method !== "GET") return problem(405, "use GET here", { allow: "GET" });
    if (pathname === "/") return new Response(page, { headers: PAGE_HEADERS });

    const [, room, socket] = ROUTE.exec(pathname) ?? [];
    const id = room && idOf(env.ROOMS, room);
    if (!id) return problem(404, `use /rooms/<room>: 1 to ${LONGEST_NAME} of A-Z a-z 0-9 _ -, or a private room's id`);
    return socket ? env.ROOMS.get(id).fetch(request) : new Response(page, { headers: PAGE_HEADERS });
  },
};

/** The object of a room, or null if there cannot be one. */
function idOf(rooms, room) {
  if (!ID.test(room)) return room.length <= LONGEST_NAME ? rooms.idFromName(room) : null;
  try {
    return rooms.idFromString(room);
  } catch {
    return null; // Made up, or of an object of another class.
  }
}

function problem(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
