// How long an instance lives: waitUntil, terminate, and what belongs to one request.
import { core } from "ext:core/mod.js";
import { currentRequest, inRequest } from "ext:portside/context.js";
import { holdUntil } from "ext:portside/handlers.js";
const { op_exchange_end, op_terminate } = core.ops;

/** One request from its arrival until nothing of it is left to do; then its ports close. */
export class RequestScope {
  ports = new Set();
  socket; // the application's end of the WebSocket that was accepted, if one was
  #parts = 1; // the response
  #responding = true;
  #number;
  #actor;

  /** `actor` is whose request it is. */
  constructor(number, actor = 0) {
    this.#number = number;
    this.#actor = actor;
  }

  /** Runs `f` so that whatever it starts knows its request. */
  enter(f) {
    return inRequest(this, f);
  }

  get number() {
    return this.#number;
  }

  get actor() {
    return this.#actor;
  }

  /** The request lasts until `end` was called once more: a waitUntil, an accepted socket. */
  extend() {
    this.#parts++;
  }

  /** Nothing more is to be done for the response: it is finished, or its client is gone. */
  responded() {
    if (!this.#responding) return;
    this.#responding = false;
    this.end();
  }

  /** Whether its ports are closed, and no other may be opened for it. */
  get isOver() {
    return this.#parts <= 0;
  }

  end() {
    if (--this.#parts > 0) return;
    if (this.ports.size > 0) for (const port of [...this.ports]) port.close();
    op_exchange_end(this.#actor, this.#number);
  }

  waitUntil(promise) {
    this.extend();
    holdUntil(promise, "waitUntil()").then(() => this.end());
  }
}

/** What an instance does apart from requests. */
export class ActorScope {
  number = -1;
  ports = new Set();
  isOver = false;

  constructor(actor) {
    this.actor = actor;
  }

  enter(f) {
    return inRequest(this, f);
  }

  waitUntil(promise) {
    holdUntil(promise, "waitUntil()");
  }
}

/** Keeps the worker awake until `promise` settles; in a server, keeps the request's ports open too. */
export function waitUntil(promise) {
  const request = currentRequest();
  if (request !== undefined) request.waitUntil(promise);
  else holdUntil(promise, "waitUntil()");
}

/** Ends this instance after its writes; storage and alarm stay. Nothing after the call runs. */
export function terminate() {
  op_terminate();
}
