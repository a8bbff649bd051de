// Entry of the surface: runs once, while the snapshot is made. Each isolate then calls `portsideStart` once.
import "ext:portside/telemetry_stub.js"; // before anything that loads fetch
import { core } from "ext:core/mod.js";
import { defineGlobals, platformFetch, startGlobals } from "ext:portside/globals.js";
import { logError } from "ext:portside/handlers.js";
import { onFetch, onFetchAborted } from "ext:portside/http.js";
import { terminate, waitUntil } from "ext:portside/lifecycle.js";
import {
  onConnect,
  onMessage,
  onPortClosed,
  onPortFailed,
  ServerlessWorker,
  ServerlessWorkerOverloadedError,
} from "ext:portside/ports.js";
import { onSocketClose, onSocketMessage, WebSocketPair } from "ext:portside/sockets.js";
import { allDurable, onAlarm, setAlarm, storage } from "ext:portside/storage.js";
const { op_storage_undurable, op_worker_name } = core.ops;

const { Request } = core.loadExtScript("ext:deno_fetch/23_request.js");

defineGlobals();

const { propNonEnumerable: hidden, propWritable: writable } = core;

function defineSurface() {
  core.defineGlobalProperties(globalThis, {
    ServerlessWorker: hidden(ServerlessWorker),
    ServerlessWorkerOverloadedError: hidden(ServerlessWorkerOverloadedError),
    WebSocketPair: hidden(WebSocketPair),
    waitUntil: writable(waitUntil),
  });
}

/** What a third party hears of must be durable first. The request is as it was at the call all the same. */
function fetch(input, init = undefined) {
  if (op_storage_undurable() === 0) return platformFetch(...arguments);
  return fetchWhenDurable(input, init);
}

async function fetchWhenDurable(input, init) {
  const request = new Request(input, init);
  await allDurable();
  return platformFetch(request);
}

function defineWorkerSurface(name) {
  core.defineGlobalProperties(globalThis, {
    deleteAlarm: writable(() => storage.deleteAlarm()),
    fetch: writable(fetch),
    getAlarm: writable(() => storage.getAlarm()),
    name: writable(name),
    setAlarm: writable(setAlarm),
    storage: writable(storage),
    terminate: writable(terminate),
  });
}

// Called by the engine, which then holds the only way in: the functions it dispatches events with.
globalThis.portsideStart = () => {
  delete globalThis.portsideStart;
  startGlobals(logError);
  defineSurface();
  const name = op_worker_name();
  if (name !== null && name !== undefined) defineWorkerSurface(name);
  let handlers;
  return [
    (exported) => handlers = exported,
    (...args) => onFetch(handlers, ...args),
    onFetchAborted,
    (port) => onConnect(handlers, port),
    onMessage,
    onPortClosed,
    onPortFailed,
    (scheduled, retries) => onAlarm(handlers, scheduled, retries),
    onSocketMessage,
    onSocketClose,
  ];
};
