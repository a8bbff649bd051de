// Clients over the network: HTTP requests on connections of their own, and WebSockets that record what they see.

import http from "node:http";

import { WebSocket } from "ws";

/** Sends a request. Rejects when the connection breaks; never follows a redirect. */
export function request(url, { method = "GET", headers = {}, body, signal } = {}) {
  return new Promise((resolve, reject) => {
    const sent = http.request(url, { method, headers, signal, agent: false }, async (response) => {
      try {
        const chunks = [];
        for await (const chunk of response) chunks.push(chunk);
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() });
      } catch (error) {
        reject(error);
      }
    });
    sent.once("error", reject);
    sent.end(body);
  });
}

const STATES = ["connecting", "open", "closing", "closed"];

/** Asks until there is an answer that is not an empty list, for three seconds; returns the last. */
export async function untilSome(ask) {
  for (const begin = Date.now(); ;) {
    const list = await ask();
    // A little more, for what may come after the first.
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (list.length > 0 || Date.now() - begin > 3000) return ask();
  }
}

/** A WebSocket of a client's whose events are read in order. */
export class Socket {
  #events = [];
  #wanted = [];

  /** Opens it; the first event says how that went. `protocols` and `options` are those of `ws`. */
  constructor(url, protocols = [], options = {}) {
    this.socket = new WebSocket(url.replace(/^http/, "ws"), protocols, { perMessageDeflate: false, ...options });
    this.socket.on("open", () => this.#put("open"));
    this.socket.on("message", (data, binary) => this.#put(binary ? new Uint8Array(data) : data.toString()));
    this.socket.on("close", (code, reason) => this.#put(`closed ${code} ${JSON.stringify(reason.toString())}`));
    this.socket.on("unexpected-response", (_, response) => this.#put(`refused with ${response.statusCode}`));
    this.socket.on("error", () => {}); // a close follows
  }

  #put(event) {
    const wanted = this.#wanted.shift();
    if (wanted) wanted(event);
    else this.#events.push(event);
  }

  /** Opens one and awaits that. */
  static async open(url, protocols, options) {
    const socket = new Socket(url, protocols, options);
    const event = await socket.next();
    if (event !== "open") throw new Error(`the WebSocket is ${event}`);
    return socket;
  }

  /**
   * The next event: "open", a message, "closed CODE REASON" (when the connection has ended, too) or "refused with STATUS".
   * If there is none within `ms`: "nothing" and the socket's state, which is closing once either side has sent a Close.
   */
  next(ms = 5000) {
    if (this.#events.length > 0) return Promise.resolve(this.#events.shift());
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#wanted.splice(this.#wanted.indexOf(take), 1);
        resolve(`nothing, ${STATES[this.socket.readyState]}`);
      }, ms);
      const take = (event) => {
        clearTimeout(timer);
        resolve(event);
      };
      this.#wanted.push(take);
    });
  }

  /** Sends a message, and returns the next event. */
  ask(message, ms) {
    this.socket.send(message);
    return this.next(ms);
  }

  send(message) {
    this.socket.send(message);
  }

  close(code, reason) {
    this.socket.close(code, reason);
  }

  /** Breaks the connection without a Close frame. */
  cut() {
    this.socket.terminate();
  }
}
