// Errors on their way: what is told of something thrown, and what is thrown where it arrives.
(function () {
const { core, primordials } = __bootstrap;
const {
  AggregateError,
  Error,
  EvalError,
  ObjectAssign,
  ObjectDefineProperty,
  ObjectGetPrototypeOf,
  ObjectHasOwn,
  ObjectKeys,
  ObjectPrototype,
  RangeError,
  ReferenceError,
  SafeWeakMap,
  SyntaxError,
  TypeError,
  URIError,
} = primordials;
const { classOf, fromBytes, toBytes } = core.loadExtScript("ext:portside/parts/values.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

const KINDS = {
  __proto__: null,
  AggregateError,
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

/** What of an object's own properties can be passed on. */
function ownOf(value, names) {
  const own = {};
  for (let i = 0; i < names.length; i++) {
    try {
      const property = value[names[i]];
      toBytes(property);
      own[names[i]] = property;
    } catch {
      // What cannot be passed on stays here.
    }
  }
  return own;
}

/** The built-in class that an error is of. */
function kindOf(error) {
  for (let at = ObjectGetPrototypeOf(error); at !== null; at = ObjectGetPrototypeOf(at)) {
    const name = ObjectHasOwn(at, "constructor") ? at.constructor?.name : undefined;
    if (KINDS[name]?.prototype === at) return name;
  }
  return "Error";
}

/** What something thrown says, that is no error. */
function textOf(thrown) {
  return typeof thrown === "object" && thrown !== null ? `#<${classOf(thrown)}>` : String(thrown);
}

function withId(own, id) {
  if (id !== undefined) own.durableObjectId ??= id;
  return own;
}

function described(thrown, id) {
  if (thrown instanceof DOMException) {
    const { name, message, stack } = thrown;
    return { dom: name, message, stack: `${stack}`, own: ownOf(thrown, ObjectKeys(thrown)) };
  }
  if (core.isNativeError(thrown)) {
    const names = ObjectKeys(thrown), kind = kindOf(thrown);
    if (ObjectHasOwn(thrown, "cause")) names.push("cause");
    if (kind === "AggregateError") names.push("errors");
    const { name, message, stack } = thrown;
    return { kind, name: `${name}`, message: `${message}`, stack: `${stack}`, own: withId(ownOf(thrown, names), id) };
  }
  if (typeof thrown === "object" && thrown !== null && ObjectGetPrototypeOf(thrown) === ObjectPrototype) {
    return { object: withId(ownOf(thrown, ObjectKeys(thrown)), id) };
  }
  return { kind: "Error", message: textOf(thrown), own: {} };
}

/** What is told of something thrown, as bytes. `durableObjectId` is of the object whose method threw it. */
function thrownBytes(thrown, durableObjectId = undefined) {
  try {
    return toBytes(described(thrown, durableObjectId));
  } catch {
    // A getter of the application's, or more than fits.
    return toBytes({ kind: "Error", message: "an error that cannot be shown", own: {} });
  }
}

/** What somebody else threw. */
function remoteError(bytes) {
  const { dom, kind, name, message, stack, own, object } = fromBytes(bytes);
  if (object !== undefined) return ObjectAssign(object, { remote: true });
  const error = dom === undefined ? newError(kind, message) : new DOMException(message, dom);
  if (name !== undefined && error.name !== name) error.name = name;
  if (stack !== undefined) {
    ObjectDefineProperty(error, "stack", { __proto__: null, value: stack, writable: true, configurable: true });
  }
  return ObjectAssign(error, own, { remote: true });
}

function newError(kind, message) {
  if (kind !== "AggregateError") return new KINDS[kind](message);
  const error = new AggregateError([], message);
  delete error.errors; // it comes with the others
  return error;
}

const FLAGS = {
  __proto__: null,
  overloaded: { overloaded: true },
  unavailable: { retryable: true },
  reset: { durableObjectReset: true },
};

const resets = new SafeWeakMap(); // error -> what it was made of

/** What goes on to be thrown after an error that says that the object which was called, and no other, began anew. */
function brokenBy(error) {
  const failed = resets.get(error);
  return failed === undefined ? undefined : failure(failed, false);
}

/** What a call of a method ends with, or a request. */
function failure(failed, isRequest) {
  const { code, message, retryAfterMs, overloaded, thrown } = failed;
  const error = thrown === null ? new Error(message) : remoteError(thrown);
  if (code === "reset") {
    resets.set(error, failed);
    if (isRequest) error.remote = true;
    else delete error.remote;
  }
  ObjectAssign(error, overloaded ? FLAGS.overloaded : undefined, FLAGS[code]);
  if (code === "overloaded" && retryAfterMs > 0) error.retryAfterMs = retryAfterMs;
  return error;
}

return { brokenBy, failure, remoteError, thrownBytes };
})();
