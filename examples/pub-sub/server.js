// Topics that anyone can publish to and subscribe to.
//
//   GET  /topics/<topic>         how many subscribers it has
//   POST /topics/<topic>         publishes the JSON body
//   GET  /topics/<topic>/socket  a WebSocket that receives, and may publish

const ROUTE = /^\/topics\/([\w.-]{1,100})(\/socket)?$/;

export default {
  async fetch(request) {
    const route = ROUTE.exec(new URL(request.url).pathname);
    if (!route) return problem(404, "use /topics/<topic> or /topics/<topic>/socket");
    const [, topic, socket] = route;
    if (socket) return subscribe(request, topic);

    switch (request.method) {
      case "GET":
        return answer(topic, { type: "count" });
      case "POST":
        return publish(request, topic);
      default:
        return problem(405, "only GET and POST are served here", { allow: "GET, POST" });
    }
  },
};

async function publish(request, topic) {
  let data;
  try {
    data = await request.json();
  } catch {
    return problem(400, "the body must be JSON");
  }
  return answer(topic, { type: "publish", id: crypto.randomUUID(), data });
}

// Each topic is one worker, the same one for every request that names it.
function open(topic) {
  return new ServerlessWorker("./topic.js", topic).port;
}

async function answer(topic, question) {
  const port = open(topic);
  try {
    const { subscribers, id } = await new Promise((resolve, reject) => {
      port.onmessage = (event) => resolve(event.data);
      port.onclose = () => reject(new Error("the topic's worker went away before it answered"));
      port.postMessage(question);
    });
    return Response.json({ topic, id, subscribers });
  } catch (error) {
    console.error("no answer from the topic:", error);
    return problem(503, "try again in a moment", { "retry-after": "1" });
  } finally {
    port.close();
  }
}

function subscribe(request, topic) {
  if (request.method !== "GET") {
    return problem(405, "only GET is served here", { allow: "GET" });
  }
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    return problem(426, "open this address as a WebSocket", { upgrade: "websocket" });
  }

  const { 0: client, 1: socket } = new WebSocketPair();
  const port = open(topic);
  const send = (message) => socket.send(JSON.stringify(message));

  socket.onmessage = (event) => {
    const message = parse(event.data);
    if (message?.type !== "publish" || !("data" in message)) {
      send({ type: "error", id: message?.id, error: 'send {"type":"publish","id":…,"data":…}' });
      return;
    }
    try {
      port.postMessage({ type: "publish", id: message.id, data: message.data });
    } catch {
      send({ type: "error", id: message.id, error: "too many messages, slow down" });
    }
  };
  socket.onclose = () => port.close();

  port.onmessage = (event) => send(event.data);
  // The client can come back: 1012 is "service restart".
  port.onclose = () => socket.close(1012, "the topic restarted");

  socket.accept();
  port.postMessage({ type: "subscribe" });
  return new Response(null, { status: 101, webSocket: client });
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
