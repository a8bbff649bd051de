// The application's own entry points, as its code reaches them by `ctx.exports`. They run here, in the course of what has called
// them: what they send waits for the same writes.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty, ObjectPrototypeIsPrototypeOf, ObjectSetPrototypeOf, ReflectApply, SafeWeakMap } = primordials;
const { WorkerEntrypoint } = core.loadExtScript("ext:portside/parts/entrypoints.js");
const { fetchFrom, handlersOf } = core.loadExtScript("ext:portside/parts/execution.js");
const { fetchBy } = core.loadExtScript("ext:portside/parts/fetcher.js");
const { disposable, lookUp } = core.loadExtScript("ext:portside/parts/methods.js");
const { refuseArgument } = core.loadExtScript("ext:portside/parts/object_arguments.js");
const { defineSurface, illegalInvocation } = core.loadExtScript("ext:portside/parts/object_surface.js");
const { remoteOf } = core.loadExtScript("ext:portside/parts/remote.js");
const { remoteError, thrownBytes } = core.loadExtScript("ext:portside/parts/thrown.js");
const { fromBytes, toBytes } = core.loadExtScript("ext:portside/parts/values.js");
const { isResponse } = core.loadExtScript("ext:deno_fetch/23_response.js");

/** Whether what the main module exports by this name can be called as an entry point. */
function isEntry(name, exported) {
  if (typeof exported === "object") return exported !== null;
  if (typeof exported !== "function") return false;
  return name === "default" || isOpen(exported);
}

/** Whether an entry point's methods may be called. */
function isOpen(entry) {
  return typeof entry === "function" && ObjectPrototypeIsPrototypeOf(WorkerEntrypoint.prototype, entry.prototype);
}

/** Runs `f`, whose errors arrive as those of somebody else. */
async function elsewhere(f) {
  try {
    return await f();
  } catch (error) {
    throw remoteError(thrownBytes(error));
  }
}

async function call(entry, props, path, args) {
  const given = args === undefined ? undefined : toBytes(args);
  const answer = await elsewhere(async () => {
    const { handlers } = handlersOf(entry, fromBytes(props));
    const { receiver, value } = lookUp(handlers, path, args !== undefined, isOpen(entry), "entrypoint", "WorkerEntrypoint");
    return toBytes(await (args === undefined ? value : ReflectApply(value, receiver, fromBytes(given))));
  });
  return disposable(fromBytes(answer));
}

function fetch(entry, props, args) {
  return fetchBy(args, (sent, signal) => {
    signal.throwIfAborted();
    return elsewhere(async () => {
      const response = await fetchFrom(entry, sent.request(), fromBytes(props));
      if (!isResponse(response)) throw new TypeError("Incorrect type for Promise: the Promise did not resolve to 'Response'.");
      return response;
    });
  });
}

const fetches = new SafeWeakMap(); // stub -> what its fetch does

/** What all stubs of services have. */
class Fetcher {
  async fetch(...args) {
    const send = fetches.get(this);
    if (send === undefined) throw illegalInvocation();
    return await send(args);
  }
}
const none = { __proto__: null, value: undefined, writable: true, configurable: true };
ObjectDefineProperty(Fetcher.prototype, "constructor", none);
defineSurface(Fetcher);

/** A stub of a service: `send` is what its fetch does, `call` its methods, and `apply` what it does when it is called itself. */
function serviceOf(send, call, apply) {
  const target = apply === undefined ? {} : () => {};
  delete target.length;
  delete target.name;
  ObjectSetPrototypeOf(target, Fetcher.prototype);
  const stub = remoteOf(target, call, { apply });
  fetches.set(stub, send);
  return stub;
}

/** A stub of an entry point with these `props`, as bytes; it is called to get one with others. */
function stubOf(entry, props, apply) {
  return serviceOf((args) => fetch(entry, props, args), (path, args) => call(entry, props, path, args), apply);
}

/** The stub of an entry point of the main module. */
function loopbackOf(entry) {
  return stubOf(entry, toBytes({}), (_target, _self, [options]) => {
    if (typeof options !== "object" || options === null) {
      refuseArgument("LoopbackServiceStub", "(called as function)", 1, "Options");
    }
    return stubOf(entry, toBytes(options.props ?? {}));
  });
}

return { isEntry, loopbackOf, serviceOf };
})();
