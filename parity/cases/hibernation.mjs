// Clients' WebSockets that the runtime keeps for objects.

import { Socket, untilSome } from "../lib/client.mjs";
import { within } from "../worker/parity.js";

/** Longer than an object stays that gets no message. */
const IDLE = 16_000;

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const at = (server, t, what, binding = "SOCKETS") => `${server.url}/${binding}/${encodeURIComponent(t.name)}/${what}`;
const open = (server, t, query = "", ...rest) => Socket.open(at(server, t, `open${query}`), ...rest);
const read = async (server, t, what) => JSON.parse((await server.fetch(new URL(at(server, t, what)).pathname)).body);

/** What the object has noted. */
async function log(server, t) {
  for (const line of await untilSome(() => read(server, t, "log"))) t.log("log", line);
}

/** Sends commands, and writes what comes back for each. */
const asked =
  (...commands) =>
  async (server, t) => {
    const socket = await open(server, t, "?tag=mine");
    for (const command of commands) t.log(String(command), await socket.ask(command));
    socket.cut();
  };

/** The client closes; `attachment` says what webSocketClose does. */
const closed =
  (attachment, ...args) =>
  async (server, t) => {
    const socket = await open(server, t);
    if (attachment) socket.send(`attach ${JSON.stringify(attachment)}`);
    socket.close(...args);
    t.log("event", await socket.next(2000));
    await log(server, t);
    t.log("sockets", await read(server, t, "count"));
    socket.cut();
  };

const closedByObject =
  (...args) =>
  async (server, t) => {
    const socket = await open(server, t);
    t.log("event", await socket.ask(`close ${args.map((arg) => JSON.stringify(arg)).join()}`));
    await log(server, t);
    t.log("sockets", await read(server, t, "count"));
  };

const idle = (run) => within(50, run);

export const cases = {
  "client: text": asked('say "a"', 'say ""', 'say "\u{1F600}"'),
  "client: bytes": asked(new Uint8Array([1, 2]), new Uint8Array(0)),
  "client: tags": asked("tags"),
  "client: attachment": asked("attachment"),
  "client: the same socket in every event": asked("isSame", "isSame"),
  "client: state in an event": asked("state"),
  "client: greeting": async (server, t) => {
    const socket = await open(server, t, "?greet");
    t.log("event", await socket.next());
    socket.cut();
  },
  "client: 1 MiB": async (server, t) => {
    const socket = await open(server, t);
    t.log("length", (await socket.ask(`say ${JSON.stringify("x".repeat(1 << 20))}`)).length);
    socket.cut();
  },
  "client: just below 32 MiB": within(40, async (server, t) => {
    const socket = await open(server, t);
    const event = await socket.ask(`say ${JSON.stringify("x".repeat((32 << 20) - 100))}`, 30_000);
    t.log("length", event.length);
    socket.cut();
  }),
  "client: 33 MiB": async (server, t) => {
    const socket = await open(server, t);
    t.log("event", await socket.ask("x".repeat(33 << 20)));
    await log(server, t);
    socket.cut();
  },
  "client: 100 messages": async (server, t) => {
    const socket = await open(server, t);
    for (let n = 0; n < 100; n++) socket.send(`say "${n}"`);
    const seen = [];
    while (seen.length < 100) seen.push(await socket.next());
    t.log(
      "in order",
      seen.every((message, at) => message === String(at)),
    );
    socket.cut();
  },
  "client: 100 messages whose handlers await storage": async (server, t) => {
    const socket = await open(server, t);
    for (let n = 0; n < 50; n++) socket.send(`put "k", ${n}`);
    socket.send('get "k"');
    const seen = [];
    while (seen.length < 51) seen.push(await socket.next());
    t.log(
      "last",
      seen.at(-1),
      seen.slice(0, -1).every((message) => message === "put"),
    );
    socket.cut();
  },
  "client: messages whose handlers wait": async (server, t) => {
    const socket = await open(server, t);
    socket.send('wait 200, "first"');
    socket.send('wait 0, "second"');
    t.log("events", await socket.next(), await socket.next());
    socket.cut();
  },
  "client: a message during blockConcurrencyWhile": async (server, t) => {
    const socket = await open(server, t);
    socket.send("block 200");
    socket.send('say "second"');
    t.log("events", await socket.next(), await socket.next());
    socket.cut();
  },
  "client: broadcast": async (server, t) => {
    const [a, b, c] = [
      await open(server, t, "?tag=x"),
      await open(server, t, "?tag=y"),
      await open(server, t, "?tag=x"),
    ];
    a.send('broadcast "all"');
    t.log("all", await a.next(), await b.next(), await c.next());
    a.send('broadcast "some", "x"');
    t.log("some", await a.next(), await c.next(), await b.next(300));
    t.log("count", await a.ask("count"), await a.ask('count "x"'), await a.ask("names"));
    [a, b, c].forEach((each) => each.cut());
  },
  "client: order of sockets": async (server, t) => {
    const sockets = [];
    for (const name of ["c", "a", "b"]) sockets.push(await open(server, t, `?tag=${name}`));
    t.log("names", await sockets[0].ask("names"));
    sockets[0].cut();
    await wait(400);
    sockets.push(await open(server, t, "?tag=d"));
    t.log("names", await sockets[1].ask("names"));
    sockets.forEach((each) => each.cut());
  },
  "client: a handler that throws": async (server, t) => {
    const socket = await open(server, t);
    socket.send("throw");
    t.log("event", await socket.ask('say "next"'));
    socket.send("reject");
    t.log("event", await socket.ask('say "next"'));
    t.log("instance", await socket.ask("instance"));
    socket.cut();
    await log(server, t);
  },
  "client: an unknown command": async (server, t) => {
    const socket = await open(server, t);
    socket.send("nonsense");
    t.log("event", await socket.ask('say "next"'));
    socket.cut();
  },
  "client: closes with code and reason": closed(null, 4000, "why"),
  "client: closes with 1000": closed(null, 1000),
  "client: closes without a code": closed(null),
  "client: closes, and webSocketClose closes": closed("answer", 4000, "why"),
  "client: closes without a code, and webSocketClose closes": closed("answer"),
  "client: closes, and webSocketClose closes with another code": closed("answer another", 4000, "why"),
  "client: closes, and webSocketClose sends": closed("send", 4000, "why"),
  "client: closes, and webSocketClose throws": closed("throw", 4000, "why"),
  "client: breaks the connection": async (server, t) => {
    const socket = await open(server, t);
    t.log("event", await socket.ask('say "a"'));
    socket.cut();
    await log(server, t);
    t.log("sockets", await read(server, t, "count"));
  },
  "client: breaks the connection, and webSocketClose closes": async (server, t) => {
    const socket = await open(server, t);
    socket.send('attach "answer"');
    t.log("event", await socket.ask('say "a"'));
    socket.cut();
    await log(server, t);
    t.log("sockets", await read(server, t, "count"));
  },
  "client: the object closes with code and reason": closedByObject(4000, "why"),
  "client: the object closes with 1000": closedByObject(1000),
  "client: the object closes without a code": closedByObject(),
  "client: the object closes another": async (server, t) => {
    const [a, b] = [await open(server, t, "?tag=a"), await open(server, t, "?tag=b")];
    a.send('closeOther "b", 4000, "by a"');
    t.log("event", await b.next());
    await log(server, t);
    t.log("count", await a.ask("count"));
    a.cut();
  },
  "client: the object closes and sends": async (server, t) => {
    const socket = await open(server, t);
    t.log("event", await socket.ask("closeAndSend"));
  },
  "client: abort": async (server, t) => {
    const [a, b] = [await open(server, t), await open(server, t)];
    t.log("event", await a.ask("abort"));
    t.log("other", await b.next());
    await log(server, t);
    t.log("sockets", await read(server, t, "count"));
  },
  "client: a class without handlers": async (server, t) => {
    const socket = await Socket.open(at(server, t, "open", "SILENT"));
    t.log("event", await socket.next());
    socket.send("a");
    t.log("then", await socket.next(500));
    socket.close(4000, "why");
    t.log("then", await socket.next(1000));
    socket.cut();
  },
  "client: automatic response": async (server, t) => {
    const socket = await open(server, t);
    socket.send('autoResponse "ping", "pong"');
    t.log("pair", await socket.ask("getAutoResponse"));
    t.log("timestamp", await socket.ask("timestamp"));
    const instance = await socket.ask("instance");
    t.log("ping", await socket.ask("ping"));
    t.log("timestamp", await socket.ask("timestamp"));
    t.log("messages meanwhile", (await socket.ask("instance")) - instance);
    socket.send("noAutoResponse");
    t.log("pair", await socket.ask("getAutoResponse"));
    socket.cut();
  },
  "idle: wakes for a message": idle(async (server, t) => {
    const socket = await open(server, t, "?tag=a&tag=b");
    socket.send('attach {"n":1}');
    t.log("before", await socket.ask("instance"), await socket.ask("tags"), await socket.ask("isSame"));
    await wait(IDLE);
    t.log("after", await socket.ask("instance"), await socket.ask("tags"), await socket.ask("isSame"));
    t.log("attachment", await socket.ask("attachment"));
    t.log("what the constructor found", await socket.ask("constructed"));
    socket.cut();
  }),
  "idle: wakes for a request, with its sockets": idle(async (server, t) => {
    const sockets = [];
    for (const name of ["c", "a", "b"]) sockets.push(await open(server, t, `?tag=${name}`));
    await wait(IDLE);
    t.log("count", await read(server, t, "count"));
    t.log("names", await sockets[0].ask("names"));
    sockets[1].send('broadcast "all"');
    for (const socket of sockets) t.log("event", await socket.next());
    sockets.forEach((each) => each.cut());
  }),
  "idle: wakes for a close": idle(async (server, t) => {
    const socket = await open(server, t);
    t.log("before", await socket.ask("instance"));
    await wait(IDLE);
    socket.close(4000, "why");
    await log(server, t);
    socket.cut();
  }),
  "idle: wakes for a lost connection": idle(async (server, t) => {
    const socket = await open(server, t);
    t.log("before", await socket.ask("instance"));
    await wait(IDLE);
    socket.cut();
    await log(server, t);
  }),
  "idle: automatic responses do not wake it": idle(async (server, t) => {
    const socket = await open(server, t);
    socket.send('autoResponse "ping", "pong"');
    t.log("before", await socket.ask("instance"));
    for (let waited = 0; waited < IDLE; waited += 2000) {
      await wait(2000);
      if ((await socket.ask("ping")) !== "pong") t.log("no pong");
    }
    t.log("after", await socket.ask("instance"));
    t.log("timestamp", await socket.ask("timestamp"));
    t.log("pair", await socket.ask("getAutoResponse"));
    socket.cut();
  }),
  "idle: automatic responses while it sleeps": idle(async (server, t) => {
    const socket = await open(server, t);
    socket.send('autoResponse "ping", "pong"');
    t.log("before", await socket.ask("instance"));
    await wait(IDLE);
    t.log("ping", await socket.ask("ping"));
    t.log("after", await socket.ask("instance"));
    socket.cut();
  }),
  "idle: a message wakes it once": idle(async (server, t) => {
    const socket = await open(server, t);
    t.log("before", await socket.ask("instance"));
    await wait(IDLE);
    for (let n = 0; n < 20; n++) socket.send("instance");
    const seen = [];
    while (seen.length < 20) seen.push(Number(await socket.next()));
    t.log(
      "in order",
      seen.every((n, at) => n === at + 1),
    );
    socket.cut();
  }),
  "idle: a new socket beside one that slept": idle(async (server, t) => {
    const old = await open(server, t, "?tag=old");
    t.log("before", await old.ask("instance"));
    await wait(IDLE);
    const young = await open(server, t, "?tag=young");
    t.log("names", await young.ask("names"));
    young.send('broadcast "both"');
    t.log("events", await old.next(), await young.next());
    [old, young].forEach((each) => each.cut());
  }),
};

/** Sockets of a case's first step, which its second looks at, by the server. */
const left = new WeakMap();

export const killed = {
  "killed: sockets are gone": [
    async (server, t) => {
      const socket = await open(server, t);
      t.log("event", await socket.ask('put "a", 1'));
      left.set(server, socket);
    },
    async (server, t) => {
      t.log("event", await left.get(server).next());
      t.log("sockets", await read(server, t, "count"));
      t.log("log", await read(server, t, "log"));
    },
  ],
};
