// The stateless part: it gets the requests.
//
//   GET  /counters/<name>   the count
//   POST /counters/<name>   one more

export { Counter } from "./counter.ts";

const ROUTE = /^\/counters\/([\w-]{1,64})$/;

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response(`${env.GREETING}\n`);
    const name = ROUTE.exec(pathname)?.[1];
    if (name === undefined) return new Response("not found\n", { status: 404 });
    const counter = env.COUNTERS.getByName(name);
    switch (request.method) {
      case "GET":
        return Response.json({ count: await counter.read() });
      case "POST":
        return Response.json({ count: await counter.increment() });
      default:
        return new Response("use GET or POST\n", { status: 405, headers: { allow: "GET, POST" } });
    }
  },
} satisfies ExportedHandler<Env>;
