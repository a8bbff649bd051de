// Parts of the surface, which are loaded when they are first used: most instances use few of them, and each costs memory.
//
// A part is a script whose value has its exports: one of deno_*'s, one of ours, or one of ours in place of deno_*'s, whose
// mistakes it mends. The application may have run before, and may have changed what all code finds in prototypes: what a part
// does while it is loaded uses primordials only.
import { core, internals, primordials } from "ext:core/mod.js";
import { countedHere } from "ext:portside/buffers.js";
const { op_part } = core.ops;
const { ObjectKeys, ObjectSetPrototypeOf, ReflectApply, StringPrototypeCharCodeAt } = primordials;

const bootstrap = core.loadExtScript("ext:portside/bootstrap.js");

/** The operations that parts see. Who replaces one must do so before whoever uses it is loaded. */
export const { ops } = bootstrap.core;

/** deno_core's functions, as parts see them. */
export const bootstrapCore = bootstrap.core;

/** Which of our scripts stand in for deno_*'s. They get these by `core.loadUnmended`. */
const MENDED = {
  __proto__: null,
  "ext:deno_crypto/00_crypto.js": "ext:portside/parts/crypto.js",
  "ext:deno_fetch/22_body.js": "ext:portside/parts/bodies.js",
  "ext:deno_fetch/23_request.js": "ext:portside/parts/request.js",
  "ext:deno_fetch/23_response.js": "ext:portside/parts/response.js",
  "ext:deno_fetch/26_fetch.js": "ext:portside/parts/fetch.js",
  "ext:deno_web/00_url.js": "ext:portside/parts/url.js",
  "ext:deno_web/01_console.js": "ext:portside/parts/console.js",
  "ext:deno_web/01_urlpattern.js": "ext:portside/parts/urlpattern.js",
  "ext:deno_web/09_file.js": "ext:portside/parts/blobs.js",
  "ext:deno_web/13_message_port.js": "ext:portside/parts/messages.js",
  "ext:deno_web/14_compression.js": "ext:portside/parts/compression.js",
  "ext:deno_web/15_performance.js": "ext:portside/parts/performance.js",
};

/** What the standards call serializable. */
const CLONEABLE = {
  __proto__: null,
  Blob: true,
  CryptoKey: true,
  DOMException: true,
  File: true,
  QuotaExceededError: true,
};

const unmended = { __proto__: null };
const loaded = { __proto__: null };

/** The exports of a part. */
export function load(specifier) {
  return kept(loaded, specifier, () => loadUnmended(MENDED[specifier] ?? specifier));
}

/** Whether a part is loaded; what only it can make does not exist before. */
export function isLoaded(specifier) {
  return specifier in loaded;
}

/** Has parts find modules' exports, by their specifiers, as those of parts. */
export function provide(modules) {
  const specifiers = ObjectKeys(modules);
  for (let i = 0; i < specifiers.length; i++) loaded[specifiers[i]] = modules[specifiers[i]];
}

/** What is kept, or else made and kept. Code of the application's that runs meanwhile may have it made before: that stays. */
function kept(all, specifier, make) {
  if (all[specifier] !== undefined) return all[specifier];
  const made = make();
  return all[specifier] ??= made;
}

/** The exports of deno_*'s own script, which is given those that are named here in place of what it loads. */
function loadUnmended(specifier, others = undefined) {
  const given = others === undefined ? bootstrap : { __proto__: bootstrap, core: withOthers(others) };
  return kept(unmended, specifier, () => run(specifier, given));
}

function withOthers(others) {
  return { __proto__: bootstrap.core, loadExtScript: (specifier) => others[specifier] ?? load(specifier) };
}

function run(specifier, given) {
  return whole(() => {
    const part = op_part(specifier);
    // What is loaded while the snapshot is made is in it.
    const exports = part === null ? core.loadExtScript(specifier) : ReflectApply(part, undefined, [given]);
    refuseClonesOf(exports);
    return exports;
  });
}

/** Stack that loading a part may need, with all that it needs: arguments of one call, and calls within each other. */
const CALL_ARGUMENTS = 1024, CALLS = 32;

let isWhole = false;

/** Does what must not stop halfway: throws a RangeError before it begins if the stack has no room for it. */
export function whole(work) {
  if (isWhole) return work();
  reach(CALLS);
  isWhole = true;
  try {
    return work();
  } finally {
    isWhole = false;
  }
}

/** Uses as much stack, whatever V8 has made of this code. */
function reach(calls) {
  if (calls > 0) ReflectApply(reach, undefined, { __proto__: null, 0: calls - 1, length: CALL_ARGUMENTS });
}

/**
 * Makes objects with this prototype, and those that inherit from it, uncloneable. V8 takes an object of the platform for a
 * plain one, unless it has this brand.
 */
export function refuseClones(prototype, name) {
  if (core.hostObjectBrand in prototype) return;
  // Writable, for deno_web's MessagePort assigns its own.
  const brand = { __proto__: null, value: name, writable: true, configurable: true };
  primordials.ObjectDefineProperty(prototype, core.hostObjectBrand, brand);
}

const [A, Z] = [65, 90];

/** The same for all interfaces of a part, but for those that the standards call serializable. */
function refuseClonesOf(exports) {
  const names = ObjectKeys(exports);
  for (let i = 0; i < names.length; i++) {
    const name = names[i], first = StringPrototypeCharCodeAt(name, 0), value = exports[name];
    const isInterface = first >= A && first <= Z && typeof value === "function" && typeof value.prototype === "object";
    if (isInterface && !CLONEABLE[name]) refuseClones(value.prototype, name);
  }
}

bootstrap.core.loadExtScript = load;
bootstrap.core.loadUnmended = loadUnmended;

// What parts register. deno_core's own functions refuse what is registered again by a part whose loading failed before.
const transferable = { __proto__: null };
bootstrap.core.registerTransferableResource = (name, send, receive) => {
  transferable[name] = { __proto__: null, send, receive };
};
bootstrap.core.getTransferableResource = (name) => transferable[name];
bootstrap.core.registerCloneableResource = (name, deserialize) => {
  core.getCloneableDeserializers()[name] = deserialize;
};
bootstrap.core.deserialize = (bytes, options) => countedHere(core.deserialize(bytes, options));
bootstrap.core.structuredClone = (value, deserializers) => countedHere(core.structuredClone(value, deserializers));

/** Has what parts add to an object of theirs pass by the application, which can have setters in Object.prototype. */
export function hide(object) {
  ObjectSetPrototypeOf(object, null);
}
hide(bootstrap.internals);
internals.load = load; // for what deno_core loads itself
