// Pairs of which an object has both ends, and what sockets are as values.

/** A pair of which both ends are accepted. */
export function pair() {
  const [left, right] = Object.values(new WebSocketPair());
  left.accept();
  right.accept();
  return [left, right];
}

/** The next event of a type. */
export const next = (socket, type) => new Promise((resolve) => socket.addEventListener(type, resolve, { once: true }));

const sent = {
  text: "text",
  "empty text": "",
  "text with an emoji": "\u{1F600}",
  "a lone surrogate": "\uD800",
  "an ArrayBuffer": new Uint8Array([1, 2]).buffer,
  "an empty ArrayBuffer": new ArrayBuffer(0),
  "a part of a buffer": new Uint8Array([1, 2, 3]).subarray(1),
  "a DataView": new DataView(new ArrayBuffer(2)),
  "a number": 7,
  null: null,
  undefined,
  "an object": { a: 1 },
  "a Blob": new Blob(["blob"]),
};

export const pairs = {
  "pair: what it is": (_, t) => {
    const made = new WebSocketPair();
    t.log("keys", Object.keys(made));
    t.log("iterable", typeof made[Symbol.iterator], [...made].length);
    t.log("instances", made[0] instanceof WebSocket, made[1] instanceof WebSocket);
    t.log("different", made[0] !== made[1]);
  },
  "pair: without new": (_, t) => t.sync("call", () => WebSocketPair()),
  "pair: attributes before accept": (_, t) => {
    const [socket] = Object.values(new WebSocketPair());
    const { readyState, url, protocol, extensions, binaryType, bufferedAmount } = socket;
    t.log("attributes", { readyState, url, protocol, extensions, binaryType, bufferedAmount });
  },
  "pair: attributes after accept": (_, t) => {
    const [socket] = pair();
    const { readyState, url, protocol, extensions, binaryType, bufferedAmount } = socket;
    t.log("attributes", { readyState, url, protocol, extensions, binaryType, bufferedAmount });
  },
  "pair: constants": (_, t) => {
    const [socket] = pair();
    t.log("static", WebSocket.CONNECTING, WebSocket.OPEN, WebSocket.CLOSING, WebSocket.CLOSED);
    t.log("static by other names", WebSocket.READY_STATE_OPEN, WebSocket.READY_STATE_CLOSED);
    t.log("of a socket", socket.CONNECTING, socket.OPEN, socket.CLOSING, socket.CLOSED);
  },
  "pair: methods of the class of all sockets": (_, t) => {
    const [socket] = Object.values(new WebSocketPair());
    const { accept, deserializeAttachment, serializeAttachment } = WebSocket.prototype;
    t.log("attachment", deserializeAttachment.call(socket));
    serializeAttachment.call(socket, { a: 1 });
    t.log("attachment", deserializeAttachment.call(socket), socket.deserializeAttachment());
    accept.call(socket);
    t.sync("send", () => socket.send("accepted"));
    t.log("tag", Object.prototype.toString.call(socket));
  },
  "pair: handler attributes": async (_, t) => {
    const [left, right] = pair();
    t.log("kinds", typeof right.onmessage, typeof right.onclose, right.onmessage);
    right.onmessage = ({ data }) => t.log("onmessage", data);
    const done = next(right, "message");
    left.send("a");
    await done;
    await scheduler.wait(1);
  },
  "pair: binaryType": (_, t) => {
    const [socket] = pair();
    t.sync("arraybuffer", () => (socket.binaryType = "arraybuffer") && socket.binaryType);
    t.sync("blob", () => (socket.binaryType = "blob") && socket.binaryType);
    t.sync("nonsense", () => (socket.binaryType = "nonsense") && socket.binaryType);
  },
  "pair: send before accept": (_, t) => {
    const [left] = Object.values(new WebSocketPair());
    t.sync("send", () => left.send("a"));
    t.sync("close", () => left.close());
  },
  "pair: accept twice": (_, t) => {
    const [left] = pair();
    t.sync("again", () => left.accept());
  },
  "pair: accept with options": (_, t) => {
    const [left] = Object.values(new WebSocketPair());
    t.sync("accept", () => left.accept({ allowHalfOpen: true }));
    const [other] = Object.values(new WebSocketPair());
    t.sync("no object", () => other.accept(7));
  },
  "pair: messages before the other end accepts": async (_, t) => {
    const [left, right] = Object.values(new WebSocketPair());
    left.accept();
    left.send("early");
    const message = next(right, "message");
    right.accept();
    t.log("data", (await message).data);
  },
  "pair: order of many": async (_, t) => {
    const [left, right] = pair();
    const seen = [];
    const last = new Promise((resolve) =>
      right.addEventListener("message", ({ data }) => seen.push(Number(data)) === 100 && resolve()),
    );
    for (let n = 0; n < 100; n++) left.send(String(n));
    await last;
    t.log(
      "in order",
      seen.every((n, at) => n === at),
    );
  },
  "pair: both ways": async (_, t) => {
    const [left, right] = pair();
    right.addEventListener("message", ({ data }) => right.send(`${data} back`));
    const answer = next(left, "message");
    left.send("there and");
    t.log("answer", (await answer).data);
  },
  "pair: events": async (_, t) => {
    const [left, right] = pair();
    const message = next(right, "message");
    left.send("a");
    const event = await message;
    t.log("message", event.type, event.data, event.constructor.name, event.target === right, event.origin);
    const closed = next(right, "close");
    left.close(4000, "why");
    const close = await closed;
    t.log("close", close.type, close.code, close.reason, close.wasClean, close.constructor.name);
  },
  "pair: a listener that throws": async (_, t) => {
    const [left, right] = pair();
    right.addEventListener("message", ({ data }) => {
      if (data === "throw") throw new Error("in a listener");
    });
    const seen = [];
    right.addEventListener("message", ({ data }) => seen.push(data));
    left.send("throw");
    left.send("next");
    await scheduler.wait(300);
    t.log("seen", seen, right.readyState);
  },
  "pair: messages of 1 MiB": async (_, t) => {
    const [left, right] = pair();
    const message = next(right, "message");
    left.send("x".repeat(1 << 20));
    t.log("length", (await message).data.length);
  },
  "pair: an attachment": (_, t) => {
    const [socket] = pair();
    t.sync("before", () => socket.deserializeAttachment());
    t.sync("serialize", () => socket.serializeAttachment({ a: 1 }));
    t.sync("after", () => socket.deserializeAttachment());
  },
  "pair: in storage": ({ storage }, t) => t.try("put", () => storage.put("a", new WebSocketPair()[0])),
  "response: with a socket and another status": (_, t) => {
    t.sync("200", () => new Response(null, { status: 200, webSocket: new WebSocketPair()[0] }));
    t.sync("101 without", () => new Response(null, { status: 101 }));
    t.sync("101 with a body", () => new Response("body", { status: 101, webSocket: new WebSocketPair()[0] }));
    t.sync("no socket", () => new Response(null, { status: 101, webSocket: {} }));
  },
  "response: with a socket that was accepted": (_, t) => {
    const [left] = pair();
    t.sync("response", () => typeof new Response(null, { status: 101, webSocket: left }));
  },
  "response: its webSocket": (_, t) => {
    const [left] = Object.values(new WebSocketPair());
    const response = new Response(null, { status: 101, webSocket: left });
    t.log("same", response.webSocket === left, response.status);
    t.log("of another", new Response().webSocket);
    t.sync("clone", () => typeof response.clone());
  },
};

for (const [name, data] of Object.entries(sent)) {
  pairs[`pair: send of ${name}`] = async (_, t) => {
    const [left, right] = pair();
    const message = next(right, "message");
    if ((await t.try("send", () => left.send(data) ?? "sent")) !== "sent") return;
    const got = (await message).data;
    t.log("data", got instanceof Blob ? `Blob ${got.size}` : got);
  };
}
