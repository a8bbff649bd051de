// What calls are made with: a function for each name that it is asked for.
(function () {
const { core, primordials } = __bootstrap;
const { Proxy, TypeError } = primordials;

/**
 * A stub of `target`, which has what it and its prototype have, and else what `call(path, args)` calls or, where there are no
 * arguments, reads. `traps` are of a proxy.
 */
function remoteOf(target, call, traps = undefined) {
  return new Proxy(target, {
    __proto__: null,
    get(_, name) {
      if (typeof name === "symbol" || name in target) return target[name];
      if (name === "then") return undefined; // what is awaited is the stub itself
      return name === "toJSON" ? shown(target, call) : property(call, [name]);
    },
    has: (_, name) => (typeof name === "symbol" ? name in target : name !== "then"),
    ...traps,
  });
}

/** A method of that name, but for JSON.stringify(), which shows the stub. */
function shown(target, call) {
  return (...args) => (args.length === 1 && typeof args[0] === "string" ? { ...target } : call(["toJSON"], args));
}

/** A method that can be called, or a property that can be awaited; which it is only the other side knows. */
function property(call, path) {
  return new Proxy(function () {}, {
    __proto__: null,
    apply: (_target, _self, args) => call(path, args),
    construct() {
      throw new TypeError("a remote method is no constructor");
    },
    get(_, name) {
      if (typeof name === "symbol") return undefined;
      if (name === "then" || name === "catch" || name === "finally") {
        return (...settled) => call(path, undefined)[name](...settled);
      }
      return property(call, [...path, name]);
    },
  });
}

return { remoteOf };
})();
