// The same as ../app, with Durable Objects: hands operations to a list, a book or a mirror, over HTTP and over WebSockets.
import { Book } from "./book.js";
import { Count } from "./count.js";
import { List } from "./list.js";
import { Mirror } from "./mirror.js";
export { Book, Count, List, Mirror };

const VERSION = 1;

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname === "/version") return new Response(`${VERSION}`);
    const [, script, name] = url.pathname.split("/").map(decodeURIComponent);
    const stub = env[script.toUpperCase()].getByName(name);
    if (request.headers.get("upgrade") === "websocket") return stub.fetch(request);
    const text = request.method === "POST" ? await request.text() : url.searchParams.get("operation");
    const operation = JSON.parse(text);
    return Response.json(await stub.ask(operation));
  },
};
