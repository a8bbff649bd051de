// Entry of the surface: runs once, while the snapshot is made. Each isolate then calls `portsideStart` once.
// Before anything that loads the platform's scripts.
import "ext:portside/telemetry_stub.js";
import "ext:portside/outputs.js";
import "ext:portside/blobs.js";
import "ext:portside/mended.js";
import { core } from "ext:core/mod.js";
import { defineGlobals, startGlobals } from "ext:portside/globals.js";
import { onFetch, onFetchAborted } from "ext:portside/http.js";
import { terminate, waitUntil } from "ext:portside/lifecycle.js";
import {
  onConnect,
  onMessage,
  onPortClosed,
  onPortFailed,
  onPortLeft,
  ServerlessWorker,
  ServerlessWorkerOverloadedError,
} from "ext:portside/ports.js";
import { onSocketClose, onSocketMessage, WebSocketPair } from "ext:portside/sockets.js";
import { onAlarm, setAlarm, storage } from "ext:portside/storage.js";
const { op_env, op_worker_name } = core.ops;

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

function defineWorkerSurface(name) {
  core.defineGlobalProperties(globalThis, {
    deleteAlarm: writable(() => storage.deleteAlarm()),
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
  startGlobals();
  defineSurface();
  const name = op_worker_name();
  if (name !== null && name !== undefined) defineWorkerSurface(name);
  let handlers, env; // the server's variables: one object for the life of the instance
  return {
    setHandlers: (exported) => handlers = exported,
    fetch: (...args) => onFetch(handlers, env ??= op_env(), ...args),
    fetchAborted: onFetchAborted,
    connect: (port) => onConnect(handlers, port),
    message: onMessage,
    portClosed: onPortClosed,
    portLeft: onPortLeft,
    portFailed: onPortFailed,
    alarm: (scheduled, retries) => onAlarm(handlers, scheduled, retries),
    socketMessage: onSocketMessage,
    socketClose: onSocketClose,
  };
};
