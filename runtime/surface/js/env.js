// The application's variables and bindings, `env`, and its own entry points and classes, `exports`: each is one object for the
// life of the isolate. Modules can have them before the isolate is any instance's, and before the main one is evaluated; they
// are filled when it begins to be one's, and when they are.
import { core, primordials } from "ext:core/mod.js";
import { currentRequest, InnerScope } from "ext:portside/context.js";
import { ActorScope } from "ext:portside/lifecycle.js";
import { load } from "ext:portside/parts.js";
const { op_env, op_object_classes } = core.ops;
const { JSONParse, ObjectKeys, Proxy, ReflectDefineProperty, ReflectDeleteProperty, ReflectGet, ReflectHas, ReflectOwnKeys } =
  primordials;
const { ReflectGetOwnPropertyDescriptor, ReflectSet } = primordials;

let known, module, hasBegun, areFilled, areExportsFilled, areWanted;

/** An isolate begins. */
export function startEnv() {
  known = { env: {}, exports: {} };
  hasBegun = areFilled = areExportsFilled = areWanted = false;
}

/** An instance begins. */
export function beginEnv() {
  hasBegun = true;
  if (areWanted) fill();
}

/** `given` is what the main module exports. */
export function setModule(given) {
  module = given;
}

const namespaceOf = (objectClass) => load("ext:portside/parts/objects.js").namespaceOf(objectClass);

/** Variables that are no strings come as JSON, and bindings as classes' numbers, or by their names alone. */
function fill() {
  areFilled = true;
  const { text, json, objects, assets } = op_env(), { env } = known;
  for (const name in text) env[name] = text[name];
  for (const name in json) env[name] = JSONParse(json[name]);
  for (const name in objects) env[name] = namespaceOf(objects[name]);
  for (let i = 0; i < assets.length; i++) env[assets[i]] = load("ext:portside/parts/assets.js").assets();
}

function fillExports() {
  areExportsFilled = true;
  const classes = op_object_classes(), { exports } = known;
  const { isEntry, loopbackOf } = load("ext:portside/parts/loopback.js");
  const names = ObjectKeys(module);
  for (let i = 0; i < names.length; i++) {
    const name = names[i], objectClass = classes.indexOf(name);
    if (objectClass !== -1) exports[name] = namespaceOf(objectClass);
    else if (isEntry(name, module[name])) exports[name] = loopbackOf(module[name]);
  }
}

/** `env`. */
export function env() {
  if (!areFilled) fill();
  return known.env;
}

/** `ctx.exports`; nothing is in it before the main module is evaluated, in an isolate that is an instance's. */
export function loopback() {
  if (!areExportsFilled && hasBegun && module !== undefined) fillExports();
  return known.exports;
}

/** What the code that runs is given for `env`. */
const current = () => currentRequest()?.env ?? known.env;

/** Both for a module that is loaded: the first is what `withEnv` says where that runs something. */
export function wanted() {
  areWanted = true;
  const imported = new Proxy(known.env, {
    __proto__: null,
    defineProperty: (_, name, property) => ReflectDefineProperty(current(), name, property),
    deleteProperty: (_, name) => ReflectDeleteProperty(current(), name),
    get: (_, name) => ReflectGet(current(), name),
    getOwnPropertyDescriptor: (_, name) => ReflectGetOwnPropertyDescriptor(current(), name),
    has: (_, name) => ReflectHas(current(), name),
    ownKeys: () => ReflectOwnKeys(current()),
    set: (_, name, value) => ReflectSet(current(), name, value),
  });
  const exports = new Proxy(known.exports, {
    __proto__: null,
    get: (_, name) => ReflectGet(loopback(), name),
    getOwnPropertyDescriptor: (_, name) => ReflectGetOwnPropertyDescriptor(loopback(), name),
    has: (_, name) => ReflectHas(loopback(), name),
    ownKeys: () => ReflectOwnKeys(loopback()),
  });
  return { env: imported, exports };
}

/** Runs `f` with another `env` for what imports that. */
export function withEnv(other, f) {
  return new InnerScope(currentRequest() ?? new ActorScope(0), { env: other }).enter(f);
}
