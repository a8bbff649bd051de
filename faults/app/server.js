// Hands operations to a list, a book or a mirror, over HTTP and over WebSockets.
//   POST /list/NAME     an operation as JSON; the same for /book/NAME
//   GET  /list/NAME     the same in ?operation=
//   GET  /list/NAME     with an upgrade: a WebSocket, a message for each operation
//   GET  /count/NAME    with an upgrade: a WebSocket that says again what it hears, and stays while pods come and go
const VERSION = 1;

function open(pathname) {
  const [, script, name] = pathname.split("/").map(decodeURIComponent);
  if (script === "list") return new ServerlessWorker("./list.js", name).port;
  if (script === "book") return new ServerlessWorker("./book.js", name).port;
  if (script === "mirror") return new ServerlessWorker("./mirror.js", name).port;
  throw new Error(`no script ${script}`);
}

function socket(port) {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.addEventListener("message", ({ data }) => port.postMessage(JSON.parse(data)));
  server.addEventListener("close", () => port.close());
  port.onmessage = ({ data }) => server.send(JSON.stringify(data));
  port.onclose = ({ code }) => server.close(4000, code);
  return new Response(null, { status: 101, webSocket: client });
}

function count() {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.addEventListener("message", ({ data }) => server.send(data));
  server.addEventListener("close", () => server.close());
  return new Response(null, { status: 101, webSocket: client, reconnects: true });
}

export default {
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname.startsWith("/count/")) return count();
    if (url.pathname === "/version") return new Response(`${VERSION}`);
    const port = open(url.pathname);
    if (request.headers.get("upgrade") === "websocket") return socket(port);
    const text = request.method === "POST" ? await request.text() : url.searchParams.get("operation");
    const operation = JSON.parse(text);
    return new Promise((resolve, reject) => {
      port.onmessage = ({ data }) => resolve(Response.json(data));
      port.onclose = ({ code }) => reject(new Error(`the worker's port closed: ${code}`));
      port.onerror = (event) => reject(event.error ?? new Error("the worker cannot be reached"));
      port.postMessage(operation);
    });
  },
};
