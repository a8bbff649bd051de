// The WebSocket that connects to others, as the WebSockets standard wants it. Numbers of sections are that standard's.
(function () {
const { core, primordials } = __bootstrap;
const { ArrayBuffer, FunctionPrototypeSymbolHasInstance, ObjectDefineProperty, ReflectApply, SymbolHasInstance } = primordials;
const { defineConstant, getterOf } = core.loadExtScript("ext:portside/properties.js");
const { currentActor } = core.loadExtScript("ext:portside/context.js");
const { logWarning } = core.loadExtScript("ext:portside/handlers.js");
const { explained } = core.loadExtScript("ext:portside/parts/network.js");
const {
  op_websocket_binary,
  op_websocket_buffered,
  op_websocket_close,
  op_websocket_end,
  op_websocket_next,
  op_websocket_open,
  op_websocket_text,
} = core.ops;

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { forgivingBase64Encode } = core.loadExtScript("ext:deno_web/00_infra.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { CloseEvent, defineEventHandler, dispatch, Event, EventTarget, MessageEvent, setIsTrusted } = core
  .loadExtScript("ext:deno_web/02_event.js");
const { Blob } = core.loadExtScript("ext:deno_web/09_file.js");
const { isSocket, PairedWebSocket } = core.loadExtScript("ext:portside/parts/sockets.js");

const CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;
const NONE = 1005, LOST = 1006;
const MAX_REASON_BYTES = 123;
// A token of RFC 9110, which a subprotocol has to be.
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// What the peer does not get because it is too much, by the code that says so.
const FULL = { 1009: "the message is too big", 1013: "the peer does not keep up" };

const bufferLength = getterOf(ArrayBuffer.prototype, "byteLength");

function isArrayBuffer(value) {
  try {
    bufferLength.call(value);
    return true;
  } catch {
    return false;
  }
}

// Section 3.1, "the new WebSocket(url, protocols) constructor steps", and section 2, "obtain a URL".
function parseUrl(text) {
  let url;
  try {
    url = new URL(text);
  } catch (error) {
    throw new DOMException(error.message, "SyntaxError");
  }
  if (url.protocol === "http:") url.protocol = "ws:";
  else if (url.protocol === "https:") url.protocol = "wss:";
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    throw new DOMException(`the URL's scheme must be ws, wss, http or https, not ${url.protocol}`, "SyntaxError");
  }
  if (url.hash !== "" || url.href.endsWith("#")) {
    throw new DOMException("the URL must have no fragment", "SyntaxError");
  }
  return url;
}

// The credentials go into a header, not into the `url` attribute.
function takeCredentials(url) {
  if (url.username === "" && url.password === "") return "";
  const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  url.username = "";
  url.password = "";
  return `Basic ${forgivingBase64Encode(core.encode(credentials))}`;
}

function checkProtocols(protocols) {
  const distinct = new Set(protocols.map((protocol) => protocol.toLowerCase()));
  if (distinct.size !== protocols.length || !protocols.every((protocol) => TOKEN.test(protocol))) {
    throw new DOMException("subprotocols must be distinct tokens", "SyntaxError");
  }
}

/** Section 3.1. */
class WebSocket extends EventTarget {
  #number;
  #url;
  #state = CONNECTING;
  #protocol = "";
  #extensions = "";
  #binaryType = "blob";
  // Bytes that are not in the connection's own queue: of blobs that are being read, and of what is never sent.
  #apart = 0;
  // Settles when the blobs before are read; what comes behind them waits for it.
  #reading;

  constructor(url, protocols = []) {
    super();
    const prefix = "Failed to construct 'WebSocket'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    url = parseUrl(webidl.converters.USVString(url, prefix, "Argument 1"));
    const several = protocols !== null && /^(object|function)$/.test(typeof protocols) &&
      protocols[Symbol.iterator] != null;
    protocols = several
      ? webidl.converters["sequence<DOMString>"](protocols, prefix, "Argument 2")
      : [webidl.converters.DOMString(protocols, prefix, "Argument 2")];
    checkProtocols(protocols);
    const authorization = takeCredentials(url);
    this.#url = url;
    this.#number = op_websocket_open(currentActor(), url.href, authorization, protocols);
    this.#listen();
  }

  get url() {
    return this.#url.href;
  }

  get readyState() {
    return this.#state;
  }

  get protocol() {
    return this.#protocol;
  }

  get extensions() {
    return this.#extensions;
  }

  get bufferedAmount() {
    return this.#apart + (this.#number === undefined ? 0 : op_websocket_buffered(this.#number));
  }

  get binaryType() {
    return this.#binaryType;
  }

  set binaryType(value) {
    value = webidl.converters.DOMString(value, "Failed to set 'binaryType' on 'WebSocket'");
    if (value === "blob" || value === "arraybuffer") this.#binaryType = value;
  }

  send(data) {
    const state = this.#state;
    const prefix = "Failed to execute 'send' on 'WebSocket'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    let payload; // text, bytes, or a blob
    if (data instanceof Blob) payload = data;
    else if (ArrayBuffer.isView(data)) {
      data = webidl.converters.ArrayBufferView(data, prefix, "Argument 1");
      payload = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    } else if (isArrayBuffer(data)) payload = new Uint8Array(data);
    else payload = webidl.converters.USVString(data, prefix, "Argument 1");
    if (state === CONNECTING) throw new DOMException("the WebSocket is not open yet", "InvalidStateError");
    const size = payload instanceof Blob ? payload.size : typeof payload === "string" ? undefined : payload.byteLength;
    if (state !== OPEN) this.#apart += size ?? core.encode(payload).length;
    else if (this.#reading !== undefined || payload instanceof Blob) {
      // A copy: the caller may change its buffer meanwhile.
      if (payload instanceof Uint8Array) payload = payload.slice();
      this.#sendLater(payload, size ?? core.encode(payload).length);
    } else this.#sendNow(payload);
  }

  close(code = undefined, reason = undefined) {
    const prefix = "Failed to execute 'close' on 'WebSocket'";
    if (code !== undefined) code = webidl.converters["unsigned short"](code, prefix, "Argument 1", { clamp: true });
    if (reason !== undefined) reason = webidl.converters.USVString(reason, prefix, "Argument 2");
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
      throw new DOMException(`the close code must be 1000 or of 3000 to 4999, not ${code}`, "InvalidAccessError");
    }
    if (reason !== undefined && core.encode(reason).length > MAX_REASON_BYTES) {
      throw new DOMException(`the close reason may have at most ${MAX_REASON_BYTES} bytes`, "SyntaxError");
    }
    const state = this.#state;
    if (state === CLOSING || state === CLOSED) return;
    this.#state = CLOSING;
    if (state === CONNECTING) {
      op_websocket_end(this.#number, false); // what is heard next is a failure
      return;
    }
    // A reason without a code goes with the code that a close without anything means (section 3.1).
    const close = () => op_websocket_close(this.#number, code ?? (reason ? 1000 : NONE), reason ?? "");
    if (this.#reading === undefined) close();
    else this.#reading.then(() => this.#number !== undefined && close());
  }

  #sendNow(payload) {
    const refused = typeof payload === "string"
      ? op_websocket_text(this.#number, payload)
      : op_websocket_binary(this.#number, payload);
    if (refused === 0) return;
    // "Flag it as full and then close the connection."
    this.#state = CLOSING;
    queueMicrotask(() => this.#over(refused, FULL[refused], false));
  }

  #sendLater(payload, size) {
    this.#apart += size;
    const before = this.#reading;
    const reading = this.#readAndSend(before, payload, size);
    this.#reading = reading;
    reading.then(() => {
      if (this.#reading === reading) this.#reading = undefined;
    });
  }

  async #readAndSend(before, payload, size) {
    await before;
    let read = payload;
    try {
      if (payload instanceof Blob) read = new Uint8Array(await payload.arrayBuffer());
    } catch {
      return; // unreadable: not sent, and counted for ever
    }
    if (this.#number === undefined) return;
    this.#apart -= size;
    this.#sendNow(read);
  }

  async #listen() {
    while (this.#state !== CLOSED) {
      const news = await op_websocket_next(this.#number);
      if (this.#state === CLOSED) return;
      if (news.type === "close") this.#over(news.code, news.reason, true);
      else if (news.type === "failed") this.#failed(news.why);
      else if (news.type === "open") this.#opened(news);
      else this.#received(news.data);
    }
  }

  /** Logs why it did not open: the application is not to learn that from the event (section 9.3.4). */
  #failed(why) {
    if (this.#state === CONNECTING && why !== "") logWarning(`WebSocket to ${this.#url.host}: ${explained(why)}`);
    this.#over(LOST, "", false);
  }

  #opened({ protocol, extensions }) {
    if (this.#state !== CONNECTING) return;
    this.#state = OPEN;
    this.#protocol = protocol;
    this.#extensions = extensions;
    this.#fire(new Event("open"));
  }

  #received(data) {
    if (this.#state !== OPEN) return;
    if (typeof data !== "string") {
      const { buffer } = data;
      data = this.#binaryType === "blob" ? new Blob([buffer]) : buffer;
    }
    this.#fire(new MessageEvent("message", { data, origin: this.#url.origin }));
  }

  #over(code, reason, wasClean) {
    if (this.#state === CLOSED) return;
    this.#state = CLOSED;
    this.#apart += op_websocket_buffered(this.#number);
    op_websocket_end(this.#number, !(code in FULL) || wasClean);
    this.#number = undefined;
    if (!wasClean) this.#fire(new Event("error"));
    this.#fire(new CloseEvent("close", { code, reason, wasClean }));
  }

  #fire(event) {
    setIsTrusted(event, true);
    dispatch(this, event);
  }
}

function defineState(name, value) {
  defineConstant(WebSocket, name, value);
  ObjectDefineProperty(WebSocket, `READY_STATE_${name}`, { __proto__: null, value, enumerable: true });
}
defineState("CONNECTING", CONNECTING);
defineState("OPEN", OPEN);
defineState("CLOSING", CLOSING);
defineState("CLOSED", CLOSED);
defineEventHandler(WebSocket.prototype, "open");
defineEventHandler(WebSocket.prototype, "error");
defineEventHandler(WebSocket.prototype, "close");
defineEventHandler(WebSocket.prototype, "message");
webidl.configureInterface(WebSocket);

// Workers know one class of WebSockets, and libraries take from its prototype what ends of pairs have.
for (const name of ["accept", "serializeAttachment", "deserializeAttachment"]) {
  const ofPairs = PairedWebSocket.prototype[name];
  const method = {
    [name](...args) {
      if (!isSocket(this)) throw new TypeError(`${name}() is for WebSockets of clients, which a WebSocketPair has`);
      return ReflectApply(ofPairs, this, args);
    },
  }[name];
  ObjectDefineProperty(WebSocket.prototype, name, { __proto__: null, value: method, writable: true, configurable: true });
}

/** Ends of a WebSocketPair count as instances, too. */
ObjectDefineProperty(WebSocket, SymbolHasInstance, {
  __proto__: null,
  value(value) {
    return ReflectApply(FunctionPrototypeSymbolHasInstance, this, [value]) || this === WebSocket && isSocket(value);
  },
});

return { WebSocket };
})();
