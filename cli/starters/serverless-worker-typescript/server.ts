// The server is stateless. It gets the requests.
//
//   GET  /counters/<name>   the count
//   POST /counters/<name>   one more

import type { Answer, Question } from "./counter.ts";

const ROUTE = /^\/counters\/([\w-]{1,64})$/;

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response(`${env.GREETING}\n`);
    const name = ROUTE.exec(pathname)?.[1];
    if (name === undefined) return new Response("not found\n", { status: 404 });
    switch (request.method) {
      case "GET":
        return Response.json({ count: await ask(name, { by: 0 }) });
      case "POST":
        return Response.json({ count: await ask(name, { by: 1 }) });
      default:
        return new Response("use GET or POST\n", { status: 405, headers: { allow: "GET, POST" } });
    }
  },
} satisfies ServerHandlers<Env>;

/** One question to the counter of that name, one answer. */
async function ask(name: string, question: Question): Promise<Answer> {
  const { port } = new ServerlessWorker("./counter.ts", name);
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  port.onmessage = ({ data }) => resolve(data);
  port.onclose = () => reject(new Error("the counter went away before it answered"));
  port.postMessage(question);
  return promise.finally(() => port.close());
}
