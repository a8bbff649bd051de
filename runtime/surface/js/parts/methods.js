// What others may call of an object: methods of its class, and its getters.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectGetPrototypeOf, ObjectHasOwn, ObjectPrototype, ReflectGet, SafeSet, SymbolDispose, TypeError } =
  primordials;
const { RpcTarget } = core.loadExtScript("ext:portside/parts/entrypoints.js");

/** What the platform itself calls, or means. */
const RESERVED = new SafeSet(["alarm", "connect", "dup", "fetch", "webSocketClose", "webSocketError", "webSocketMessage"]);

function missing(name) {
  return new TypeError(`The RPC receiver does not implement the method "${name}".`);
}

/** A property of an object's class, not of its own. */
function ofClass(receiver, name) {
  for (let at = ObjectGetPrototypeOf(receiver); at !== null && at !== ObjectPrototype; at = ObjectGetPrototypeOf(at)) {
    if (ObjectHasOwn(at, name)) {
      if (name === "constructor") break;
      return ReflectGet(at, name, receiver);
    }
  }
  throw missing(name);
}

/** A property of what another property is: of a plain object, or of one that may be called itself. */
function ofValue(receiver, name) {
  if (typeof receiver === "object" && receiver !== null) {
    if (receiver instanceof RpcTarget) return ofClass(receiver, name);
    if (ObjectGetPrototypeOf(receiver) === ObjectPrototype && ObjectHasOwn(receiver, name)) return receiver[name];
  }
  throw missing(name);
}

/**
 * What a call is of: the property at the end of `path`, and what has that. Throws if there is none, or if `isCalled` and it is
 * no function. `isOpen` says whether the class of `target` has declared that others may call it.
 */
function lookUp(target, path, isCalled, isOpen, kind, base) {
  if (!isOpen) {
    throw new TypeError(
      `The receiving ${kind} does not support RPC, because its class was not declared with \`extends ${base}\`. ` +
        `In order to enable RPC, make sure your class extends the special class \`${base}\`, which can be imported ` +
        'from the module "cloudflare:workers".',
    );
  }
  if (RESERVED.has(path[0])) throw new TypeError(`'${path[0]}' is a reserved method and cannot be called over RPC.`);
  let receiver = target, value = ofClass(target, path[0]);
  for (let i = 1; i < path.length; i++) {
    receiver = value;
    value = ofValue(receiver, path[i]);
  }
  const name = path[path.length - 1];
  if (value === undefined) throw missing(name);
  if (isCalled && typeof value !== "function") throw new TypeError(`"${name}" is not a function.`);
  return { receiver, value };
}

/** A result, which a caller may dispose of as of anything that another side keeps for it. */
function disposable(result) {
  if (typeof result === "object" && result !== null && !(SymbolDispose in result)) {
    Object.defineProperty(result, SymbolDispose, { value: () => {}, writable: true, configurable: true });
  }
  return result;
}

return { disposable, lookUp };
})();
