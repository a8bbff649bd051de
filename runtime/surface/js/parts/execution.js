// What the handlers of a stateless Worker are given for one event, `ctx`, and how they are run.
(function () {
const { core } = __bootstrap;
const { env, loopback } = core.loadExtScript("ext:portside/env.js");
const { waitUntil } = core.loadExtScript("ext:portside/lifecycle.js");
const { refuseArgument } = core.loadExtScript("ext:portside/parts/object_arguments.js");
const { defineSurface, illegalInvocation } = core.loadExtScript("ext:portside/parts/object_surface.js");

const make = Symbol("make");

/** `ctx`. */
class ExecutionContext {
  #isContext = true;

  constructor(key, props) {
    if (key !== make) throw new TypeError("Illegal constructor");
    Object.defineProperty(this, "props", { value: props, enumerable: true });
  }

  static #check(value) {
    if (typeof value !== "object" || value === null || !(#isContext in value)) throw illegalInvocation();
  }

  get exports() {
    return loopback();
  }

  waitUntil(promise) {
    ExecutionContext.#check(this);
    if (arguments.length === 0) refuseArgument("ExecutionContext", "waitUntil", 1, "Promise");
    waitUntil(promise);
  }

  passThroughOnException() {
    ExecutionContext.#check(this);
  }
}
defineSurface(ExecutionContext);

function contextOf(props) {
  return new ExecutionContext(make, props);
}

/** The handlers of an entry point: it is an object that has them, or a class that is made anew for each event. */
function handlersOf(entry, props) {
  const ctx = contextOf(props);
  if (typeof entry !== "function") return { handlers: entry, rest: [env(), ctx] };
  return { handlers: new entry(ctx, env()), rest: [] };
}

/** Has an entry point answer a request. */
function fetchFrom(entry, request, props) {
  const { handlers, rest } = handlersOf(entry, props);
  if (typeof handlers?.fetch !== "function") throw new Error("Handler does not export a fetch() function.");
  return handlers.fetch(request, ...rest);
}

return { fetchFrom, handlersOf };
})();
