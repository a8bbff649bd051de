// Hibernatable WebSockets: what an object has of them by `ctx`, and the events in which it hears of them.
(function () {
const { core, primordials } = __bootstrap;
const { Date, ObjectDefineProperty, SafeSet, Symbol } = primordials;
const { logError, logWarning } = core.loadExtScript("ext:portside/handlers.js");
const { refuseClones } = core.loadExtScript("ext:portside/parts.js");
const { forgetKept, idOf, isAccepted, isSocket, keepSocket, keptSocket, tellClosed } = core.loadExtScript(
  "ext:portside/parts/sockets.js",
);
const { clearTimeout, setTimeout } = core.loadExtScript("ext:deno_web/02_timers.js");
const {
  op_hibernatable_answered_at,
  op_hibernatable_auto_response,
  op_hibernatable_ended,
  op_hibernatable_list,
  op_hibernatable_set_auto_response,
  op_hibernatable_set_timeout,
  op_hibernatable_tags,
  op_hibernatable_timeout,
  op_hold,
} = core.ops;

const MOST_TAGS = 10;
const MOST_TAG_BYTES = 256;
const MOST_RESPONSE_BYTES = 2048;
const MOST_TIMEOUT_MS = 604_800_000; // a week
const LOST = 1006;

const wrongType = (method, place, type, of = "DurableObjectState") =>
  new TypeError(`Failed to execute '${method}' on '${of}': parameter ${place} is not of type '${type}'.`);

/** A message that is answered with another, without the object. */
class WebSocketRequestResponsePair {
  #isPair = true;

  constructor(request, response) {
    if (arguments.length < 2) {
      const message = `constructor parameter ${arguments.length + 1} is not of type 'string'.`;
      throw new TypeError(`Failed to construct 'WebSocketRequestResponsePair': ${message}`);
    }
    define(this, "request", checkedText("Request", `${request}`));
    define(this, "response", checkedText("Response", `${response}`));
  }

  static isPair(value) {
    return typeof value === "object" && value !== null && #isPair in value;
  }
}
const { isPair } = WebSocketRequestResponsePair;
delete WebSocketRequestResponsePair.isPair;
const tag = { __proto__: null, value: "WebSocketRequestResponsePair", configurable: true };
ObjectDefineProperty(WebSocketRequestResponsePair.prototype, Symbol.toStringTag, tag);
refuseClones(WebSocketRequestResponsePair.prototype, "WebSocketRequestResponsePair");

function define(object, name, value) {
  ObjectDefineProperty(object, name, { __proto__: null, value });
}

function checkedText(what, text) {
  const size = core.byteLength(text);
  if (size > MOST_RESPONSE_BYTES) {
    throw new RangeError(`${what} cannot be larger than ${MOST_RESPONSE_BYTES} bytes. A ${what.toLowerCase()} of size ${size} was provided.`);
  }
  return text;
}

/** The tags of a socket that is accepted, each once. */
function checkedTags(tags) {
  if (tags === undefined) return [];
  if (!Array.isArray(tags)) throw wrongType("acceptWebSocket", 2, "Array");
  if (tags.length > MOST_TAGS) throw new Error(`a Hibernatable WebSocket cannot have more than ${MOST_TAGS} tags`);
  const checked = new SafeSet();
  for (let i = 0; i < tags.length; i++) {
    const tag = `${tags[i]}`;
    if (core.byteLength(tag) > MOST_TAG_BYTES) {
      throw new Error(`"${tag}" is longer than the max tag length (${MOST_TAG_BYTES} characters).`);
    }
    checked.add(tag);
  }
  return [...checked];
}

/** A time limit as it is given: whole milliseconds, and nothing for none. */
function checkedTimeout(value) {
  if (value === undefined || value === null) return null;
  const number = Number(value);
  if (Number.isNaN(number) || !Number.isFinite(number)) {
    throw new TypeError("The value cannot be converted because it is not an integer.");
  }
  if (number < 0) {
    throw new TypeError("The value cannot be converted because it is negative and this API expects a positive number.");
  }
  if (number > MOST_TIMEOUT_MS) throw new Error(`Event timeout should not exceed ${MOST_TIMEOUT_MS} ms.`);
  return Math.trunc(number) || null;
}

/** The hibernatable WebSockets of an object, as its `ctx` has them. */
class KeptSockets {
  #actor;

  constructor(actor) {
    this.#actor = actor;
  }

  accept(socket, tags) {
    if (!isSocket(socket)) throw wrongType("acceptWebSocket", 1, "WebSocket");
    keepSocket(socket, this.#actor, checkedTags(tags));
  }

  list(tag) {
    const ids = op_hibernatable_list(this.#actor, tag === undefined ? null : `${tag}`);
    return ids.map((id) => keptSocket(this.#actor, id));
  }

  tags(socket) {
    if (!isSocket(socket)) throw wrongType("getTags", 1, "WebSocket");
    const id = idOf(socket);
    if (id !== undefined) return op_hibernatable_tags(this.#actor, id);
    if (isAccepted(socket)) throw new Error("only hibernatable websockets can have tags.");
    throw new Error("you must call 'acceptWebSocket()' before attempting to access the tags of a WebSocket.");
  }

  setAutoResponse(pair) {
    if (pair === undefined) return op_hibernatable_set_auto_response(this.#actor, null, "");
    if (!isPair(pair)) throw wrongType("setWebSocketAutoResponse", 1, "WebSocketRequestResponsePair");
    op_hibernatable_set_auto_response(this.#actor, pair.request, pair.response);
  }

  autoResponse() {
    const pair = op_hibernatable_auto_response(this.#actor);
    return pair === null ? null : new WebSocketRequestResponsePair(...pair);
  }

  answeredAt(socket) {
    if (!isSocket(socket)) throw wrongType("getWebSocketAutoResponseTimestamp", 1, "WebSocket");
    const id = idOf(socket);
    const time = id === undefined ? -1 : op_hibernatable_answered_at(this.#actor, id);
    return time < 0 ? null : new Date(time);
  }

  set timeout(value) {
    op_hibernatable_set_timeout(this.#actor, checkedTimeout(value) ?? 0);
  }

  get timeout() {
    return op_hibernatable_timeout(this.#actor) || null;
  }
}

/** Runs the handler of an event, which keeps the object awake, but no longer than the time that is set for it. */
async function handle(actor, instance, name, ...args) {
  let timer;
  try {
    const result = instance[name]?.(...args);
    if (typeof result?.then !== "function") return;
    const timeout = op_hibernatable_timeout(actor);
    const waits = [result];
    if (timeout > 0) waits.push(new Promise((resolve) => timer = setTimeout(() => resolve(tooLong(name, timeout)), timeout)));
    op_hold(actor, true);
    try {
      await Promise.race(waits);
    } finally {
      op_hold(actor, false);
    }
  } catch (error) {
    logError(`${name}()`, error);
  } finally {
    clearTimeout(timer);
  }
}

function tooLong(name, timeout) {
  logWarning(`${name}() was not done after ${timeout} ms: it does not keep the object awake any more`);
}

/** Something was said at the other end of a socket. */
function onSocketMessage({ instance, scope }, actor, id, data) {
  const socket = keptSocket(actor, id);
  scope.enter(() => handle(actor, instance, "webSocketMessage", socket, typeof data === "string" ? data : data.buffer));
}

/** A socket has closed, is lost, or its client broke the protocol. */
function onSocketClose({ instance, scope }, actor, id, code, reason) {
  const socket = keptSocket(actor, id);
  tellClosed(socket);
  const heard = code === LOST && reason !== ""
    ? ["webSocketError", socket, new Error(reason)]
    : ["webSocketClose", socket, code, code === LOST ? "WebSocket disconnected without sending Close frame." : reason, code !== LOST];
  scope.enter(async () => {
    await handle(actor, instance, ...heard);
    forgetKept(actor, id);
    op_hibernatable_ended(actor, id);
  });
}

return { KeptSockets, onSocketClose, onSocketMessage, WebSocketRequestResponsePair };
})();
