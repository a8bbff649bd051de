// The web platform's globals, most of them from the deno_* crates.
import { core } from "ext:core/mod.js";
import { knowNatives, limitedBuffer, limitTransfer } from "ext:portside/buffers.js";
import { currentActor, requestNumber } from "ext:portside/context.js";
import { registerErrors } from "ext:portside/errors.js";
import { logError, logRejection } from "ext:portside/handlers.js";
import { hide, load, whole } from "ext:portside/parts.js";
import { keptClear, keptTimer } from "ext:portside/sections.js";
const { op_define_lazily, op_inspected, op_log, op_when_looked_at } = core.ops;

const webidl = load("ext:deno_webidl/00_webidl.js");
const { DOMException, QuotaExceededError } = load("ext:deno_web/01_dom_exception.js");
const event = load("ext:deno_web/02_event.js");
const timers = load("ext:deno_web/02_timers.js");

const clearInterval = keptClear(timers.clearInterval), clearTimeout = keptClear(timers.clearTimeout);
const setInterval = keptTimer(timers.setInterval, false), setTimeout = keptTimer(timers.setTimeout, true);

const { propNonEnumerable: hidden, propWritable: writable, propGetterOnly: getter } = core;

const CRYPTO = "ext:deno_crypto/00_crypto.js";
const ENCODING = "ext:deno_web/08_text_encoding.js";
const FILES = "ext:deno_web/09_file.js";
const MESSAGES = "ext:deno_web/13_message_port.js";
const STREAMS = "ext:deno_web/06_streams.js";

/** Interfaces that come from parts: each part is loaded when one of its interfaces is first looked at. */
const INTERFACES = {
  __proto__: null,
  AbortController: "ext:deno_web/03_abort_signal.js",
  AbortSignal: "ext:deno_web/03_abort_signal.js",
  Blob: FILES,
  ByteLengthQueuingStrategy: STREAMS,
  CompressionStream: "ext:deno_web/14_compression.js",
  CountQueuingStrategy: STREAMS,
  Crypto: CRYPTO,
  CryptoKey: CRYPTO,
  DecompressionStream: "ext:deno_web/14_compression.js",
  EventSource: "ext:portside/parts/eventsource.js",
  File: FILES,
  FixedLengthStream: "ext:portside/parts/byte_streams.js",
  FileReader: "ext:deno_web/10_filereader.js",
  FormData: "ext:deno_fetch/21_formdata.js",
  Headers: "ext:deno_fetch/20_headers.js",
  IdentityTransformStream: "ext:portside/parts/byte_streams.js",
  MessageChannel: MESSAGES,
  MessagePort: MESSAGES,
  Performance: "ext:deno_web/15_performance.js",
  ReadableByteStreamController: STREAMS,
  ReadableStream: STREAMS,
  ReadableStreamBYOBReader: STREAMS,
  ReadableStreamBYOBRequest: STREAMS,
  ReadableStreamDefaultController: STREAMS,
  ReadableStreamDefaultReader: STREAMS,
  Request: "ext:deno_fetch/23_request.js",
  Response: "ext:deno_fetch/23_response.js",
  SubtleCrypto: CRYPTO,
  TextDecoder: ENCODING,
  TextDecoderStream: ENCODING,
  TextEncoder: ENCODING,
  TextEncoderStream: ENCODING,
  TransformStream: STREAMS,
  TransformStreamDefaultController: STREAMS,
  URL: "ext:deno_web/00_url.js",
  URLPattern: "ext:deno_web/01_urlpattern.js",
  URLSearchParams: "ext:deno_web/00_url.js",
  WebSocket: "ext:portside/parts/websocket.js",
  WebSocketPair: "ext:portside/parts/sockets.js",
  WebSocketRequestResponsePair: "ext:portside/parts/hibernation.js",
  WritableStream: STREAMS,
  WritableStreamDefaultController: STREAMS,
  WritableStreamDefaultWriter: STREAMS,
};

/** Functions and objects that come from parts. */
const FUNCTIONS = {
  __proto__: null,
  atob: "ext:deno_web/05_base64.js",
  btoa: "ext:deno_web/05_base64.js",
  fetch: "ext:deno_fetch/26_fetch.js",
  performance: "ext:deno_web/15_performance.js",
  structuredClone: MESSAGES,
};

/** What only Cloudflare's Workers have. */
const OF_CLOUDFLARE = {
  __proto__: null,
  Cache: "ext:portside/parts/caches.js",
  CacheStorage: "ext:portside/parts/caches.js",
  caches: "ext:portside/parts/caches.js",
};

/** Workers' own: `scheduler.wait(ms)` is a timer to be awaited. */
const scheduler = {
  wait: async (ms, options = undefined) => {
    const { promise, resolve, reject } = Promise.withResolvers();
    const signal = options?.signal;
    signal?.throwIfAborted();
    const timer = setTimeout(resolve, ms);
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal?.addEventListener("abort", abort);
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  },
};

function newConsole() {
  const { Console } = load("ext:deno_web/01_console.js");
  const console = new Console((text, level) => op_log(currentActor(), text, level, requestNumber()));
  if (op_inspected()) tellDebuggers(console);
  return console;
}

/** Has V8's own console, which debuggers hear, called before each method, as from where that is called. */
function tellDebuggers(console) {
  for (const [name, method] of Object.entries(core.v8Console)) {
    console[name] = Object.hasOwn(console, name) ? core.callConsole.bind(console, method, console[name]) : method;
  }
}

export function defineGlobals() {
  hide(webidl.converters);
  limitTransfer();
  Object.setPrototypeOf(globalThis, event.EventTarget.prototype);
  event.defineEventHandler(globalThis, "error", undefined, true);
  event.defineEventHandler(globalThis, "unhandledrejection");
  event.defineEventHandler(globalThis, "rejectionhandled");
  core.defineGlobalProperties(globalThis, {
    ArrayBuffer: hidden(limitedBuffer(ArrayBuffer)),
    CloseEvent: hidden(event.CloseEvent),
    CustomEvent: hidden(event.CustomEvent),
    DOMException: hidden(DOMException),
    ErrorEvent: hidden(event.ErrorEvent),
    Event: hidden(event.Event),
    EventTarget: hidden(event.EventTarget),
    MessageEvent: hidden(event.MessageEvent),
    ProgressEvent: hidden(event.ProgressEvent),
    PromiseRejectionEvent: hidden(event.PromiseRejectionEvent),
    QuotaExceededError: hidden(QuotaExceededError),
    clearInterval: writable(clearInterval),
    clearTimeout: writable(clearTimeout),
    crypto: getter(() => load(CRYPTO).crypto),
    navigator: hidden(Object.freeze({ userAgent: "Portside" })),
    reportError: writable(event.reportError),
    scheduler: writable(scheduler),
    self: writable(globalThis),
    setInterval: writable(setInterval),
    setTimeout: writable(setTimeout),
    [webidl.brand]: hidden(webidl.brand),
  });
  for (const name of Object.keys(INTERFACES)) op_define_lazily(name, false);
  for (const name of Object.keys(FUNCTIONS)) op_define_lazily(name, true);
  op_define_lazily("console", false);
  registerErrors();
  core.setReportExceptionCallback(event.reportException);
}

/** The value of a global that is looked at for the first time. */
function lookUp(name) {
  switch (name) {
    case "console":
      return newConsole();
    case "SharedArrayBuffer":
    case "WebAssembly":
      return limitedNatives()[name];
    default:
      return load(INTERFACES[name] ?? FUNCTIONS[name] ?? OF_CLOUDFLARE[name])[name];
  }
}

// V8 gives these to each context, but not while the snapshot is made. What limits them is put before them when one of them
// is first looked at: few instances do.

let natives;
let areLimited = false;

function keepNatives() {
  if (typeof WebAssembly === "undefined") return;
  natives = { SharedArrayBuffer, WebAssembly };
  op_define_lazily("SharedArrayBuffer", false);
  op_define_lazily("WebAssembly", false);
}

function limitedNatives() {
  if (!areLimited) whole(limitNatives);
  return natives;
}

function limitNatives() {
  const { limitWebAssembly } = load("ext:portside/parts/wasm.js");
  knowNatives(natives);
  natives.SharedArrayBuffer = limitedBuffer(natives.SharedArrayBuffer);
  limitWebAssembly(natives.WebAssembly);
  // Without it deno_core ends the process when somebody calls WebAssembly.compileStreaming.
  core.setWasmStreamingCallback((source, id) => load("ext:deno_fetch/26_fetch.js").handleWasmStreaming(source, id));
  areLimited = true;
}

/** For programs that were written for Cloudflare's Workers. */
export function defineCloudflares() {
  for (const name of Object.keys(OF_CLOUDFLARE)) op_define_lazily(name, false);
}

/** The same for those that look where they run. */
export function nameAsCloudflare() {
  core.defineGlobalProperties(globalThis, { navigator: hidden(Object.freeze({ userAgent: "Cloudflare-Workers" })) });
}

/** What each isolate needs once, after the snapshot was loaded. */
export function startGlobals() {
  op_when_looked_at(lookUp);
  keepNatives();
  event.setEventTargetData(globalThis);
  event.saveGlobalThisReference(globalThis);
  // Errors that event listeners and timers let out are logged and disregarded.
  globalThis.addEventListener("error", (uncaught) => {
    uncaught.preventDefault();
    logError("uncaught error", uncaught.error);
  });
  core.setUnhandledPromiseRejectionHandler((promise, reason) => {
    const rejection = new event.PromiseRejectionEvent("unhandledrejection", {
      promise,
      reason,
      cancelable: true,
    });
    globalThis.dispatchEvent(rejection);
    if (!rejection.defaultPrevented) logRejection(reason);
    return true;
  });
  core.setHandledPromiseRejectionHandler(() => {});
  delete globalThis.__bootstrap;
  delete globalThis.Deno;
}

