// Request, which knows whether it opens a WebSocket again, and in programs for Cloudflare has `cf`: what its network tells of a
// request, and is told.
(function () {
const { core, primordials } = __bootstrap;
const { JSONParse, JSONStringify, ObjectDefineProperty, Proxy, SafeWeakMap } = primordials;
const { op_compatibility } = core.ops;

const request = core.loadUnmended("ext:deno_fetch/23_request.js");

ObjectDefineProperty(request.Request.prototype, "reconnected", {
  __proto__: null,
  get() {
    return request.toInnerRequest(this)?.isReconnected === true;
  },
  configurable: true,
  enumerable: true,
});

const OF_CLOUDFLARE = 1 << 5; // of op_compatibility
if ((op_compatibility() & OF_CLOUDFLARE) === 0) return request;

const known = new SafeWeakMap(); // Request -> its cf

/** Nothing is known of the network by which a request came in: it has none of the fields that Cloudflare's have. */
function cfOf(made) {
  const cf = known.get(made);
  if (cf !== undefined || !request.toInnerRequest(made)?.isIncoming) return cf;
  const empty = {};
  known.set(made, empty);
  return empty;
}

/** The same for another Request. */
function copyOf(made) {
  const cf = cfOf(made);
  return cf === undefined ? undefined : JSONParse(JSONStringify(cf));
}

function keep(made, cf) {
  if (cf !== undefined) known.set(made, cf);
  return made;
}

/** The platform's Request, which also keeps `cf`. */
const Request = new Proxy(request.Request, {
  __proto__: null, // what it does not have is looked up there
  construct(target, args, newTarget) {
    const { 0: input, 1: init } = args;
    const made = Reflect.construct(target, args, newTarget);
    const given = init?.cf;
    if (typeof given === "object" && given !== null) return keep(made, given);
    return input instanceof request.Request ? keep(made, copyOf(input)) : made;
  },
});
request.Request.prototype.constructor = Request;
ObjectDefineProperty(request.Request.prototype, "cf", {
  __proto__: null,
  get() {
    return cfOf(this);
  },
  configurable: true,
  enumerable: true,
});

const { clone } = request.Request.prototype;
request.Request.prototype.clone = {
  clone() {
    return keep(clone.call(this), copyOf(this));
  },
}.clone;

return { ...request, Request };
})();
