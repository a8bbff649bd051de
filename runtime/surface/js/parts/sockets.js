// WebSocketPair: two joined ends, one for the application and one for the client's connection.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty, SafeMap, SafeWeakMap } = primordials;
const { defineConstant } = core.loadExtScript("ext:portside/properties.js");
const { currentActor, currentRequest } = core.loadExtScript("ext:portside/context.js");
const { defineHandler, dispatch } = core.loadExtScript("ext:portside/events.js");
const { op_call_hear, op_call_say, op_call_say_close } = core.ops;
const { op_socket_binary, op_socket_check, op_socket_close, op_socket_end, op_socket_text, op_socket_waiting } = core.ops;

const { CloseEvent, EventTarget, MessageEvent } = core.loadExtScript("ext:deno_web/02_event.js");
const { Blob, blobBytes } = core.loadExtScript("ext:deno_web/09_file.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

const CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;
const bound = new SafeMap(); // socket number -> the application's end
const make = Symbol("make");

function checkClose(code, reason) {
  // More than a client's `close()` takes, for a server has more to say: all that RFC 6455 and its registry let be sent.
  const known = code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999;
  if (code !== undefined && !known) {
    throw new DOMException(`${code} is not a close code that can be sent`, "InvalidAccessError");
  }
  if (code === undefined && reason !== undefined && reason !== "") {
    throw new DOMException("a close reason needs a close code", "InvalidAccessError");
  }
  if (reason !== undefined && core.encode(reason).length > 123) {
    throw new DOMException("a close reason may have at most 123 bytes", "SyntaxError");
  }
}

/** Text, or bytes of its own. */
function payloadOf(data) {
  if (data instanceof Blob) return blobBytes(data);
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return `${data}`;
}

/** One end of a WebSocketPair. */
class PairedWebSocket extends EventTarget {
  #peer;
  #accepted = false;
  #state = CONNECTING;
  #queue = []; // what came before accept()
  #number; // of the client's connection, in the end that was given to a Response
  #actor; // whose that is
  #whenOver;
  #whenAccepted; // in an end that came from elsewhere
  #request = currentRequest(); // listeners run as part of it
  #binaryType = "arraybuffer"; // Durable Objects' default; the standard's is "blob"
  #buffered = 0; // bytes that were sent and that the other end has not got

  constructor(key) {
    if (key !== make) throw new TypeError("Illegal constructor: use new WebSocketPair()");
    super();
  }

  static join() {
    const a = new PairedWebSocket(make), b = new PairedWebSocket(make);
    a.#peer = b;
    b.#peer = a;
    return [a, b];
  }

  get readyState() {
    return this.#state;
  }

  get url() {
    return null;
  }

  get protocol() {
    return "";
  }

  get extensions() {
    return "";
  }

  get binaryType() {
    return this.#binaryType;
  }

  set binaryType(type) {
    // Other values of an enumeration are ignored, as Web IDL has it.
    if (["arraybuffer", "blob"].includes(String(type))) this.#binaryType = String(type);
  }

  get bufferedAmount() {
    const client = this.#peer.#number;
    return this.#buffered + (client === undefined ? 0 : op_socket_waiting(this.#peer.#actor, client));
  }

  accept() {
    if (this.#number !== undefined) throw new TypeError("this end of the pair went to the client");
    if (this.#accepted) return;
    this.#accepted = true;
    this.#whenAccepted?.();
    if (this.#state === CONNECTING) this.#state = OPEN;
    const waiting = this.#queue;
    this.#queue = [];
    for (const deliver of waiting) queueMicrotask(deliver);
  }

  send(data) {
    if (arguments.length === 0) throw new TypeError("send() needs data");
    if (!this.#accepted) throw new TypeError("call accept() on this WebSocket before sending");
    if (this.#state !== OPEN) throw new TypeError("the WebSocket is closed");
    const payload = payloadOf(data);
    const size = typeof payload === "string" ? core.byteLength(payload) : payload.length;
    // Here, and not when the other end goes to the client: nobody could be told then.
    if (!this.#peer.#accepted) op_socket_check(size);
    this.#buffered += size;
    this.#peer.#receive(payload, () => void (this.#buffered -= size));
  }

  close(code, reason) {
    if (code !== undefined) code = Number(code);
    if (reason !== undefined) reason = String(reason);
    checkClose(code, reason);
    if (this.#state === CLOSED || this.#state === CLOSING) return;
    this.#state = CLOSING;
    this.#peer.#receiveClose(code ?? 1005, reason ?? "");
  }

  // What the other end sent: on to the client's connection, or to this end's listeners.
  #receive(payload, received) {
    this.#deliver(() => {
      received();
      if (this.#number === undefined) this.#message(typeof payload === "string" ? payload : payload.buffer);
      else if (typeof payload === "string") op_socket_text(this.#actor, this.#number, payload);
      else op_socket_binary(this.#actor, this.#number, payload);
    });
  }

  #receiveClose(code, reason) {
    this.#deliver(() => {
      if (this.#number !== undefined) {
        op_socket_close(this.#actor, this.#number, code, reason);
        return;
      }
      if (this.#state === CLOSED) return;
      // The answer to the other end's close, or the end of both.
      if (this.#state === OPEN) this.#peer.#over(code, reason, true);
      this.#over(code, reason, true);
    });
  }

  // An end that is neither accepted nor the client's keeps what comes until it is either.
  #deliver(event) {
    if (this.#number !== undefined) event();
    else if (this.#accepted) queueMicrotask(event);
    else this.#queue.push(event);
  }

  #message(data) {
    if (this.#state !== OPEN && this.#state !== CLOSING) return;
    const isBlob = typeof data !== "string" && this.#binaryType === "blob";
    this.#hear(new MessageEvent("message", { data: isBlob ? new Blob([data]) : data }));
  }

  #hear(event) {
    if (this.#request === undefined) dispatch(this, event);
    else this.#request.enter(() => dispatch(this, event));
  }

  #over(code, reason, wasClean) {
    if (this.#state === CLOSED) return;
    this.#state = CLOSED;
    this.#hear(new CloseEvent("close", { code, reason, wasClean }));
    this.#connectionEnds();
  }

  #connectionEnds() {
    const whenOver = this.#whenOver;
    this.#whenOver = undefined;
    whenOver?.();
  }

  /**
   * Gives `end` to the client's connection `number` of an instance; `whenOver` is called when the connection ends. Returns the
   * application's end.
   */
  static bind(end, actor, number, whenOver) {
    const application = end.#peer;
    end.#number = number;
    end.#actor = actor;
    application.#whenOver = whenOver;
    bound.set(number, application);
    const waiting = end.#queue;
    end.#queue = [];
    for (const deliver of waiting) deliver();
    return application;
  }

  /** Whether `end` can be given to a client. */
  static isFree(value) {
    return #number in value && value.#number === undefined && !value.#accepted;
  }

  static whenAccepted(end, f) {
    end.#whenAccepted = f;
  }

  /** What `far` stands for has closed, or is lost (1006). */
  static lose(far, code, reason) {
    far.#state = CLOSED;
    far.#peer.#deliverNow(() => far.#peer.#over(code, reason, code !== 1006));
  }

  /** Hears what the client sent. */
  static hear(application, data) {
    application.#deliverNow(() => application.#message(data));
  }

  static hearClose(application, number, code, reason) {
    // The application may answer an open close itself; the handshake is completed for it.
    const actor = application.#peer.#actor;
    if (application.#state !== CLOSING) op_socket_close(actor, number, code === 1006 ? 1005 : code, reason);
    op_socket_end(actor, number);
    application.#deliverNow(() => application.#over(code, reason, code !== 1006));
    // Nobody may ever accept the end and hear of it, and the client is gone all the same.
    if (!application.#accepted) application.#connectionEnds();
  }

  // From the client: listeners run in the event's own turn, not in a later microtask.
  #deliverNow(event) {
    if (this.#accepted) event();
    else this.#queue.push(event);
  }
}
function defineState(name, value) {
  defineConstant(PairedWebSocket, name, value);
  ObjectDefineProperty(PairedWebSocket, `READY_STATE_${name}`, { __proto__: null, value, enumerable: true });
}
defineState("CONNECTING", CONNECTING);
defineState("OPEN", OPEN);
defineState("CLOSING", CLOSING);
defineState("CLOSED", CLOSED);
ObjectDefineProperty(PairedWebSocket, "name", { __proto__: null, value: "WebSocket" });
defineHandler(PairedWebSocket.prototype, "message");
defineHandler(PairedWebSocket.prototype, "close");
defineHandler(PairedWebSocket.prototype, "error");

const { bind, isFree, hear, hearClose, join, lose, whenAccepted } = PairedWebSocket;
delete PairedWebSocket.bind;
delete PairedWebSocket.isFree;
delete PairedWebSocket.hear;
delete PairedWebSocket.hearClose;
delete PairedWebSocket.join;
delete PairedWebSocket.lose;
delete PairedWebSocket.whenAccepted;

/** Whether `value` is an end of a pair that can go into a Response. */
function isFreeSocket(value) {
  return typeof value === "object" && value !== null && isFree(value);
}

/** Two joined WebSockets, `pair[0]` and `pair[1]`. */
class WebSocketPair {
  constructor() {
    [this[0], this[1]] = join();
  }

  *[Symbol.iterator]() {
    yield this[0];
    yield this[1];
  }
}

/** A client's message. */
function onSocketMessage(number, data) {
  const application = bound.get(number);
  if (application !== undefined) hear(application, typeof data === "string" ? data : data.buffer);
}

/** The client closed, or is lost (1006). */
function onSocketClose(number, code, reason) {
  const application = bound.get(number);
  if (application === undefined) return;
  bound.delete(number);
  hearClose(application, number, code, reason);
}

const carriers = new SafeWeakMap(); // the end that a response of somebody else's came with -> the number of that call

/** The WebSocket that the answer to a call came with: an end that is joined to it when the application accepts it. */
function carried(number) {
  const [mine, far] = join();
  carriers.set(mine, number);
  whenAccepted(mine, () => carry(far, number));
  return mine;
}

/** The number of the call that it came with, if it can be passed on as it came. */
function carrierOf(socket) {
  return isFree(socket) ? carriers.get(socket) : undefined;
}

/** Passes on what is said, both ways. */
async function carry(far, number) {
  far.accept();
  const actor = currentActor();
  let said = Promise.resolve(); // one after the other
  far.addEventListener("message", ({ data }) => {
    const isText = typeof data === "string";
    said = said.then(() => op_call_say(actor, number, isText ? data : null, isText ? null : new Uint8Array(data)));
  });
  far.addEventListener("close", ({ code, reason }) => {
    said = said.then(() => op_call_say_close(actor, number, code, reason));
  });
  for (;;) {
    const heard = await op_call_hear(number);
    if (heard.text !== null) far.send(heard.text);
    else if (heard.bytes !== null) far.send(heard.bytes);
    else return lose(far, heard.code, heard.reason);
  }
}

return { bindSocket: bind, carried, carrierOf, isFreeSocket, onSocketClose, onSocketMessage, WebSocketPair };
})();
