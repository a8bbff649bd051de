// Attachments, automatic responses, and messages within an object.

import { kept } from "./accepting.js";

const circle = {};
circle.self = circle;

const attached = {
  "an object": { a: [1, new Date(0)] },
  null: null,
  undefined,
  "a number": 7,
  "a Map": new Map([["a", 1]]),
  bytes: new Uint8Array([1, 2]),
  "a circle": circle,
  "an error": new TypeError("e"),
  "an instance of a class": new (class Point {
    x = 1;
  })(),
  "a function": () => {},
  "a symbol": Symbol("s"),
  "16000 characters": "x".repeat(16_000),
  "20000 characters": "x".repeat(20_000),
};

const pairs = {
  "two texts": ["ping", "pong"],
  "empty texts": ["", ""],
  "2048 bytes": ["x".repeat(2048), "y".repeat(2048)],
  "a request of 2049 bytes": ["x".repeat(2049), "y"],
  "a response of 2049 bytes": ["x", "y".repeat(2049)],
  "1500 characters in 3000 bytes": ["é".repeat(1500), "y"],
  numbers: [1, 2],
  nothing: [],
  "one text": ["ping"],
};

export const attributes = {
  "attachment: none": ({ ctx }, t) => t.log("attachment", kept(ctx).socket.deserializeAttachment()),
  "attachment: is copied": ({ ctx }, t) => {
    const { socket } = kept(ctx);
    const value = { a: 1 };
    socket.serializeAttachment(value);
    value.a = 2;
    const got = socket.deserializeAttachment();
    got.a = 3;
    t.log("attachment", socket.deserializeAttachment());
  },
  "attachment: replaces": ({ ctx }, t) => {
    const { socket } = kept(ctx);
    socket.serializeAttachment(1);
    socket.serializeAttachment(2);
    t.log("attachment", socket.deserializeAttachment());
  },
  "attachment: one that fails leaves the old one": ({ ctx }, t) => {
    const { socket } = kept(ctx);
    socket.serializeAttachment(1);
    t.sync("serialize", () => socket.serializeAttachment("x".repeat(20_000)));
    t.log("attachment", socket.deserializeAttachment());
  },
  "attachment: without an argument": ({ ctx }, t) => {
    const { socket } = kept(ctx);
    t.sync("serialize", () => socket.serializeAttachment());
    t.log("attachment", socket.deserializeAttachment());
  },
  "attachment: in an event": async ({ object, ctx }, t) => {
    const { far, socket } = kept(ctx);
    socket.serializeAttachment("mine");
    object.onMessage = (to) => t.log("attachment", to.deserializeAttachment(), to === socket);
    far.send("a");
    await scheduler.wait(300);
  },
  "attachment: in webSocketClose": async ({ object, ctx }, t) => {
    const { far, socket } = kept(ctx);
    socket.serializeAttachment("mine");
    object.onClose = (of) => t.log("attachment", of.deserializeAttachment());
    far.close(4000);
    await scheduler.wait(300);
  },
  "auto response: none": ({ ctx }, t) => t.log("pair", ctx.getWebSocketAutoResponse()),
  "auto response: get gives what was set": ({ ctx }, t) => {
    const pair = new WebSocketRequestResponsePair("ping", "pong");
    t.sync("set", () => ctx.setWebSocketAutoResponse(pair));
    const got = ctx.getWebSocketAutoResponse();
    t.log("got", got.request, got.response, got === pair);
  },
  "auto response: unset": ({ ctx }, t) => {
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    t.sync("unset", () => ctx.setWebSocketAutoResponse());
    t.log("pair", ctx.getWebSocketAutoResponse());
  },
  "auto response: set to what is no pair": ({ ctx }, t) => {
    for (const value of [null, undefined, {}, { request: "a", response: "b" }, "ping"])
      t.sync("set", () => ctx.setWebSocketAutoResponse(value));
  },
  "auto response: attributes of a pair": (_, t) => {
    const pair = new WebSocketRequestResponsePair("ping", "pong");
    t.log("tag", Object.prototype.toString.call(pair), Object.keys(pair));
    t.sync("set", () => {
      "use strict";
      pair.request = "other";
      return pair.request;
    });
  },
  "auto response: answers": async ({ object, ctx }, t) => {
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    const { far, socket } = kept(ctx);
    const seen = [];
    far.addEventListener("message", ({ data }) => seen.push(data));
    t.log("timestamp before", ctx.getWebSocketAutoResponseTimestamp(socket));
    for (const message of ["ping", "ping ", "PING", "ping"]) far.send(message);
    await scheduler.wait(300);
    t.log("seen", seen);
    t.log("events", object.events);
    const timestamp = ctx.getWebSocketAutoResponseTimestamp(socket);
    t.log("timestamp", timestamp instanceof Date && Math.abs(Date.now() - timestamp) < 5000);
  },
  "auto response: for sockets of before": async ({ object, ctx }, t) => {
    const { far } = kept(ctx);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    const seen = [];
    far.addEventListener("message", ({ data }) => seen.push(data));
    far.send("ping");
    await scheduler.wait(300);
    t.log("seen", seen, object.events);
  },
  "auto response: not for bytes": async ({ object, ctx }, t) => {
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    const { far } = kept(ctx);
    far.send(new TextEncoder().encode("ping"));
    await scheduler.wait(300);
    t.log("events", object.events);
  },
  "auto response: timestamp of a socket that was not accepted": ({ ctx }, t) => {
    const [socket] = Object.values(new WebSocketPair());
    t.sync("timestamp", () => ctx.getWebSocketAutoResponseTimestamp(socket));
    t.sync("of nothing", () => ctx.getWebSocketAutoResponseTimestamp());
  },
  "event timeout": ({ ctx }, t) => {
    t.sync("unset", () => ctx.getHibernatableWebSocketEventTimeout());
    for (const value of [1000, 0, 604_800_000, 604_800_001, -1, 1.5, NaN, "5", null, undefined]) {
      t.sync(`set ${value}`, () => ctx.setHibernatableWebSocketEventTimeout(value));
      t.sync("get", () => ctx.getHibernatableWebSocketEventTimeout());
    }
  },
  "messages: text and bytes": async ({ object, ctx }, t) => {
    const { far } = kept(ctx);
    far.send("text");
    far.send(new Uint8Array([1]));
    far.send("");
    await scheduler.wait(300);
    t.log("events", object.events);
  },
  "messages: the socket is the one that was accepted": async ({ object, ctx }, t) => {
    const { far, socket } = kept(ctx);
    object.onMessage = (to) => t.log("same", to === socket);
    far.send("a");
    await scheduler.wait(300);
  },
  "messages: before acceptWebSocket": async ({ object, ctx }, t) => {
    const [far, socket] = Object.values(new WebSocketPair());
    far.accept();
    far.send("early");
    ctx.acceptWebSocket(socket);
    await scheduler.wait(300);
    t.log("events", object.events);
  },
  "messages: blockConcurrencyWhile holds them back": async ({ object, ctx }, t) => {
    const { far } = kept(ctx);
    await ctx.blockConcurrencyWhile(async () => {
      far.send("a");
      await scheduler.wait(300);
      t.log("in the block", object.events);
    });
    await scheduler.wait(300);
    t.log("after it", object.events);
  },
  "messages: an instance's attributes": ({ ctx }, t) => {
    const { socket } = kept(ctx);
    const { readyState, url, protocol, extensions, binaryType } = socket;
    t.log("attributes", { readyState, url, protocol, extensions, binaryType });
  },
  "close: of a kept socket": async ({ object, ctx }, t) => {
    const { far, socket } = kept(ctx);
    const closed = new Promise((resolve) => far.addEventListener("close", resolve));
    t.sync("close", () => socket.close(4000, "why"));
    t.sync("again", () => socket.close(4001));
    t.sync("send", () => socket.send("after"));
    const { code, reason } = await closed;
    t.log("event", code, reason);
    await scheduler.wait(300);
    t.log("events", object.events);
  },
  "close: arguments that are refused": ({ ctx }, t) => {
    const { socket } = kept(ctx);
    for (const args of [[999], [1005], [1006], [1015], [5000], [undefined, "reason"], [4000, "x".repeat(124)]]) {
      t.sync(JSON.stringify(args).slice(0, 20), () => socket.close(...args));
    }
    t.log("state", socket.readyState);
  },
};

for (const [name, value] of Object.entries(attached)) {
  attributes[`attachment: ${name}`] = ({ ctx }, t) => {
    const { socket } = kept(ctx);
    t.sync("serialize", () => socket.serializeAttachment(value));
    t.sync("deserialize", () => socket.deserializeAttachment());
  };
}
for (const [name, args] of Object.entries(pairs)) {
  attributes[`auto response: pair of ${name}`] = ({ ctx }, t) => {
    t.sync("set", () => ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(...args)));
    t.sync("get", () => [
      ctx.getWebSocketAutoResponse()?.request.length,
      ctx.getWebSocketAutoResponse()?.response.length,
    ]);
  };
}
