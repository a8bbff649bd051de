// The web platform's globals, from the deno_* crates.
import { core } from "ext:core/mod.js";
import { limitBuffers } from "ext:portside/buffers.js";
import { refuseClones, structuredClone } from "ext:portside/clones.js";
import { DecompressionStream } from "ext:portside/compression.js";
import "ext:portside/crypto.js";
import { registerErrors } from "ext:portside/errors.js";
import { EventSource } from "ext:portside/eventsource.js";
import "ext:portside/formdata.js";
import { logError, logRejection } from "ext:portside/handlers.js";
import { Response } from "ext:portside/http.js";
import { requestNumber } from "ext:portside/context.js";
import { limitWebAssembly } from "ext:portside/wasm.js";
import { WebSocket } from "ext:portside/websocket.js";
const { op_log } = core.ops;

const load = core.loadExtScript;
const webidl = load("ext:deno_webidl/00_webidl.js");
const { DOMException, QuotaExceededError } = load("ext:deno_web/01_dom_exception.js");
const event = load("ext:deno_web/02_event.js");
const timers = load("ext:deno_web/02_timers.js");
const abort = load("ext:deno_web/03_abort_signal.js");
const url = load("ext:deno_web/00_url.js");
const urlPattern = load("ext:deno_web/01_urlpattern.js");
const base64 = load("ext:deno_web/05_base64.js");
const streams = load("ext:deno_web/06_streams.js");
const encoding = load("ext:deno_web/08_text_encoding.js");
const file = load("ext:deno_web/09_file.js");
const fileReader = load("ext:deno_web/10_filereader.js");
const port = load("ext:deno_web/13_message_port.js");
const compression = load("ext:deno_web/14_compression.js");
const performance = load("ext:deno_web/15_performance.js");
const console_ = load("ext:deno_web/01_console.js");
const headers = load("ext:deno_fetch/20_headers.js");
const formData = load("ext:deno_fetch/21_formdata.js");
const request = load("ext:deno_fetch/23_request.js");
const fetch = load("ext:deno_fetch/26_fetch.js");
const crypto = load("ext:deno_crypto/00_crypto.js");

const { propNonEnumerable: hidden, propWritable: writable, propGetterOnly: getter } = core;

export function defineGlobals() {
  limitBuffers("ArrayBuffer");
  Object.setPrototypeOf(globalThis, event.EventTarget.prototype);
  event.defineEventHandler(globalThis, "error", undefined, true);
  event.defineEventHandler(globalThis, "unhandledrejection");
  event.defineEventHandler(globalThis, "rejectionhandled");
  core.defineGlobalProperties(globalThis, {
    AbortController: hidden(abort.AbortController),
    AbortSignal: hidden(abort.AbortSignal),
    Blob: hidden(file.Blob),
    ByteLengthQueuingStrategy: hidden(streams.ByteLengthQueuingStrategy),
    CloseEvent: hidden(event.CloseEvent),
    CompressionStream: hidden(compression.CompressionStream),
    CountQueuingStrategy: hidden(streams.CountQueuingStrategy),
    Crypto: hidden(crypto.Crypto),
    CryptoKey: hidden(crypto.CryptoKey),
    CustomEvent: hidden(event.CustomEvent),
    DOMException: hidden(DOMException),
    DecompressionStream: hidden(DecompressionStream),
    ErrorEvent: hidden(event.ErrorEvent),
    Event: hidden(event.Event),
    EventSource: hidden(EventSource),
    EventTarget: hidden(event.EventTarget),
    File: hidden(file.File),
    FileReader: hidden(fileReader.FileReader),
    FormData: hidden(formData.FormData),
    Headers: hidden(headers.Headers),
    MessageChannel: hidden(port.MessageChannel),
    MessageEvent: hidden(event.MessageEvent),
    MessagePort: hidden(port.MessagePort),
    Performance: hidden(performance.Performance),
    ProgressEvent: hidden(event.ProgressEvent),
    PromiseRejectionEvent: hidden(event.PromiseRejectionEvent),
    QuotaExceededError: hidden(QuotaExceededError),
    ReadableByteStreamController: hidden(streams.ReadableByteStreamController),
    ReadableStream: hidden(streams.ReadableStream),
    ReadableStreamBYOBReader: hidden(streams.ReadableStreamBYOBReader),
    ReadableStreamBYOBRequest: hidden(streams.ReadableStreamBYOBRequest),
    ReadableStreamDefaultController: hidden(streams.ReadableStreamDefaultController),
    ReadableStreamDefaultReader: hidden(streams.ReadableStreamDefaultReader),
    Request: hidden(request.Request),
    Response: hidden(Response),
    SubtleCrypto: hidden(crypto.SubtleCrypto),
    TextDecoder: hidden(encoding.TextDecoder),
    TextDecoderStream: hidden(encoding.TextDecoderStream),
    TextEncoder: hidden(encoding.TextEncoder),
    TextEncoderStream: hidden(encoding.TextEncoderStream),
    TransformStream: hidden(streams.TransformStream),
    TransformStreamDefaultController: hidden(streams.TransformStreamDefaultController),
    URL: hidden(url.URL),
    URLPattern: hidden(urlPattern.URLPattern),
    URLSearchParams: hidden(url.URLSearchParams),
    WebSocket: hidden(WebSocket),
    WritableStream: hidden(streams.WritableStream),
    WritableStreamDefaultController: hidden(streams.WritableStreamDefaultController),
    WritableStreamDefaultWriter: hidden(streams.WritableStreamDefaultWriter),
    atob: writable(base64.atob),
    btoa: writable(base64.btoa),
    clearInterval: writable(timers.clearInterval),
    clearTimeout: writable(timers.clearTimeout),
    console: hidden(new console_.Console((text, level) => op_log(text, level, requestNumber()))),
    crypto: getter(() => crypto.crypto),
    fetch: writable(fetch.fetch),
    navigator: hidden(Object.freeze({ userAgent: "Portside" })),
    performance: writable(performance.performance),
    reportError: writable(event.reportError),
    self: writable(globalThis),
    setInterval: writable(timers.setInterval),
    setTimeout: writable(timers.setTimeout),
    structuredClone: writable(structuredClone),
    [webidl.brand]: hidden(webidl.brand),
  });
  refusePlatformClones();
  registerErrors();
  core.setReportExceptionCallback(event.reportException);
  console_.setNoColorFns(() => true, () => true); // a log is read by programs too
}

/** What the standards call serializable. */
const CLONEABLE = new Set(["Blob", "CryptoKey", "DOMException", "File", "QuotaExceededError"]);

function refusePlatformClones() {
  const interfaces = [event, timers, abort, url, urlPattern, streams, encoding, file, fileReader, port, compression, performance,
    console_, headers, formData, request, crypto, { DecompressionStream, EventSource, Response, WebSocket }];
  for (const exported of interfaces) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(exported))) {
      const isInterface = typeof value === "function" && /^[A-Z]/.test(name) && typeof value.prototype === "object";
      if (isInterface && !CLONEABLE.has(name)) refuseClones(value.prototype, name);
    }
  }
}

function startWebAssembly() {
  limitWebAssembly();
  // Without it deno_core ends the process when somebody calls WebAssembly.compileStreaming.
  core.setWasmStreamingCallback(fetch.handleWasmStreaming);
}

/** What each isolate needs once, after the snapshot was loaded. */
export function startGlobals() {
  if (typeof WebAssembly !== "undefined") { // neither is there while the snapshot is made
    startWebAssembly();
    limitBuffers("SharedArrayBuffer");
  }
  event.setEventTargetData(globalThis);
  event.saveGlobalThisReference(globalThis);
  performance.setTimeOrigin();
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

