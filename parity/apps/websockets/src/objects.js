// An object that accepts a WebSocket and does with it what the path says.

import { DurableObject } from "cloudflare:workers";

import { inspect } from "./parity/inspect.js";

/** What is done with a socket, which is not accepted yet. */
const behaviours = {
  echo(socket) {
    socket.accept();
    socket.addEventListener("message", ({ data }) => socket.send(data));
  },
  /** Says what it gets, as text. */
  describe(socket) {
    socket.accept();
    socket.addEventListener("message", ({ data }) => socket.send(inspect(data)));
  },
  async describeBlob(socket) {
    socket.accept();
    socket.addEventListener("message", async ({ data }) =>
      socket.send(data instanceof Blob ? `Blob ${await data.text()}` : inspect(data)),
    );
  },
  arrayBuffer(socket) {
    socket.binaryType = "arraybuffer";
    behaviours.describe(socket);
  },
  greet(socket) {
    socket.accept();
    socket.send("hello");
  },
  greetLater(socket) {
    socket.accept();
    setTimeout(() => socket.send("hello"), 50);
  },
  /** Closes as a message says: a JSON list of the arguments of close(). */
  close(socket) {
    socket.accept();
    socket.addEventListener("message", ({ data }) => socket.close(...JSON.parse(data)));
  },
  closeAtOnce(socket) {
    socket.accept();
    socket.close(4000, "at once");
  },
  sendAndClose(socket) {
    socket.accept();
    for (const n of [1, 2, 3]) socket.send(`message ${n}`);
    socket.close(4000, "after three");
  },
  /** Answers to a close with one of its own. */
  answerClose(socket) {
    socket.accept();
    socket.addEventListener("close", ({ code }) => socket.close(code === 1005 ? 4005 : code, "answered"));
  },
  halfOpen(socket) {
    socket.accept({ allowHalfOpen: true });
    socket.addEventListener("close", () => {
      socket.send("still here");
      socket.close(4001, "in the end");
    });
  },
  throwOnMessage(socket) {
    socket.accept();
    socket.addEventListener("message", ({ data }) => {
      if (data === "throw") throw new Error("in the handler");
      socket.send(data);
    });
  },
  rejectOnMessage(socket) {
    socket.accept();
    socket.addEventListener("message", async ({ data }) => {
      if (data === "throw") throw new Error("in the handler");
      socket.send(data);
    });
  },
  abortOnMessage(socket, object) {
    socket.accept();
    socket.addEventListener("message", () => object.ctx.abort("asked to"));
  },
  putAndSend(socket, object) {
    socket.accept();
    socket.addEventListener("message", ({ data }) => {
      object.ctx.storage.put("last", data);
      socket.send(`stored ${data}`);
    });
  },
  storageInOrder(socket, object) {
    socket.accept();
    socket.addEventListener("message", async ({ data }) => {
      await object.ctx.storage.get("x");
      socket.send(data);
    });
  },
  notAccepted() {},
};

export class Sockets extends DurableObject {
  log = [];
  sockets = [];

  fetch(request) {
    const url = new URL(request.url);
    const what = url.pathname.slice(1);
    if (what === "log") return Response.json(this.log);
    if (what === "refuse") return new Response("no", { status: 403 });
    if (what === "broadcast") {
      this.sockets.forEach((socket) => socket.send(`broadcast ${url.search.slice(1)}`));
      return new Response();
    }
    const { 0: client, 1: socket } = new WebSocketPair();
    socket.addEventListener("close", ({ code, reason, wasClean }) => {
      this.log.push(`close ${code} ${JSON.stringify(reason)} ${wasClean} in state ${socket.readyState}`);
    });
    socket.addEventListener("error", ({ message, error }) => this.log.push(`error ${message ?? error}`));
    behaviours[what](socket, this);
    this.sockets.push(socket);
    const headers = url.searchParams.has("protocol")
      ? { "sec-websocket-protocol": url.searchParams.get("protocol") }
      : {};
    return new Response(null, { status: 101, webSocket: client, headers });
  }
}
