// Entry of the surface: runs once, while the snapshot is made. Each isolate then calls `portsideStart` once.
// Before anything that loads parts.
import "ext:portside/telemetry_stub.js";
import "ext:portside/outputs.js";
import * as sections from "ext:portside/sections.js";
import { core } from "ext:core/mod.js";
import * as buffers from "ext:portside/buffers.js";
import * as clones from "ext:portside/clones.js";
import * as context from "ext:portside/context.js";
import * as environment from "ext:portside/env.js";
import * as events from "ext:portside/events.js";
import { defineCloudflares, defineGlobals, nameAsCloudflare, startGlobals } from "ext:portside/globals.js";
import * as handlers from "ext:portside/handlers.js";
import * as lifecycle from "ext:portside/lifecycle.js";
import * as parts from "ext:portside/parts.js";
import * as ports from "ext:portside/ports.js";
import * as properties from "ext:portside/properties.js";
import { onAlarm, setAlarm, storage } from "ext:portside/storage.js";
parts.provide({
  "ext:portside/buffers.js": buffers,
  "ext:portside/clones.js": clones,
  "ext:portside/context.js": context,
  "ext:portside/env.js": environment,
  "ext:portside/events.js": events,
  "ext:portside/handlers.js": handlers,
  "ext:portside/lifecycle.js": lifecycle,
  "ext:portside/parts.js": parts,
  "ext:portside/ports.js": ports,
  "ext:portside/properties.js": properties,
  "ext:portside/sections.js": sections,
});
defineGlobals();

const { op_compatibility } = core.ops;
const { propNonEnumerable: hidden, propWritable: writable } = core;

const CLOUDFLARE_NAMES = 1 << 4, OF_CLOUDFLARE = 1 << 5;

function defineSurface() {
  core.defineGlobalProperties(globalThis, {
    ServerlessWorker: hidden(ports.ServerlessWorker),
    ServerlessWorkerOverloadedError: hidden(ports.ServerlessWorkerOverloadedError),
    waitUntil: writable(lifecycle.waitUntil),
  });
}

function defineWorkerSurface(name) {
  core.defineGlobalProperties(globalThis, {
    deleteAlarm: writable(() => storage.deleteAlarm()),
    getAlarm: writable(() => storage.getAlarm()),
    name: writable(name),
    setAlarm: writable(setAlarm),
    storage: writable(storage),
    terminate: writable(lifecycle.terminate),
  });
}

// Called by the engine, which then holds the only way in: the functions it dispatches events with.
globalThis.portsideStart = () => {
  delete globalThis.portsideStart;
  startGlobals();
  environment.startEnv();
  defineSurface();
  let exported, module; // what the module exports by default, and all that it exports
  let http;
  const loadHttp = () => http = parts.load("ext:portside/parts/http.js");
  const living = () => parts.load("ext:portside/parts/living.js");
  const sockets = () => parts.load("ext:portside/parts/sockets.js");
  return {
    begin: (name) => {
      if (name !== undefined) defineWorkerSurface(name);
      environment.beginEnv();
      const features = op_compatibility();
      if ((features & OF_CLOUDFLARE) !== 0) defineCloudflares();
      if ((features & CLOUDFLARE_NAMES) !== 0) nameAsCloudflare();
    },
    setHandlers: (given) => {
      module = given;
      exported = given.default;
      environment.setModule(given);
    },
    fetch: (number, method, url, headers, body) => {
      (http ?? loadHttp()).onFetch(exported, number, method, url, headers, body);
    },
    // It may be a request to an object, though the server itself was never asked.
    fetchAborted: (number) => (http ?? loadHttp()).onFetchAborted(number),
    connect: (port, reconnected) => ports.onConnect(exported, port, reconnected),
    message: ports.onMessage,
    portClosed: ports.onPortClosed,
    portLeft: ports.onPortLeft,
    portFailed: ports.onPortFailed,
    scheduled: (number, time, cron) => {
      parts.load("ext:portside/parts/scheduled.js").onScheduled(exported, number, time, cron);
    },
    evaluate: (actor, number, compiled, wrong) => {
      const self = actor === 0 ? exported : living().instanceOf(actor);
      parts.load("ext:portside/parts/expressions.js").onEvaluate(actor, number, self, module, compiled, wrong);
    },
    alarm: (scheduled, retries) => onAlarm(exported, scheduled, retries),
    objectBegins: (...object) => living().begin(module, ...object),
    objectEnds: (actor) => living().end(actor),
    objectFetch: (actor, number, ...request) => living().onFetch(actor, number, ...request),
    objectCall: (actor, number, path, args) => living().onCall(actor, number, path, args),
    objectSocketMessage: (actor, id, data) => living().onSocketMessage(actor, id, data),
    objectSocketClose: (actor, id, code, reason) => living().onSocketClose(actor, id, code, reason),
    objectAlarm: (actor, scheduled, retries) => living().onAlarm(actor, scheduled, retries),
    socketMessage: (number, data) => sockets().onSocketMessage(number, data),
    socketClose: (number, code, reason) => sockets().onSocketClose(number, code, reason),
    socketMoves: (number, isOver) => sockets().onSocketMoves(number, isOver),
  };
};
