// ServerlessWorker and its ports.
import { core } from "ext:core/mod.js";
import { dataCloneError, deserialize, serialize } from "ext:portside/clones.js";
import { defineHandler, dispatch } from "ext:portside/events.js";
import { has, logError, logWarning, run } from "ext:portside/handlers.js";
import { currentActor, currentRequest, requestNumber } from "ext:portside/context.js";
import { load, refuseClones } from "ext:portside/parts.js";
const { op_port_close, op_port_let_go, op_port_open, op_port_post, op_port_settled, op_port_start, op_worker_script } = core
  .ops;

const { CloseEvent, ErrorEvent, Event, EventTarget, listenerCount, MessageEvent } = load("ext:deno_web/02_event.js");

/** Raised where the other side has too much to do already. `overloaded` is Durable Objects' flag. */
export class ServerlessWorkerOverloadedError extends Error {
  #brand;

  constructor(message = "the worker is overloaded", { retryAfterMs = 1000 } = {}) {
    super(message);
    this.overloaded = true;
    this.retryAfterMs = retryAfterMs;
  }

  /** Asks nothing of the application's: `instanceof` may run its code, and throw. */
  static isOverloaded(value) {
    return typeof value === "object" && value !== null && #brand in value;
  }
}
const { isOverloaded } = ServerlessWorkerOverloadedError;
delete ServerlessWorkerOverloadedError.isOverloaded;
export { isOverloaded };

Object.defineProperty(ServerlessWorkerOverloadedError.prototype, "name", {
  value: "ServerlessWorkerOverloadedError",
  writable: true,
  configurable: true,
});

core.registerErrorBuilder("ServerlessWorkerOverloadedError", (m) => new ServerlessWorkerOverloadedError(m));

function transferList(options) {
  const list = Array.isArray(options) ? options : options?.transfer;
  if (list === undefined || list === null) return [];
  const buffers = [...list];
  for (const item of buffers) {
    if (!(item instanceof ArrayBuffer)) dataCloneError("only an ArrayBuffer can be transferred to a worker");
    if (item.detached) dataCloneError("a detached ArrayBuffer cannot be transferred");
  }
  if (new Set(buffers).size < buffers.length) dataCloneError("an ArrayBuffer is in the transfer list twice");
  return buffers;
}

const open = new Map(); // port number -> Port
const NEW = 0, OPEN = 1, CLOSED = 2;
const make = Symbol("make");

/** One end of a connection between a caller and a worker: a MessagePort with `close` and `error` events. */
export class ServerlessWorkerPort extends EventTarget {
  #state = NEW;
  #number = -1;
  #address; // [script, name] until the connection is made
  #request; // the request that is over before the port may outlive it
  #actor = currentActor(); // whose it is

  constructor(key, number, address) {
    if (key !== make) throw new TypeError("Illegal constructor");
    super();
    this.#address = address;
    this.#request = currentRequest();
    if (number !== undefined) this.#opened(number);
  }

  #opened(number) {
    this.#number = number;
    this.#state = OPEN;
    open.set(number, this);
    this.#request?.ports.add(this);
  }

  // A connection is made only when it is used.
  #connect() {
    if (this.#state !== NEW) return;
    if (this.#request?.isOver) this.#state = CLOSED; // nothing would ever close it again
    else this.#opened(op_port_open(this.#actor, this.#address[0], this.#address[1], requestNumber()));
  }

  postMessage(value, options) {
    if (arguments.length === 0) throw new TypeError("postMessage needs a message");
    const buffers = transferList(options);
    const data = serialize(value);
    this.#connect();
    if (this.#state === OPEN && !op_port_post(this.#actor, this.#number, data, requestNumber())) {
      throw new ServerlessWorkerOverloadedError("the port's queue is full: the worker does not keep up");
    }
    for (const buffer of buffers) buffer.transfer();
  }

  start() {
    this.#connect();
    if (this.#state === OPEN) op_port_start(this.#actor, this.#number);
  }

  close() {
    if (this.#state === OPEN) op_port_close(this.#actor, this.#number);
    this.#end();
  }

  #end() {
    this.#state = CLOSED;
    open.delete(this.#number);
    this.#request?.ports.delete(this);
  }

  static [make](number) {
    return new ServerlessWorkerPort(make, number);
  }

  /** Runs the listeners as part of the request that the port belongs to. */
  static hear(port, event) {
    if (port.#request === undefined) dispatch(port, event);
    else port.#request.enter(() => dispatch(port, event));
  }

  static letGo(port) {
    op_port_let_go(port.#actor, port.#number);
  }

  /** The other side closed. */
  static ended(port, code) {
    const request = port.#request;
    port.#end();
    // An application that does not listen would leave its client with a socket that says nothing any more.
    if (listenerCount(port, "close") > 0) {
      hear(port, new CloseEvent("close", { code, reason: code, wasClean: code === "closed" }));
    } else if (code !== "closed") {
      request?.socket?.close(1012, "the worker was lost");
    }
  }
}
defineHandler(ServerlessWorkerPort.prototype, "message", (port) => port.start());
defineHandler(ServerlessWorkerPort.prototype, "close");
defineHandler(ServerlessWorkerPort.prototype, "error");
defineHandler(ServerlessWorkerPort.prototype, "messageerror");

const { ended, hear, letGo } = ServerlessWorkerPort;
delete ServerlessWorkerPort.ended;
delete ServerlessWorkerPort.hear;
delete ServerlessWorkerPort.letGo;

/** A handle on the one worker of this script and name. Cheap: nothing is woken until its port is used. */
export class ServerlessWorker {
  #port;
  #name;

  constructor(scriptURL, options) {
    if (arguments.length === 0) throw new TypeError("ServerlessWorker needs a script's URL");
    let name = options ?? undefined; // null is an empty dictionary, as Web IDL has it
    if (typeof options === "object" && options !== null) {
      if (options.type !== undefined && String(options.type) !== "module") {
        throw new TypeError('a ServerlessWorker is always of type "module"');
      }
      name = options.name;
    }
    if (typeof name === "symbol") throw new TypeError("a worker's name cannot be a symbol");
    this.#name = name === undefined ? "" : String(name).toWellFormed(); // what UTF-8 makes of it
    const bytes = core.byteLength(this.#name);
    if (bytes > 1024) {
      throw new TypeError(`a worker's name may have at most 1024 bytes of UTF-8, this one has ${bytes}`);
    }
    const script = op_worker_script(String(scriptURL));
    this.#port = new ServerlessWorkerPort(make, undefined, [script, this.#name]);
  }

  get port() {
    return this.#port;
  }

  get name() {
    return this.#name;
  }
}

refuseClones(ServerlessWorker.prototype, "ServerlessWorker");

let aliasWarned = false;

/** What `connect` gets: the port, and `postMessage` as an older way to answer on it. */
export class ConnectEvent extends Event {
  #ports;
  #reconnected;

  constructor(port, reconnected) {
    super("connect");
    this.#ports = Object.freeze([port]);
    this.#reconnected = reconnected;
  }

  get ports() {
    return this.#ports;
  }

  get reconnected() {
    return this.#reconnected;
  }

  postMessage(...args) {
    if (!aliasWarned) {
      aliasWarned = true;
      logWarning("connect's event.postMessage() is deprecated: use event.ports[0].postMessage()");
    }
    this.#ports[0].postMessage(...args);
  }
}

let warnedOfConnect = false;

/** A connection to this worker was made, or is there again after the worker has moved. */
export function onConnect(handlers, number, reconnected) {
  const port = ServerlessWorkerPort[make](number);
  const connectable = has("connect()", handlers, "connect");
  if (connectable) {
    run("connect()", handlers, "connect", new ConnectEvent(port, reconnected)).then(() => settled(number));
    return;
  }
  settled(number);
  if (connectable === false && !warnedOfConnect) {
    warnedOfConnect = true;
    logWarning("a connection was made, but the worker's default export has no connect() handler");
  }
}

/** The connect handler of a port has settled. */
function settled(number) {
  if (op_port_settled(0, number)) onPortLeft(number);
}

/** A message arrived. */
export function onMessage(number, bytes) {
  const port = open.get(number);
  if (port === undefined) return;
  let data;
  try {
    data = deserialize(bytes);
  } catch (error) {
    logError("a message could not be read", error);
    hear(port, new MessageEvent("messageerror"));
    return;
  }
  const event = new MessageEvent("message", { data });
  event.data = data; // the constructor makes null of undefined
  hear(port, event);
}

/** The other side is gone. */
export function onPortClosed(number, code) {
  const port = open.get(number);
  if (port !== undefined) ended(port, code);
}

/** The other side is gone, behind messages that nobody has listened to: who listens for the close alone hears it now. */
export function onPortLeft(number) {
  const port = open.get(number);
  if (port !== undefined && listenerCount(port, "close") > 0) letGo(port);
}

/** Something sent did not arrive. */
export function onPortFailed(number, code, message, retryAfterMs) {
  const port = open.get(number);
  if (port === undefined) return;
  const error = code === "overloaded"
    ? new ServerlessWorkerOverloadedError(message, { retryAfterMs })
    : Object.assign(new Error(message), retryAfterMs > 0 ? { retryAfterMs } : {});
  hear(port, new ErrorEvent("error", { error: Object.assign(error, { code }), message }));
}
