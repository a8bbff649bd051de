// A Redis-like server: each path is a database, a command is a JSON array of strings.
//
//   POST /<database>   one command, one answer
//   GET  /<database>   a WebSocket for many commands; replies carry the command's id

const MAX_ARGUMENTS = 128;

export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    const database = pathname.slice(1) || "0";
    if (!/^[\w.-]{1,100}$/.test(database)) {
      return problem(404, "a database's name is made of letters, digits, '.', '_' and '-'");
    }

    switch (request.method) {
      case "POST":
        return single(request, database);
      case "GET":
        return pipeline(request, database);
      default:
        return problem(405, "only GET and POST are served here", { allow: "GET, POST" });
    }
  },
};

async function single(request, database) {
  const command = parse(await request.text());
  if (!isCommand(command)) return problem(400, USAGE);

  const { port } = new ServerlessWorker("./database.js", database);
  try {
    const { result, error } = await new Promise((resolve, reject) => {
      port.onmessage = (event) => resolve(event.data);
      port.onclose = () => reject(new Error("the database went away before it answered"));
      port.postMessage({ id: crypto.randomUUID(), command });
    });
    return error === undefined ? Response.json({ result }) : problem(400, error);
  } catch (error) {
    console.error("no answer from the database:", error);
    return problem(503, "try again in a moment", { "retry-after": "1" });
  } finally {
    port.close();
  }
}

function pipeline(request, database) {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    return problem(426, "POST a command, or open this address as a WebSocket", { upgrade: "websocket" });
  }

  const { 0: client, 1: socket } = new WebSocketPair();
  const { port } = new ServerlessWorker("./database.js", database);
  const reply = (message) => socket.send(JSON.stringify(message));

  socket.onmessage = (event) => {
    const message = parse(event.data);
    const id = message?.id;
    if (!isCommand(message?.command)) {
      reply({ id, error: `send {"id":…,"command":…}; ${USAGE}` });
      return;
    }
    try {
      port.postMessage({ id, command: message.command });
    } catch {
      reply({ id, error: "too many commands are waiting, slow down" });
    }
  };
  socket.onclose = () => port.close();

  port.onmessage = (event) => reply(event.data);
  // Commands without a reply may or may not have run; the client has to decide. 1012 is "service restart".
  port.onclose = () => socket.close(1012, "the database restarted");

  socket.accept();
  return new Response(null, { status: 101, webSocket: client });
}

const USAGE = 'a command is a JSON array of 1 to 128 strings, such as ["SET", "key", "value"]';

function isCommand(value) {
  return (
    Array.isArray(value) &&
    value.length >= 1 &&
    value.length <= MAX_ARGUMENTS &&
    value.every((part) => typeof part === "string")
  );
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
