// A chat: one page, and one worker for each room.
//
//   GET /                                 leads to the lobby
//   GET /rooms/<room>                     the page
//   GET /rooms/<room>/socket?name=<name>  the room's WebSocket

import page from "./index.html";

const ROUTE = /^\/rooms\/([\w-]{1,64})(\/socket)?$/;
const MAX_NAME = 32;
const MAX_TEXT = 2000;
const MAX_ID = 64;

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
  async fetch(request) {
    const url = new URL(request.url);
    if (request.method !== "GET") {
      return problem(405, "only GET is served here", { allow: "GET" });
    }
    if (url.pathname === "/") {
      return new Response(null, { status: 302, headers: { location: "/rooms/lobby" } });
    }
    const route = ROUTE.exec(url.pathname);
    if (!route) return problem(404, "use /rooms/<room>");
    const [, room, socket] = route;
    if (!socket) return new Response(page, { headers: PAGE_HEADERS });

    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      return problem(426, "open this address as a WebSocket", { upgrade: "websocket" });
    }
    const name = url.searchParams.get("name")?.trim() ?? "";
    if (name === "" || name.length > MAX_NAME) {
      return problem(400, `give a name of 1 to ${MAX_NAME} characters in ?name=`);
    }
    return enter(room, name);
  },
};

// Joins a WebSocket and a port to the room. Whichever ends first ends the other.
function enter(room, name) {
  const { 0: client, 1: socket } = new WebSocketPair();
  const { port } = new ServerlessWorker("./room.js", room);
  const send = (message) => socket.send(JSON.stringify(message));

  socket.onmessage = (event) => {
    const message = parse(event.data);
    const error = complaint(message);
    if (error) {
      send({ type: "error", id: message?.id, error });
      return;
    }
    try {
      // The name is the one this socket joined with; a message cannot speak for somebody else.
      port.postMessage({ type: "say", id: message.id, name, text: message.text.trim() });
    } catch {
      send({ type: "error", id: message.id, error: "the room is too busy, try again" });
    }
  };
  socket.onclose = () => port.close();

  const join = () => port.postMessage({ type: "join", name });
  port.onmessage = (event) => (event.data.type === "rejoin" ? join() : send(event.data));
  // 1012 is "service restart": the page comes back and sends again what was not confirmed.
  port.onclose = () => socket.close(1012, "the room restarted");

  socket.accept();
  join();
  return new Response(null, { status: 101, webSocket: client });
}

// What is wrong with a client's message, if anything.
function complaint(message) {
  if (message?.type !== "say") return 'send {"type":"say","id":…,"text":…}';
  if (typeof message.id !== "string" || message.id === "" || message.id.length > MAX_ID) {
    return `"id" must be a string of 1 to ${MAX_ID} characters`;
  }
  const text = typeof message.text === "string" ? message.text.trim() : "";
  if (text === "" || text.length > MAX_TEXT) {
    return `"text" must be a string of 1 to ${MAX_TEXT} characters`;
  }
  return undefined;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function problem(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
