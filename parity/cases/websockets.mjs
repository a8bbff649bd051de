// WebSockets of clients to objects that accept them themselves.

import { Socket, untilSome } from "../lib/client.mjs";
import { within } from "../worker/parity.js";

const at = (server, t, what) => `${server.url}/${encodeURIComponent(t.name)}/${what}`;
const open = (server, t, what, ...rest) => Socket.open(at(server, t, what), ...rest);

/** What the object has seen. */
async function log(server, t) {
  const path = `/${encodeURIComponent(t.name)}/log`;
  t.log("log", await untilSome(async () => JSON.parse((await server.fetch(path)).body)));
}

/** Sends messages and writes what comes back for each. */
const asked =
  (what, ...messages) =>
  async (server, t) => {
    const socket = await open(server, t, what);
    for (const message of messages) t.log("event", await socket.ask(message));
    socket.cut();
  };

const closed =
  (what, ...args) =>
  async (server, t) => {
    const socket = await open(server, t, what);
    socket.close(...args);
    t.log("event", await socket.next());
    await log(server, t);
    socket.cut();
  };

const closedByObject =
  (...args) =>
  async (server, t) => {
    const socket = await open(server, t, "close");
    t.log("event", await socket.ask(JSON.stringify(args)));
    await log(server, t);
  };

export const cases = {
  "client: text": asked("describe", "text", "", "\u{1F600}"),
  "client: bytes as a Blob": asked("describeBlob", new Uint8Array([65, 66])),
  "client: bytes as an ArrayBuffer": asked("arrayBuffer", new Uint8Array([1, 2]), new Uint8Array(0)),
  "client: bytes echoed": asked("echo", new Uint8Array([1, 2, 255])),
  "client: 1 MiB": async (server, t) => {
    const socket = await open(server, t, "echo");
    t.log("length", (await socket.ask("x".repeat(1 << 20))).length);
    socket.cut();
  },
  "client: 100 messages": async (server, t) => {
    const socket = await open(server, t, "echo");
    for (let n = 0; n < 100; n++) socket.send(String(n));
    const seen = [];
    while (seen.length < 100) seen.push(await socket.next());
    t.log(
      "in order",
      seen.every((message, at) => message === String(at)),
    );
    socket.cut();
  },
  "client: handlers that await storage answer in order": async (server, t) => {
    const socket = await open(server, t, "storageInOrder");
    for (let n = 0; n < 50; n++) socket.send(String(n));
    const seen = [];
    while (seen.length < 50) seen.push(await socket.next());
    t.log(
      "in order",
      seen.every((message, at) => message === String(at)),
    );
    socket.cut();
  },
  "client: greeting": async (server, t) => {
    const socket = await open(server, t, "greet");
    t.log("event", await socket.next());
    socket.cut();
  },
  "client: greeting later": async (server, t) => {
    const socket = await open(server, t, "greetLater");
    t.log("event", await socket.next());
    socket.cut();
  },
  "client: ping": async (server, t) => {
    const socket = await open(server, t, "echo");
    const pong = new Promise((resolve) => socket.socket.once("pong", (data) => resolve(data.toString())));
    socket.socket.ping("data");
    t.log("pong", await pong);
    socket.cut();
  },
  "client: a subprotocol": async (server, t) => {
    const socket = await open(server, t, "echo?protocol=two", ["one", "two"]);
    t.log("protocol", socket.socket.protocol);
    socket.cut();
  },
  "client: compression": async (server, t) => {
    const socket = await open(server, t, "echo", [], { perMessageDeflate: true });
    t.log("extensions", socket.socket.extensions);
    t.log("event", await socket.ask("x".repeat(1000)));
    socket.cut();
  },
  "client: refused": async (server, t) => {
    t.log("event", await new Socket(at(server, t, "refuse")).next());
  },
  "client: a request that is no upgrade": async (server, t) => {
    t.log("status", (await server.fetch(`/${encodeURIComponent(t.name)}/echo`)).status);
  },
  "client: a socket that nobody accepted": async (server, t) => {
    const socket = new Socket(at(server, t, "notAccepted"));
    t.log("event", await socket.next());
    t.log("then", await socket.next(500));
    socket.cut();
  },
  "client: closes with code and reason": closed("echo", 4000, "why"),
  "client: closes with 1000": closed("echo", 1000),
  "client: closes with 1001": closed("echo", 1001, "leaving"),
  "client: closes without a code": closed("echo"),
  "client: closes, and the object answers": closed("answerClose", 4000, "why"),
  "client: closes without a code, and the object answers": closed("answerClose"),
  "client: closes a half-open socket": async (server, t) => {
    const socket = await open(server, t, "halfOpen");
    socket.close(4000, "why");
    t.log("event", await socket.next());
    t.log("event", await socket.next());
    await log(server, t);
  },
  "client: breaks the connection": async (server, t) => {
    const socket = await open(server, t, "echo");
    t.log("event", await socket.ask("a"));
    socket.cut();
    await log(server, t);
  },
  "client: the object closes with code and reason": closedByObject(4000, "why"),
  "client: the object closes with 1000": closedByObject(1000),
  "client: the object closes without a code": closedByObject(),
  "client: the object closes with a reason of 123 bytes": closedByObject(4000, "x".repeat(123)),
  "client: the object closes at once": async (server, t) => {
    const socket = await open(server, t, "closeAtOnce");
    t.log("event", await socket.next());
    await log(server, t);
  },
  "client: the object sends and closes": async (server, t) => {
    const socket = await open(server, t, "sendAndClose");
    for (let n = 0; n < 4; n++) t.log("event", await socket.next());
  },
  "client: a handler that throws": async (server, t) => {
    const socket = await open(server, t, "throwOnMessage");
    socket.send("throw");
    t.log("event", await socket.ask("next"));
    socket.cut();
    await log(server, t);
  },
  "client: a handler that rejects": async (server, t) => {
    const socket = await open(server, t, "rejectOnMessage");
    socket.send("throw");
    t.log("event", await socket.ask("next"));
    socket.cut();
  },
  "client: the object aborts": async (server, t) => {
    const socket = await open(server, t, "abortOnMessage");
    t.log("event", await socket.ask("now"));
  },
  "client: the object aborts, and others": async (server, t) => {
    const other = await open(server, t, "echo");
    const socket = await open(server, t, "abortOnMessage");
    t.log("event", await socket.ask("now"));
    t.log("other", await other.next());
  },
  "client: two of one object": async (server, t) => {
    const [first, second] = [await open(server, t, "echo"), await open(server, t, "echo")];
    await server.fetch(`/${encodeURIComponent(t.name)}/broadcast?1`);
    t.log("events", await first.next(), await second.next());
    first.cut();
    second.cut();
  },
  "idle: an object with a socket goes on": within(40, async (server, t) => {
    const socket = await open(server, t, "echo");
    t.log("event", await socket.ask("before"));
    await new Promise((resolve) => setTimeout(resolve, 16_000));
    t.log("event", await socket.ask("after"));
    socket.cut();
    await log(server, t);
  }),
};

/** Sockets of a case's first step, which its second looks at, by the server. */
const left = new WeakMap();

export const killed = {
  "killed: the client sees it": [
    async (server, t) => {
      const socket = await open(server, t, "echo");
      t.log("event", await socket.ask("a"));
      left.set(server, socket);
    },
    async (server, t) => t.log("event", await left.get(server).next()),
  ],
};
