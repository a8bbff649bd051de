// The server is stateless. It gets the requests.
//
//   GET  /counters/<name>   the count
//   POST /counters/<name>   one more

const ROUTE = /^\/counters\/([\w-]{1,64})$/;

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response(`${env.GREETING}\n`);
    const name = ROUTE.exec(pathname)?.[1];
    if (name === undefined) return new Response("not found\n", { status: 404 });
    const by = { GET: 0, POST: 1 }[request.method];
    if (by === undefined) return new Response("use GET or POST\n", { status: 405, headers: { allow: "GET, POST" } });
    return Response.json({ count: await ask(name, { by }) });
  },
};

// One question to the counter of that name, one answer.
async function ask(name, question) {
  const { port } = new ServerlessWorker("./counter.js", name);
  const { promise, resolve, reject } = Promise.withResolvers();
  port.onmessage = ({ data }) => resolve(data);
  port.onclose = () => reject(new Error("the counter went away before it answered"));
  port.postMessage(question);
  return promise.finally(() => port.close());
}
