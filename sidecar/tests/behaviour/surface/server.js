// Runs uses, in itself or in the worker, and is their peer on the network.
import { names, use } from "./uses.js";

function inWorker(message) {
  const { port } = new ServerlessWorker("./worker.js", "uses");
  return new Promise((resolve, reject) => {
    port.onmessage = ({ data }) => resolve(data);
    port.onclose = () => reject(new Error("the worker ended"));
    port.postMessage(message);
  });
}

const EVENTS = "id: 1\ndata: one\ndata: line\n\n: a comment\nevent: named\ndata: two\n\n";

function socket(request) {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.onmessage = ({ data }) => {
    if (data === "close me") server.close(4002, "as asked");
    else server.send(data);
  };
  const offered = request.headers.get("sec-websocket-protocol");
  const headers = offered === null ? {} : { "sec-websocket-protocol": offered.split(",")[0] };
  return new Response(null, { status: 101, webSocket: client, headers });
}

const peers = {
  echo: ({ body, headers }) => new Response(body, { headers: [...headers].filter(([name]) => /^(x-a|content-type)$/.test(name)) }),
  moved: ({ url }) => Response.redirect(new URL("/echo", url)),
  never: () => new Promise(() => {}),
  events: () => {
    const stream = new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode(EVENTS)) });
    return new Response(stream, { headers: { "content-type": "text/event-stream" } });
  },
  socket,
  context: (_request, env, ctx) => Response.json({ greeting: env.GREETING, waitUntil: typeof ctx.waitUntil }),
};

export default {
  async fetch(request, env, ctx) {
    const { origin, pathname, searchParams } = new URL(request.url);
    const [, job, name] = pathname.split("/");
    if (job in peers) return peers[job](request, env, ctx);
    const message = { name, peer: searchParams.get("peer") };
    const there = job === "worker";
    if (name === undefined) return Response.json(there ? await inWorker(message) : names());
    return new Response(there ? await inWorker(message) : await use(name, message.peer));
  },
};
