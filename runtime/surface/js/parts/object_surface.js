// What the interfaces of objects have in common.
(function () {
const { core } = __bootstrap;
const { refuseClones } = core.loadExtScript("ext:portside/parts.js");

/** Names an interface as the platform does, and makes what is of it uncloneable. */
function defineSurface(surface, name = surface.name) {
  Object.defineProperty(surface.prototype, Symbol.toStringTag, { value: name, configurable: true });
  refuseClones(surface.prototype, name);
}

/** What is thrown for a method that is called on what it is not of. */
function illegalInvocation() {
  return new TypeError(
    "Illegal invocation: function called with incorrect `this` reference. " +
      "See https://developers.cloudflare.com/workers/observability/errors/#illegal-invocation-errors for details.",
  );
}

return { defineSurface, illegalInvocation };
})();
