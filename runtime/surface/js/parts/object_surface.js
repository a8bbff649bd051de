// What the interfaces of objects have in common.
(function () {
const { core } = __bootstrap;
const { refuseClones } = core.loadExtScript("ext:portside/parts.js");

/** Names an interface as the platform does, and makes what is of it uncloneable. */
function defineSurface(surface, name = surface.name) {
  Object.defineProperty(surface.prototype, Symbol.toStringTag, { value: name, configurable: true });
  refuseClones(surface.prototype, name);
}

return { defineSurface };
})();
