// acceptWebSocket, tags, and which sockets an object has.

const make = () => Object.values(new WebSocketPair());

/** A socket that the runtime keeps for the object, and the other end of it, which is accepted. */
export function kept(ctx, tags) {
  const [far, socket] = make();
  if (tags === undefined) ctx.acceptWebSocket(socket);
  else ctx.acceptWebSocket(socket, tags);
  far.accept();
  return { far, socket };
}

const tags = {
  "no list": undefined,
  "an empty list": [],
  one: ["a"],
  two: ["b", "a"],
  "the same twice": ["a", "b", "a"],
  "an empty one": [""],
  ten: Array.from({ length: 10 }, (_, n) => `t${n}`),
  eleven: Array.from({ length: 11 }, (_, n) => `t${n}`),
  "eleven of which two are the same": Array.from({ length: 11 }, (_, n) => `t${n % 10}`),
  "one of 256 characters": ["x".repeat(256)],
  "one of 257 characters": ["x".repeat(257)],
  "one of 200 characters in 400 bytes": ["é".repeat(200)],
  "one of 256 characters in 512 bytes": ["é".repeat(256)],
  numbers: [1, 2],
  "null in a list": [null],
  "undefined in a list": [undefined],
  "a text instead of a list": "abc",
  null: null,
  "an object": {},
  "a Set": new Set(["a"]),
};

export const accepting = {
  "accept: returns nothing": ({ ctx }, t) => t.sync("accept", () => ctx.acceptWebSocket(make()[0])),
  "accept: without a socket": ({ ctx }, t) => {
    t.sync("nothing", () => ctx.acceptWebSocket());
    t.sync("an object", () => ctx.acceptWebSocket({}));
  },
  "accept: twice": ({ ctx }, t) => {
    const [socket] = make();
    ctx.acceptWebSocket(socket);
    t.sync("again", () => ctx.acceptWebSocket(socket));
  },
  "accept: after accept()": ({ ctx }, t) => {
    const [socket] = make();
    socket.accept();
    t.sync("acceptWebSocket", () => ctx.acceptWebSocket(socket));
  },
  "accept: and then accept()": ({ ctx }, t) => {
    const [socket] = make();
    ctx.acceptWebSocket(socket);
    t.sync("accept", () => socket.accept());
  },
  "accept: both ends": ({ ctx }, t) => {
    const [left, right] = make();
    ctx.acceptWebSocket(left);
    t.sync("other end", () => ctx.acceptWebSocket(right));
  },
  "accept: after close()": ({ ctx }, t) => {
    const [socket] = make();
    socket.accept();
    socket.close();
    t.sync("acceptWebSocket", () => ctx.acceptWebSocket(socket));
  },
  "accept: a socket with listeners": async ({ object, ctx }, t) => {
    const [far, socket] = make();
    socket.addEventListener("message", ({ data }) => object.events.push(["listener", data]));
    t.sync("acceptWebSocket", () => ctx.acceptWebSocket(socket));
    far.accept();
    far.send("a");
    await scheduler.wait(300);
    t.log("events", object.events);
  },
  "accept: a listener added afterwards": async ({ object, ctx }, t) => {
    const { far, socket } = kept(ctx);
    t.sync("addEventListener", () => socket.addEventListener("message", () => object.events.push(["listener"])));
    far.send("a");
    await scheduler.wait(300);
    t.log("events", object.events);
  },
  "accept: then handed out": ({ ctx }, t) => {
    const { socket } = kept(ctx);
    t.sync("response", () => typeof new Response(null, { status: 101, webSocket: socket }));
  },
  "tags: of a socket that was not accepted": ({ ctx }, t) => {
    const [socket] = make();
    t.sync("getTags", () => ctx.getTags(socket));
    socket.accept();
    t.sync("getTags after accept()", () => ctx.getTags(socket));
  },
  "tags: without a socket": ({ ctx }, t) => t.sync("getTags", () => ctx.getTags()),
  "tags: of the other end": ({ ctx }, t) => {
    const { far } = kept(ctx, ["a"]);
    t.sync("getTags", () => ctx.getTags(far));
  },
  "tags: a new list each time": ({ ctx }, t) => {
    const { socket } = kept(ctx, ["a"]);
    ctx.getTags(socket).push("b");
    t.log("tags", ctx.getTags(socket));
  },
  "sockets: none": ({ ctx }, t) => t.log("sockets", ctx.getWebSockets(), ctx.getWebSockets("a")),
  "sockets: the same objects": ({ ctx }, t) => {
    const { socket } = kept(ctx, ["a"]);
    t.log("all", ctx.getWebSockets()[0] === socket);
    t.log("by tag", ctx.getWebSockets("a")[0] === socket);
    t.log("array", Array.isArray(ctx.getWebSockets()), ctx.getWebSockets() === ctx.getWebSockets());
  },
  "sockets: order": ({ ctx }, t) => {
    for (const name of ["c", "a", "b"]) kept(ctx, [name, "all"]);
    t.log(
      "all",
      ctx.getWebSockets().map((socket) => ctx.getTags(socket)[0]),
    );
    t.log(
      "by tag",
      ctx.getWebSockets("all").map((socket) => ctx.getTags(socket)[0]),
    );
  },
  "sockets: by tag": ({ ctx }, t) => {
    kept(ctx, ["a", "both"]);
    kept(ctx, ["b", "both"]);
    kept(ctx);
    for (const tag of ["a", "both", "none", "", undefined, null, 7])
      t.sync(String(tag), () => ctx.getWebSockets(tag).length);
  },
  "sockets: not those of accept()": ({ ctx }, t) => {
    const [socket] = make();
    socket.accept();
    t.log("count", ctx.getWebSockets().length);
  },
  "sockets: after close()": async ({ ctx }, t) => {
    const { socket } = kept(ctx);
    socket.close(4000, "why");
    t.log("at once", ctx.getWebSockets().length, socket.readyState);
    await scheduler.wait(300);
    t.log("later", ctx.getWebSockets().length, socket.readyState);
  },
  "sockets: after the other end closed": async ({ object, ctx }, t) => {
    const { far, socket } = kept(ctx);
    far.close(4000, "why");
    await scheduler.wait(300);
    t.log("events", object.events);
    t.log("sockets", ctx.getWebSockets().length, socket.readyState, far.readyState);
  },
  "sockets: after the other end closed, with an answer": async ({ object, ctx }, t) => {
    object.onClose = (socket) => socket.close(4001, "answer");
    const { far, socket } = kept(ctx);
    far.close(4000, "why");
    await scheduler.wait(300);
    t.log("sockets", ctx.getWebSockets().length, socket.readyState, far.readyState);
  },
  "sockets: 1000": ({ ctx }, t) => {
    for (let n = 0; n < 1000; n++) kept(ctx, [`t${n % 10}`]);
    t.log("count", ctx.getWebSockets().length, ctx.getWebSockets("t3").length);
  },
};

for (const [name, list] of Object.entries(tags)) {
  accepting[`tags: ${name}`] = ({ ctx }, t) => {
    const [socket] = make();
    if (t.sync("accept", () => ctx.acceptWebSocket(socket, list) ?? "accepted") === "accepted")
      t.sync("tags", () => ctx.getTags(socket));
    t.log("sockets", ctx.getWebSockets().length);
  };
}
