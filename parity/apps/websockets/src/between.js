// Sockets between the Worker and an object.

const upgrade = { headers: { upgrade: "websocket" } };

async function open(env, t, what) {
  const response = await env.SOCKETS.getByName(t.name).fetch(`http://object/${what}`, upgrade);
  const socket = response.webSocket;
  const events = [];
  let wake = () => {};
  socket.addEventListener("message", ({ data }) => (events.push(data), wake()));
  socket.addEventListener(
    "close",
    ({ code, reason, wasClean }) => (events.push(["close", code, reason, wasClean]), wake()),
  );
  socket.accept();
  const event = async () => {
    while (events.length === 0) await new Promise((resolve) => (wake = resolve));
    return events.shift();
  };
  return { socket, event, response };
}

const log = async (env, t) => (await env.SOCKETS.getByName(t.name).fetch("http://object/log")).json();

export const between = {
  "between: the response": async (env, _ctx, t) => {
    const response = await env.SOCKETS.getByName(t.name).fetch("http://object/echo", upgrade);
    t.log("response", response.status, response.webSocket instanceof WebSocket, response.ok, response.body);
    t.log("state", response.webSocket.readyState);
    response.webSocket.accept();
    response.webSocket.close();
  },
  "between: echo": async (env, _ctx, t) => {
    const { socket, event } = await open(env, t, "echo");
    socket.send("text");
    t.log("event", await event());
    socket.send(new Uint8Array([1, 2]));
    const bytes = await event();
    t.log("bytes", bytes instanceof Blob ? `Blob ${bytes.size}` : bytes);
    socket.close();
  },
  "between: a greeting before accept": async (env, _ctx, t) => {
    const { socket, event } = await open(env, t, "greet");
    t.log("event", await event());
    socket.close();
  },
  "between: the Worker closes": async (env, _ctx, t) => {
    const { socket, event } = await open(env, t, "echo");
    socket.close(4000, "why");
    t.log("event", await event());
    await scheduler.wait(300);
    t.log("log", await log(env, t));
  },
  "between: the object closes": async (env, _ctx, t) => {
    const { socket, event } = await open(env, t, "close");
    socket.send('[4000, "why"]');
    t.log("event", await event());
    await scheduler.wait(300);
    t.log("log", await log(env, t), socket.readyState);
  },
  "between: the object closes at once": async (env, _ctx, t) => {
    const { event } = await open(env, t, "closeAtOnce");
    t.log("event", await event());
  },
  "between: the object aborts": async (env, _ctx, t) => {
    const { socket, event } = await open(env, t, "abortOnMessage");
    socket.send("now");
    t.log("event", await event());
  },
  "between: without the header upgrade": async (env, _ctx, t) => {
    await t.try("fetch", async () => {
      const response = await env.SOCKETS.getByName(t.name).fetch("http://object/echo");
      return [response.status, response.webSocket instanceof WebSocket];
    });
  },
  "between: the object refuses": async (env, _ctx, t) => {
    const response = await env.SOCKETS.getByName(t.name).fetch("http://object/refuse", upgrade);
    t.log("response", response.status, response.webSocket, await response.text());
  },
  "between: 100 messages": async (env, _ctx, t) => {
    const { socket, event } = await open(env, t, "echo");
    for (let n = 0; n < 100; n++) socket.send(String(n));
    const seen = [];
    while (seen.length < 100) seen.push(await event());
    t.log(
      "in order",
      seen.every((data, at) => data === String(at)),
    );
    socket.close();
  },
  "between: messages wait for writes": async (env, _ctx, t) => {
    const { socket, event } = await open(env, t, "putAndSend");
    socket.send("one");
    t.log("event", await event());
    socket.close();
  },
};
