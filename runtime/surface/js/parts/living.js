// Objects that live in this isolate: they are constructed, and given their events.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectPrototypeIsPrototypeOf, ReflectApply, SafeMap } = primordials;
const { env, loopback } = core.loadExtScript("ext:portside/env.js");
const { holdUntil, logWarning, run } = core.loadExtScript("ext:portside/handlers.js");
const { ActorScope, RequestScope } = core.loadExtScript("ext:portside/lifecycle.js");
const { depthOfNext, objectBegins, objectEnds, section } = core.loadExtScript("ext:portside/sections.js");
const { DurableObject, knowState } = core.loadExtScript("ext:portside/parts/entrypoints.js");
const { answer } = core.loadExtScript("ext:portside/parts/http.js");
const { lookUp } = core.loadExtScript("ext:portside/parts/methods.js");
const { refuseArgument } = core.loadExtScript("ext:portside/parts/object_arguments.js");
const { defineSurface } = core.loadExtScript("ext:portside/parts/object_surface.js");
const { alarmEnded, storageOf } = core.loadExtScript("ext:portside/parts/object_storage.js");
const hibernation = core.loadExtScript("ext:portside/parts/hibernation.js");
const { forgetAllKept } = core.loadExtScript("ext:portside/parts/sockets.js");
const { makeId } = core.loadExtScript("ext:portside/parts/objects.js");
const { thrownBytes } = core.loadExtScript("ext:portside/parts/thrown.js");
const { fromBytes, toBytes } = core.loadExtScript("ext:portside/parts/values.js");
const { clearTimeout, setTimeout } = core.loadExtScript("ext:deno_web/02_timers.js");
const { op_object_reset, op_object_resolve, op_respond_thrown } = core.ops;

const MOST_SECTION_MS = 30_000;
const MOST_NESTED = 64;
const make = Symbol("make");
const living = new SafeMap(); // actor -> the object

/** Ends the object's instance. Whoever waits for it gets the error, and the next event begins a new one. */
function reset(actor, error, { overloaded = false, retryAlarm = true } = {}) {
  op_object_reset(actor, messageOf(error), thrownBytes(error), overloaded, retryAlarm);
}

function messageOf(error) {
  try {
    return String(error?.message ?? error);
  } catch {
    return "an error that cannot be shown";
  }
}

/** `ctx`: what an object knows of itself, and is kept by. */
class DurableObjectState {
  #actor;
  #sockets;

  constructor(key, actor, isSql, id) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#actor = actor;
    this.#sockets = new hibernation.KeptSockets(actor);
    const own = { id, storage: storageOf(actor, isSql), props: {}, exports: loopback(), container: undefined };
    for (const name in own) Object.defineProperty(this, name, { value: own[name], enumerable: true });
  }

  waitUntil(promise) {
    if (arguments.length === 0) refuseArgument("DurableObjectState", "waitUntil", 1, "Promise");
    holdUntil(promise, "waitUntil()");
  }

  blockConcurrencyWhile(callback) {
    if (typeof callback !== "function") {
      const message = "Failed to execute 'blockConcurrencyWhile' on 'DurableObjectState': parameter 1 is not of type 'function'.";
      throw new TypeError(message);
    }
    return blockingSection(this.#actor, callback);
  }

  acceptWebSocket(socket, tags = undefined) {
    this.#sockets.accept(socket, tags);
  }

  getWebSockets(tag = undefined) {
    return this.#sockets.list(tag);
  }

  getTags(socket) {
    return this.#sockets.tags(socket);
  }

  setWebSocketAutoResponse(pair = undefined) {
    this.#sockets.setAutoResponse(pair);
  }

  getWebSocketAutoResponse() {
    return this.#sockets.autoResponse();
  }

  getWebSocketAutoResponseTimestamp(socket) {
    return this.#sockets.answeredAt(socket);
  }

  setHibernatableWebSocketEventTimeout(timeout = undefined) {
    this.#sockets.timeout = timeout;
  }

  getHibernatableWebSocketEventTimeout() {
    return this.#sockets.timeout;
  }

  abort(reason = undefined, options = undefined) {
    const message = reason === undefined ? "Application called abort() to reset Durable Object." : String(reason);
    const error = new Error(message);
    reset(this.#actor, error, { retryAlarm: options?.retryAlarm !== false });
    throw Object.assign(error, { durableObjectReset: true });
  }
}
defineSurface(DurableObjectState);

/** Runs a callback while nothing else of the object runs. If it fails, or takes too long, so does the object. */
async function blockingSection(actor, callback) {
  if (depthOfNext() > MOST_NESTED) {
    throw new Error("blockConcurrencyWhile() calls are nested too deeply.");
  }
  return await section(actor, async () => {
    const tooLong = setTimeout(() => {
      const message = "A call to blockConcurrencyWhile() in a Durable Object waited for too long. " +
        "The call was canceled and the Durable Object was reset.";
      reset(actor, new Error(message), { overloaded: true });
    }, MOST_SECTION_MS);
    try {
      return await callback();
    } catch (error) {
      reset(actor, error);
      throw error;
    } finally {
      clearTimeout(tooLong);
    }
  });
}

/** An object begins here. `module` has the classes. */
function begin(module, actor, objectClass, className, isSql, id, name) {
  const scope = new ActorScope(actor);
  try {
    const Class = module[className];
    if (typeof Class !== "function") {
      throw new TypeError(`the main module exports no class ${className}, which is declared as a Durable Object`);
    }
    const state = new DurableObjectState(make, actor, isSql, makeId(objectClass, id, name));
    knowState(state);
    const isOpen = ObjectPrototypeIsPrototypeOf(DurableObject.prototype, Class.prototype);
    living.set(actor, { id, isOpen, scope, instance: undefined });
    objectBegins(actor);
    living.get(actor).instance = scope.enter(() => new Class(state, env()));
  } catch (error) {
    reset(actor, error);
  }
}

function end(actor) {
  objectEnds(actor);
  living.delete(actor);
  forgetAllKept(actor);
}

const onSocketMessage = (actor, ...message) => hibernation.onSocketMessage(living.get(actor), actor, ...message);
const onSocketClose = (actor, ...close) => hibernation.onSocketClose(living.get(actor), actor, ...close);

/** Whatever an object throws goes to whoever called. */
function thrown({ actor, number }, error, id = undefined) {
  op_respond_thrown(actor, number, messageOf(error), thrownBytes(error, id?.toString()));
}

function onFetch(actor, number, ...request) {
  const { instance } = living.get(actor);
  answer(new RequestScope(number, actor), request, (request) => {
    if (typeof instance.fetch !== "function") throw new Error("Handler does not export a fetch() function.");
    return instance.fetch(request);
  }, thrown);
}

/** A method is called, or a property is read where there are no arguments. */
function onCall(actor, number, path, args) {
  const { id, instance, isOpen } = living.get(actor);
  const scope = new RequestScope(number, actor);
  let thrower; // the object's id, while it is its method that may throw
  const outcome = scope.enter(async () => {
    const { receiver, value } = lookUp(instance, path, args !== undefined, isOpen, "Durable Object", "DurableObject");
    if (args === undefined) return value;
    const given = fromBytes(args);
    thrower = id;
    return ReflectApply(value, receiver, given);
  });
  outcome
    .then((value) => {
      thrower = undefined;
      op_object_resolve(actor, number, toBytes(value));
    })
    .catch((error) => thrown(scope, error, thrower))
    .finally(() => scope.responded());
}

async function onAlarm(actor, scheduledTime, retryCount) {
  const { instance, scope } = living.get(actor);
  let succeeded = true;
  if (typeof instance.alarm === "function") {
    const info = { scheduledTime, retryCount, isRetry: retryCount > 0 };
    succeeded = await scope.enter(() => run("alarm()", instance, "alarm", info));
  } else {
    scope.enter(() => logWarning("the alarm is due, but the object's class has no alarm() handler"));
  }
  alarmEnded(actor, succeeded);
}

/** The object itself. */
function instanceOf(actor) {
  return living.get(actor)?.instance;
}

/** Whether the object's class has this handler. */
function handles(actor, name) {
  return typeof living.get(actor)?.instance?.[name] === "function";
}

return { begin, end, handles, instanceOf, onAlarm, onCall, onFetch, onSocketClose, onSocketMessage };
})();
