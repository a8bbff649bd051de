// What servers do, so that the functions they need are compiled in the snapshot. It is run once, while that is made.
({
  default: {
    async fetch(request, env, context) {
      const url = new URL(request.url);
      const { pathname, searchParams } = url;
      switch (pathname) {
        case "/ask":
          return ask(searchParams.get("name"), request.method);
        case "/socket":
          return accept(request.headers.get("upgrade"));
        case "/body":
          context.waitUntil(Promise.resolve());
          return Response.json({ got: await request.json(), env: Object.keys(env) }, { status: 201 });
        case "/stream":
          return new Response(request.body, { headers: { "content-type": "application/octet-stream" } });
        default:
          return new Response("not found", { status: 404, headers: new Headers([["x-kind", "text"]]) });
      }

      function ask(name, question) {
        const { port } = new ServerlessWorker("./worker.js", { name, type: "module" });
        return new Promise((resolve) => {
          port.onmessage = ({ data }) => {
            port.close();
            resolve(new Response(data));
          };
          port.postMessage(question);
        });
      }

      function accept() {
        const [client, socket] = Object.values(new WebSocketPair());
        const { port } = new ServerlessWorker(new URL("./worker.js", "file:///server.js"), "room");
        socket.accept();
        socket.addEventListener("message", ({ data }) => port.postMessage(data));
        socket.addEventListener("close", () => port.close());
        port.onmessage = ({ data }) => socket.send(data);
        port.onclose = () => socket.close(1011, "the room is closed");
        return new Response(null, { status: 101, webSocket: client });
      }
    },
  },
})
