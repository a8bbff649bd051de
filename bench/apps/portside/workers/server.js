// What is measured, each at a path of its own; ../../workerd/workers answers the same.

export default {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    // In a path a name tells a gateway which pod's workers the path leads to.
    const [, what, inPath] = pathname.split("/");
    const name = inPath ?? search.slice(1);
    switch (what) {
      case "ping":
        return ask(new ServerlessWorker("./ping.js", name), "ping");
      case "add":
        return ask(new ServerlessWorker("./counter.js", name), "add");
      case "read":
        return ask(new ServerlessWorker("./counter.js", name), "read");
      case "arm": {
        const [worker, time] = name.split("&");
        return ask(new ServerlessWorker("./alarm.js", worker), Number(time));
      }
      case "tally":
        return ask(new ServerlessWorker("./tally.js", "tally"), "read");
      case "echo":
        return echo();
      case "room":
        return enter(name);
      default:
        return new Response("ready");
    }
  },
};

function ask({ port }, question) {
  return new Promise((resolve) => {
    port.onmessage = ({ data }) => {
      port.close();
      resolve(new Response(data));
    };
    port.postMessage(question);
  });
}

function echo() {
  const { 0: client, 1: socket } = new WebSocketPair();
  socket.accept();
  socket.addEventListener("message", ({ data }) => socket.send(data));
  return new Response(null, { status: 101, webSocket: client });
}

function enter(name) {
  const { 0: client, 1: socket } = new WebSocketPair();
  const { port } = new ServerlessWorker("./room.js", name);
  socket.accept();
  socket.addEventListener("message", ({ data }) => port.postMessage(data));
  socket.addEventListener("close", () => port.close());
  port.onmessage = ({ data }) => socket.send(data);
  return new Response(null, { status: 101, webSocket: client });
}
