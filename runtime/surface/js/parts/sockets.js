// WebSocketPair: two joined ends, of which one may be at a client, and another may be kept for an object that sleeps.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty, SafeMap, SafeWeakMap } = primordials;
const { deserialize, serialize } = core.loadExtScript("ext:portside/clones.js");
const { defineConstant } = core.loadExtScript("ext:portside/properties.js");
const { currentActor, currentRequest } = core.loadExtScript("ext:portside/context.js");
const { defineHandler, dispatch } = core.loadExtScript("ext:portside/events.js");
const { refuseClones } = core.loadExtScript("ext:portside/parts.js");
const { op_call_accept, op_call_hear, op_call_say, op_call_say_close, op_compatibility } = core.ops;
const { op_socket_binary, op_socket_check, op_socket_close, op_socket_end, op_socket_text, op_socket_waiting } = core.ops;
const {
  op_hibernatable_accept,
  op_hibernatable_attach,
  op_hibernatable_attachment,
  op_hibernatable_binary,
  op_hibernatable_close,
  op_hibernatable_closes,
  op_hibernatable_closing,
  op_hibernatable_hear,
  op_hibernatable_hear_close,
  op_hibernatable_text,
  op_hibernatable_waiting,
} = core.ops;

const { CloseEvent, EventTarget, MessageEvent } = core.loadExtScript("ext:deno_web/02_event.js");
const { Blob, blobBytes } = core.loadExtScript("ext:deno_web/09_file.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

const CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;
const LOST = 1006, RESTART = 1012;
const MOST_ATTACHED = 16384;

/** What is done with an end. */
const FREE = 0, ACCEPTED = 1, KEPT = 2, GIVEN = 3;

// What the application's date changes, by the bits of op_compatibility.
const BLOBS = 1, ANSWERED_CLOSES = 2, SHORT_REASONS = 4;
let features;
const has = (feature) => ((features ??= op_compatibility()) & feature) !== 0;

function checkClose(code, reason) {
  // More than a client's `close()` takes, for a server has more to say.
  const isReserved = code === 1004 || code === 1005 || code === LOST || code === 1015;
  if (code !== undefined && (code < 1000 || code > 4999 || isReserved)) {
    throw new DOMException(`Invalid WebSocket close code: ${code}.`, "InvalidAccessError");
  }
  if (code === undefined && reason !== undefined && reason !== "") {
    throw new DOMException("If you specify a WebSocket close reason, you must also specify a code.", "InvalidAccessError");
  }
  if (reason !== undefined && has(SHORT_REASONS) && core.byteLength(reason) > 123) {
    throw new DOMException("WebSocket close reason must not be longer than 123 bytes when UTF-8 encoded.", "SyntaxError");
  }
}

/** Text, or bytes of its own. */
function payloadOf(data) {
  if (data instanceof Blob) return blobBytes(data);
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return `${data}`.toWellFormed();
}

const sizeOf = (payload) => typeof payload === "string" ? core.byteLength(payload) : payload.length;

// What the module does with ends, and the application cannot.
const make = Symbol("make");
let arrives, closes, give, idOf, isPeerAccepted, join, keep, keptIdOf, leaves, moves, revive, tellClosed, useOf;

/** One end of a WebSocketPair. */
class PairedWebSocket extends EventTarget {
  #peer; // none in an end that an earlier instance of the object had
  #use = FREE;
  #queue = []; // what came before it was used
  #wire; // in an end that was given away: how to reach whoever has it
  #actor; // whose it is, if it is kept
  #id; // by which it is kept
  #attachment;
  #saidClose = false;
  #heardClose = false;
  #isLost = false;
  #answersCloses = false;
  #whenOver;
  #request = currentRequest(); // listeners run as part of it
  #binaryType = has(BLOBS) ? "blob" : "arraybuffer";
  #buffered = 0; // bytes that were sent and that the other end has not got

  constructor(key) {
    if (key !== make) throw new TypeError("Illegal constructor: use new WebSocketPair()");
    super();
  }

  get readyState() {
    if (this.#saidClose && this.#heardClose) return CLOSED;
    return this.#saidClose || this.#heardClose ? CLOSING : OPEN;
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
    if (this.#isKeptForClient()) return this.#buffered + op_hibernatable_waiting(this.#actor, this.#id);
    return this.#buffered + (this.#peer?.#wire?.waiting() ?? 0);
  }

  accept(options = undefined) {
    if (options !== undefined && options !== null && typeof options !== "object") {
      throw new TypeError("Failed to execute 'accept' on 'WebSocket': parameter 1 is not of type 'AcceptOptions'.");
    }
    if (this.#use === KEPT) throw new TypeError("Can't accept() WebSocket after enabling hibernation.");
    if (this.#use === GIVEN) throw new TypeError("Can't accept() WebSocket that was already used in a response.");
    if (this.#use === ACCEPTED) return;
    this.#use = ACCEPTED;
    this.#answersCloses = has(ANSWERED_CLOSES) && !options?.allowHalfOpen;
    this.#peer.#wire?.begin?.();
    const waiting = this.#queue;
    this.#queue = [];
    for (const deliver of waiting) queueMicrotask(deliver);
  }

  send(data) {
    if (arguments.length === 0) {
      throw new TypeError("Failed to execute 'send' on 'WebSocket': parameter 1 is not of type 'ArrayBuffer or string'.");
    }
    this.#checkUse();
    if (this.#saidClose) throw new TypeError("Can't call WebSocket send() after close().");
    const payload = payloadOf(data);
    if (this.#isKeptForClient()) this.#sendKept(payload);
    else this.#say(payload);
  }

  close(code = undefined, reason = undefined) {
    this.#checkUse();
    if (code !== undefined) code = Number(code) | 0;
    if (reason !== undefined) reason = String(reason);
    checkClose(code, reason);
    if (!this.#saidClose && !this.#isLost) this.#sayClose(code ?? 1005, reason ?? "");
  }

  serializeAttachment(value) {
    if (arguments.length === 0) {
      throw new TypeError("Failed to execute 'serializeAttachment' on 'WebSocket': parameter 1 is not of type 'Value'.");
    }
    const bytes = serialize(value);
    if (bytes.length > MOST_ATTACHED) {
      throw new Error(
        `A WebSocket 'attachment' cannot be larger than ${MOST_ATTACHED} bytes.'attachment' was ${bytes.length} bytes.`,
      );
    }
    if (this.#use === KEPT) op_hibernatable_attach(this.#actor, this.#id, bytes);
    else this.#attachment = bytes;
  }

  deserializeAttachment() {
    const bytes = this.#use === KEPT ? op_hibernatable_attachment(this.#actor, this.#id) : this.#attachment;
    return bytes === undefined || bytes === null ? null : deserialize(bytes);
  }

  #checkUse() {
    if (this.#use === FREE || this.#use === GIVEN) {
      throw new TypeError("You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending messages.");
    }
  }

  /** Whether a client is at the other end, whom the runtime passes on to what is said here. */
  #isKeptForClient() {
    return this.#use === KEPT && (this.#peer === undefined || this.#peer.#use === GIVEN);
  }

  #sendKept(payload) {
    if (typeof payload === "string") op_hibernatable_text(this.#actor, this.#id, payload);
    else op_hibernatable_binary(this.#actor, this.#id, payload);
  }

  #say(payload) {
    const size = sizeOf(payload);
    // Here, and not when the other end goes to the client: nobody could be told then.
    if (this.#peer.#use !== ACCEPTED) op_socket_check(size);
    this.#buffered += size;
    this.#peer.#take(payload, () => void (this.#buffered -= size));
  }

  #sayClose(code, reason) {
    this.#saidClose = true;
    if (this.#isKeptForClient()) {
      op_hibernatable_close(this.#actor, this.#id, code, reason);
    } else {
      if (this.#use === KEPT) op_hibernatable_closes(this.#actor, this.#id);
      this.#peer.#takeClose(code, reason);
    }
    if (this.#heardClose) this.#over();
  }

  // What the other end said: on to whoever has this end, or to its listeners.
  #take(payload, taken) {
    if (this.#use === KEPT) {
      taken();
      const isText = typeof payload === "string";
      const response = op_hibernatable_hear(this.#actor, this.#id, isText ? payload : null, isText ? null : payload);
      if (response !== null) this.#peer.#take(response, () => {});
      return;
    }
    this.#deliver(() => {
      taken();
      if (this.#peer.#isKeptForClient()) this.#peer.#sendKept(payload);
      else if (this.#wire !== undefined) this.#wire.say(payload);
      else this.#message(typeof payload === "string" ? payload : payload.buffer);
    });
  }

  #takeClose(code, reason) {
    if (this.#use === KEPT) {
      op_hibernatable_hear_close(this.#actor, this.#id, code, reason);
      return;
    }
    this.#deliver(() => {
      if (this.#peer.#isKeptForClient()) op_hibernatable_close(this.#peer.#actor, this.#peer.#id, code, reason);
      else if (this.#wire !== undefined) this.#wire.close(code, reason);
      else this.#hearClose(code, reason);
    });
  }

  // An end that is not used yet keeps what comes until it is.
  #deliver(event) {
    if (this.#use === GIVEN) event();
    else if (this.#use === ACCEPTED) queueMicrotask(event);
    else this.#queue.push(event);
  }

  // From the wire: listeners run in the event's own turn, not in a later microtask.
  #deliverNow(event) {
    if (this.#use === FREE) this.#queue.push(event);
    else event();
  }

  #message(data) {
    if (this.#heardClose || this.#isLost) return;
    const isBlob = typeof data !== "string" && this.#binaryType === "blob";
    this.#hear(new MessageEvent("message", { data: isBlob ? new Blob([data]) : data }));
  }

  #hear(event) {
    if (this.#request === undefined) dispatch(this, event);
    else this.#request.enter(() => dispatch(this, event));
  }

  #hearClose(code, reason, mayAnswer = true) {
    if (this.#heardClose || this.#isLost) return;
    const answers = mayAnswer && code !== LOST && this.#answersCloses && !this.#saidClose;
    if (code === LOST) {
      this.#isLost = true; // and its state stays: the application may send, and nobody gets it
      reason = "WebSocket disconnected without sending Close frame.";
    } else {
      this.#heardClose = true;
      this.#saidClose ||= answers;
    }
    this.#hear(new CloseEvent("close", { code, reason, wasClean: code !== LOST }));
    if (answers) this.#peer.#takeClose(code, reason);
    if (this.#isLost || this.#saidClose) this.#over();
  }

  #over() {
    const whenOver = this.#whenOver;
    this.#whenOver = undefined;
    whenOver?.();
  }

  static {
    join = () => {
      const a = new PairedWebSocket(make), b = new PairedWebSocket(make);
      a.#peer = b;
      b.#peer = a;
      return [a, b];
    };

    useOf = (value) => typeof value === "object" && value !== null && #use in value ? value.#use : undefined;

    /** The id by which an end is kept. */
    idOf = (end) => end.#use === KEPT ? end.#id : undefined;

    /** The id by which the other end of one that was not used is kept. */
    keptIdOf = (end) => end.#peer?.#use === KEPT ? end.#peer.#id : undefined;

    /** Gives `end` to whoever is at `wire`; `whenOver` is called when both ends have closed. Returns the other end. */
    give = (end, wire, whenOver) => {
      const other = end.#peer;
      end.#use = GIVEN;
      end.#wire = wire;
      other.#whenOver = whenOver;
      const waiting = end.#queue;
      end.#queue = [];
      for (const deliver of waiting) deliver();
      return other;
    };

    /** Keeps an end for an object from now on, by a new id. */
    keep = (end, actor, tags) => {
      if (end.#use === ACCEPTED || end.#use === KEPT) {
        throw new Error("Cannot call `acceptWebSocket()` if the WebSocket was already accepted via `accept()`");
      }
      if (end.#use === GIVEN || end.#peer.#use !== FREE) {
        throw new Error(
          "Cannot call `acceptWebSocket()` on this WebSocket because its pair has already been accepted or used in a Response.",
        );
      }
      end.#id = op_hibernatable_accept(actor, tags);
      end.#actor = actor;
      end.#use = KEPT;
      if (end.#attachment !== undefined) op_hibernatable_attach(actor, end.#id, end.#attachment);
      return end.#id;
    };

    /** The end that an earlier instance of the object had. */
    revive = (actor, id) => {
      const end = new PairedWebSocket(make);
      end.#use = KEPT;
      end.#actor = actor;
      end.#id = id;
      const closing = op_hibernatable_closing(actor, id);
      end.#saidClose = (closing & 1) !== 0;
      end.#heardClose = (closing & 2) !== 0;
      return end;
    };

    tellClosed = (end) => end.#heardClose = true;

    isPeerAccepted = (end) => end.#peer?.#use === ACCEPTED;

    /** The client goes on elsewhere. What is sent until the end is closed still arrives, so nothing closes it but the application. */
    moves = (end) => end.#deliverNow(() => end.#hearClose(RESTART, "the WebSocket goes on elsewhere", false));

    /** What is sent from now on does not arrive any more. */
    leaves = (end) => {
      moves(end);
      if (end.#saidClose) return;
      end.#saidClose = true;
      end.#over();
    };

    /** What came by the wire, for the end that is here. */
    arrives = (end, data) => end.#deliverNow(() => end.#message(data));

    closes = (end, code, reason) => {
      // Nobody may ever accept the end and hear of it, and the client is gone all the same.
      if (end.#use === FREE) {
        if (code !== LOST) end.#peer.#takeClose(code, reason);
        end.#over();
      }
      end.#deliverNow(() => end.#hearClose(code, reason));
    };
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
ObjectDefineProperty(PairedWebSocket.prototype, Symbol.toStringTag, { __proto__: null, value: "WebSocket", configurable: true });
defineHandler(PairedWebSocket.prototype, "message");
defineHandler(PairedWebSocket.prototype, "close");
defineHandler(PairedWebSocket.prototype, "error");
refuseClones(PairedWebSocket.prototype, "WebSocket");

/** Whether `value` is an end of a pair. */
function isSocket(value) {
  return useOf(value) !== undefined;
}

/** Whether the application listens to it itself. */
function isAccepted(end) {
  return useOf(end) === ACCEPTED;
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

// ---- clients

const bound = new SafeMap(); // socket number -> the application's end

/** Refuses an end that cannot be given to a client. */
function checkFree(end) {
  const use = useOf(end);
  if (use === ACCEPTED) throw new TypeError("Can't return WebSocket in a Response after calling accept().");
  if (use === KEPT) throw new TypeError("Can't return WebSocket in a Response after calling acceptWebSocket().");
  if (use === GIVEN) throw new TypeError("Can't return WebSocket that was already used in a response.");
}

/**
 * Gives `end` to the client whose connection has this number in an instance; `whenOver` is called when the connection ends.
 * Returns the application's end.
 */
function bindSocket(end, actor, number, whenOver) {
  const wire = {
    say(payload) {
      if (typeof payload === "string") op_socket_text(actor, number, payload);
      else op_socket_binary(actor, number, payload);
    },
    close: (code, reason) => op_socket_close(actor, number, code, reason),
    waiting: () => op_socket_waiting(actor, number),
  };
  const application = give(end, wire, () => {
    bound.delete(number);
    op_socket_end(actor, number);
    whenOver();
  });
  bound.set(number, application);
  return application;
}

/** Gives `end`, whose other end is kept, to a client. */
function giveKept(end) {
  give(end, undefined, undefined);
}

/** A client's message. */
function onSocketMessage(number, data) {
  const application = bound.get(number);
  if (application !== undefined) arrives(application, typeof data === "string" ? data : data.buffer);
}

/** The client closed, or is lost (1006). */
function onSocketClose(number, code, reason) {
  const application = bound.get(number);
  if (application === undefined) return;
  bound.delete(number);
  closes(application, code, reason);
}

/** The client goes on elsewhere, or has gone if it is over. */
function onSocketMoves(number, isOver) {
  const application = bound.get(number);
  if (application === undefined) return;
  if (isOver) leaves(application);
  else moves(application);
}

// ---- sockets of responses that come from elsewhere

const carriers = new SafeWeakMap(); // the end that a response of somebody else's came with -> the number of that call

/** The WebSocket that the answer to a call came with. */
function carried(number) {
  const [mine, far] = join();
  carriers.set(mine, number);
  const actor = currentActor();
  let said = Promise.resolve(); // one after the other
  const wire = {
    begin() {
      op_call_accept(number);
      listen(mine, number);
    },
    say(payload) {
      const isText = typeof payload === "string";
      said = said.then(() => op_call_say(actor, number, isText ? payload : null, isText ? null : payload));
    },
    close(code, reason) {
      said = said.then(() => op_call_say_close(actor, number, code, reason));
    },
    waiting: () => 0,
  };
  give(far, wire, undefined);
  return mine;
}

/** The number of the call that it came with, if it can be passed on as it came. */
function carrierOf(socket) {
  return useOf(socket) === FREE ? carriers.get(socket) : undefined;
}

async function listen(mine, number) {
  for (;;) {
    const { text, bytes, code, reason } = await op_call_hear(number);
    if (text === null && bytes === null) return closes(mine, code, reason);
    arrives(mine, text ?? bytes.buffer);
  }
}

// ---- sockets that are kept for objects

const kept = new SafeMap(); // actor -> id -> the object's end

function keptOf(actor) {
  let sockets = kept.get(actor);
  if (sockets === undefined) kept.set(actor, sockets = new SafeMap());
  return sockets;
}

/** Keeps an end for an object, with these tags. */
function keepSocket(end, actor, tags) {
  keptOf(actor).set(keep(end, actor, tags), end);
}

/** The end that is kept by this id: always the same object, for an instance. */
function keptSocket(actor, id) {
  const sockets = keptOf(actor);
  let end = sockets.get(id);
  if (end === undefined) sockets.set(id, end = revive(actor, id));
  return end;
}

/** The same; it is not one of the object's any more. */
function forgetKept(actor, id) {
  kept.get(actor)?.delete(id);
}

/** The object's instance is over. */
function forgetAllKept(actor) {
  kept.delete(actor);
}

return {
  bindSocket,
  carried,
  carrierOf,
  checkFree,
  forgetAllKept,
  forgetKept,
  giveKept,
  idOf,
  isAccepted,
  isPeerAccepted,
  isSocket,
  keepSocket,
  keptIdOf,
  keptSocket,
  onSocketClose,
  onSocketMessage,
  onSocketMoves,
  PairedWebSocket,
  tellClosed,
  WebSocketPair,
};
})();
