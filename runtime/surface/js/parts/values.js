// What is passed in calls: structured clones, of plain data, what the platform can pass on, and errors with their properties.
(function () {
const { core, primordials } = __bootstrap;
const {
  AggregateErrorPrototype,
  ArrayBufferIsView,
  ArrayIsArray,
  ArrayPrototypePush,
  Error,
  ErrorPrototype,
  MapPrototypeForEach,
  ObjectAssign,
  ObjectGetPrototypeOf,
  ObjectHasOwn,
  ObjectKeys,
  ObjectPrototype,
  ObjectPrototypeIsPrototypeOf,
  ObjectSetPrototypeOf,
  SafeSet,
  SetPrototypeAdd,
  SetPrototypeForEach,
  SetPrototypeHas,
  TypedArrayPrototypeSet,
  TypedArrayPrototypeSubarray,
  Uint8Array,
  WeakRefPrototype,
} = primordials;
const { dataCloneError, deserialize, serialize } = core.loadExtScript("ext:portside/clones.js");
const { staticBody } = core.loadExtScript("ext:portside/parts/http.js");
const { Headers, headerListFromHeaders, headersFromHeaderList } = core.loadExtScript("ext:deno_fetch/20_headers.js");
const { fromInnerRequest, newInnerRequest, Request, toInnerRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { fromInnerResponse, isResponse, newInnerResponse, socketOf, toInnerResponse } = core.loadExtScript(
  "ext:deno_fetch/23_response.js",
);

const MOST_BYTES = 32 << 20;

/** An array is looked through by its indices up to this length. */
const MOST_ELEMENTS = 1 << 20;

/** First byte of what has more than a clone; V8's begin with 0xff, and those with keys with 1. */
const WITH_MORE = 2;

function refuse(name) {
  dataCloneError(`Could not serialize object of type "${name}". This type does not support serialization.`);
}

/** The name of an object's class, as V8 would tell it. */
function classOf(value) {
  try {
    const { name } = value.constructor;
    return typeof name === "string" && name !== "" ? name : "Object";
  } catch {
    return "Object";
  }
}

// ---- what is looked for

/** What V8 clones by itself, or refuses with a text of its own. */
function isOfLanguage(value) {
  return ArrayBufferIsView(value) || core.isAnyArrayBuffer(value) || core.isDate(value) || core.isRegExp(value) ||
    core.isBoxedPrimitive(value) || core.isPromise(value) || core.isProxy(value) || core.isWeakMap(value) ||
    core.isWeakSet(value) || core.isGeneratorObject(value) || core.isMapIterator(value) || core.isSetIterator(value) ||
    core.isArgumentsObject(value) || core.isModuleNamespaceObject(value) || value === globalThis ||
    ObjectPrototypeIsPrototypeOf(WeakRefPrototype, value);
}

/** Walks over a value, and refuses instances of classes. */
class Walk {
  #seen = new SafeSet();
  platform = []; // objects of the platform
  errors = []; // errors that have properties, each with these

  visit(value) {
    if (value === null || typeof value !== "object" || SetPrototypeHas(this.#seen, value)) return;
    SetPrototypeAdd(this.#seen, value);
    if (ArrayIsArray(value)) this.#elements(value);
    else if (ObjectGetPrototypeOf(value) === ObjectPrototype) this.#properties(value);
    else this.#special(value);
  }

  #elements(array) {
    if (array.length > MOST_ELEMENTS) return this.#properties(array); // it may have hardly any
    for (let i = 0; i < array.length; i++) this.visit(array[i]);
  }

  #properties(value) {
    const keys = ObjectKeys(value);
    for (let i = 0; i < keys.length; i++) this.visit(value[keys[i]]);
  }

  #special(value) {
    if (core.isMap(value)) {
      MapPrototypeForEach(value, (item, key) => {
        this.visit(key);
        this.visit(item);
      });
    } else if (core.isSet(value)) SetPrototypeForEach(value, (item) => this.visit(item));
    else if (core.isNativeError(value)) this.#error(value);
    else if (!isOfLanguage(value)) this.#platform(value);
  }

  #error(error) {
    const own = {};
    const keys = ObjectKeys(error);
    for (let i = 0; i < keys.length; i++) own[keys[i]] = error[keys[i]];
    const isAggregate = ObjectPrototypeIsPrototypeOf(AggregateErrorPrototype, error);
    if (isAggregate && ObjectHasOwn(error, "errors")) own.errors = error.errors;
    this.#properties(own);
    if (ObjectHasOwn(error, "cause")) this.visit(error.cause);
    if (isAggregate || ObjectKeys(own).length > 0) ArrayPrototypePush(this.errors, { error, own, isAggregate });
  }

  #platform(value) {
    if (!(core.hostObjectBrand in value)) refuse(classOf(value));
    const brand = value[core.hostObjectBrand];
    if (typeof brand === "function") return; // it tells a clone what it is
    if (!isCarried(value)) refuse(classOf(value));
    ArrayPrototypePush(this.platform, value);
  }
}

// ---- objects of the platform

function isCarried(value) {
  return ObjectPrototypeIsPrototypeOf(Headers.prototype, value) || ObjectPrototypeIsPrototypeOf(Request.prototype, value) ||
    isResponse(value);
}

/** The bytes of a body that is not a stream; the body is used by that. */
function bytesOf(body) {
  if (body === null) return null;
  const { body: known, consumed } = body.streamOrStatic;
  if (known === undefined || consumed) refuse("ReadableStream");
  body.streamOrStatic.consumed = true;
  return typeof known === "string" ? core.encode(known) : known;
}

function pack(value) {
  if (ObjectPrototypeIsPrototypeOf(Headers.prototype, value)) return { headers: headerListFromHeaders(value) };
  if (isResponse(value)) {
    if (socketOf(value) !== undefined) refuse("WebSocket");
    const inner = toInnerResponse(value);
    return { response: inner.status, text: inner.statusMessage, list: inner.headerList, body: bytesOf(inner.body) };
  }
  const inner = toInnerRequest(value);
  const { method, headerList, redirectMode } = inner;
  return { request: inner.url(), method, list: headerList, redirect: redirectMode, body: bytesOf(inner.body) };
}

function unpack({ headers, request, method, redirect, response, text, list, body }) {
  if (headers !== undefined) return headersFromHeaderList(headers, "none");
  if (response !== undefined) {
    const inner = newInnerResponse(response, text);
    inner.headerList = list;
    if (body !== null) inner.body = staticBody(body);
    return fromInnerResponse(inner, "response");
  }
  const inner = newInnerRequest(method, request, () => list, body === null ? null : staticBody(body), false);
  inner.redirectMode = redirect;
  return fromInnerRequest(inner, "request");
}

// ---- bytes

function checkedSize(bytes) {
  if (bytes.length > MOST_BYTES) {
    throw new Error(
      `Serialized RPC arguments or return values are limited to 32MiB, but the size of this value was: ${bytes.length} bytes.`,
    );
  }
  return bytes;
}

/** The bytes by which a value is passed. Throws a `DataCloneError` for what cannot be, an Error for what is too large. */
function toBytes(value) {
  const walk = new Walk();
  walk.visit(value);
  const { errors, platform } = walk;
  if (errors.length === 0 && platform.length === 0) return checkedSize(serialize(value));
  const body = serialize({ value, errors }, platform);
  const parts = [];
  for (let i = 0; i < platform.length; i++) ArrayPrototypePush(parts, pack(platform[i]));
  const both = serialize({ body, parts });
  const bytes = new Uint8Array(both.length + 1);
  bytes[0] = WITH_MORE;
  TypedArrayPrototypeSet(bytes, both, 1);
  return checkedSize(bytes);
}

/** The value that was passed. */
function fromBytes(bytes) {
  if (bytes[0] !== WITH_MORE) return deserialize(bytes);
  const { body, parts } = deserialize(TypedArrayPrototypeSubarray(bytes, 1));
  const platform = [];
  for (let i = 0; i < parts.length; i++) ArrayPrototypePush(platform, unpack(parts[i]));
  const { value, errors } = deserialize(body, platform);
  for (let i = 0; i < errors.length; i++) {
    const { error, own, isAggregate } = errors[i];
    if (isAggregate && ObjectGetPrototypeOf(error) === ErrorPrototype) ObjectSetPrototypeOf(error, AggregateErrorPrototype);
    ObjectAssign(error, own);
  }
  return value;
}

return { classOf, fromBytes, toBytes };
})();
