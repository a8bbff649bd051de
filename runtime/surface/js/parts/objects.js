// Durable Objects as others reach them: namespaces, ids, and stubs.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty, ObjectKeys, SafeWeakMap } = primordials;
const { currentActor, requestNumber } = core.loadExtScript("ext:portside/context.js");
const { answerOf, exchange } = core.loadExtScript("ext:portside/parts/calls.js");
const { fetchBy } = core.loadExtScript("ext:portside/parts/fetcher.js");
const { disposable } = core.loadExtScript("ext:portside/parts/methods.js");
const { refuseArgument } = core.loadExtScript("ext:portside/parts/object_arguments.js");
const { defineSurface, illegalInvocation } = core.loadExtScript("ext:portside/parts/object_surface.js");
const { remoteOf } = core.loadExtScript("ext:portside/parts/remote.js");
const { brokenBy } = core.loadExtScript("ext:portside/parts/thrown.js");
const { fromBytes, toBytes } = core.loadExtScript("ext:portside/parts/values.js");
const { op_object_id, op_object_id_check, op_stub_bond, op_stub_call, op_stub_fetch } = core.ops;

const make = Symbol("make");

function defineOwn(object, values) {
  const names = ObjectKeys(values);
  for (let i = 0; i < names.length; i++) {
    ObjectDefineProperty(object, names[i], { __proto__: null, value: values[names[i]], enumerable: true });
  }
}

/** What tells an object from the others of its class. */
class DurableObjectId {
  #class;
  #text;

  constructor(key, objectClass, text, name) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#class = objectClass;
    this.#text = text;
    defineOwn(this, { jurisdiction: undefined, name });
  }

  toString() {
    return this.#text;
  }

  equals(other) {
    if (classOf(other) === undefined) refuseArgument("DurableObjectId", "equals", 1, "DurableObjectId");
    return other.#text === this.#text;
  }

  static classOf(value) {
    return typeof value === "object" && value !== null && #text in value ? value.#class : undefined;
  }
}
const { classOf } = DurableObjectId;
delete DurableObjectId.classOf;
defineSurface(DurableObjectId);

function makeId(objectClass, text, name) {
  return new DurableObjectId(make, objectClass, text, name);
}

const ROUTING_MODES = ["primary-only"];

/** The objects of one class. */
class DurableObjectNamespace {
  #class;

  constructor(key, objectClass) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#class = objectClass;
  }

  #classOf(method, count, type) {
    if (count === 0) refuseArgument("DurableObjectNamespace", method, 1, type);
    return this.#class;
  }

  static #check(value) {
    if (typeof value !== "object" || value === null || !(#class in value)) throw illegalInvocation();
  }

  newUniqueId(options = undefined) {
    DurableObjectNamespace.#check(this);
    if (options?.jurisdiction !== undefined && options.jurisdiction !== null) refuseJurisdiction();
    return makeId(this.#class, op_object_id(this.#class, null));
  }

  idFromName(name) {
    DurableObjectNamespace.#check(this);
    const objectClass = this.#classOf("idFromName", arguments.length, "string");
    const text = `${name}`.toWellFormed();
    return makeId(objectClass, op_object_id(objectClass, text), text);
  }

  idFromString(text) {
    DurableObjectNamespace.#check(this);
    const objectClass = this.#classOf("idFromString", arguments.length, "string");
    return makeId(objectClass, op_object_id_check(objectClass, `${text}`));
  }

  get(id, options = undefined) {
    DurableObjectNamespace.#check(this);
    const objectClass = classOf(id);
    if (objectClass === undefined) refuseArgument("DurableObjectNamespace", "get", 1, "DurableObjectId");
    if (objectClass !== this.#class) {
      throw new TypeError("get called on DurableObjectNamespace with a DurableObjectId from a different namespace.");
    }
    checkOptions(options, "get");
    return stubOf(this.#class, id);
  }

  getByName(name, options = undefined) {
    DurableObjectNamespace.#check(this);
    this.#classOf("getByName", arguments.length, "string");
    checkOptions(options, "getByName");
    return this.get(this.idFromName(name));
  }

  jurisdiction(name) {
    DurableObjectNamespace.#check(this);
    if (name === undefined || name === null) return this;
    refuseJurisdiction();
  }
}
defineSurface(DurableObjectNamespace);

/** They say where an object is best placed: here there is one place. */
function checkOptions(options, method) {
  if (options === undefined || options === null) return;
  if (typeof options !== "object") refuseArgument("DurableObjectNamespace", method, 2, "GetDurableObjectOptions");
  const { retry, routingMode } = options;
  checkRetry(retry);
  if (routingMode !== undefined && routingMode !== null && !ROUTING_MODES.includes(`${routingMode}`)) {
    throw new RangeError(`unknown routingMode: ${routingMode}`);
  }
}

function checkRetry(retry) {
  if (retry === undefined) return;
  if (typeof retry !== "object" || retry === null) {
    throw new TypeError(
      "Incorrect type for the 'retry' field on 'GetDurableObjectOptions': the provided value is not of type 'RetryOptions'.",
    );
  }
  const check = (name, least, most) => {
    const value = retry[name];
    if (value === undefined || (Number.isInteger(value) && value >= least && value <= most)) return;
    throw new RangeError(`retry.${name} must be an integer between ${least} and ${most}`);
  };
  check("maxRetries", 0, 10);
  check("timeoutMs", 500, 60_000);
}

function refuseJurisdiction() {
  throw new Error("Jurisdiction restrictions are not implemented: all objects of an application are in its cluster.");
}

/** What calls of an object are made with. Once the object was reset under it, it stays broken. */
class Address {
  #class;
  #id;
  #bond = op_stub_bond();
  #broken;

  constructor(objectClass, id) {
    this.#class = objectClass;
    this.#id = id;
  }

  #parts() {
    if (this.#broken !== undefined) throw this.#broken;
    return [currentActor(), requestNumber(), this.#class, this.#id.toString(), this.#id.name ?? null, this.#bond];
  }

  fetch(args) {
    return this.#answer(() => {
      const once = (sent, signal) => exchange(sent, signal, (...parts) => op_stub_fetch(...this.#parts(), ...parts));
      return fetchBy(args, once);
    });
  }

  /** Calls the method at the end of `path`, or reads the property there. */
  call(path, args) {
    return this.#answer(async () => {
      const given = args === undefined ? null : toBytes(args);
      const number = op_stub_call(...this.#parts(), path, given);
      return disposable(fromBytes(await answerOf(number)));
    });
  }

  async #answer(answer) {
    try {
      return await answer();
    } catch (error) {
      this.#broken ??= brokenBy(error);
      throw error;
    }
  }
}

const addresses = new SafeWeakMap(); // stub -> its address, for the stub and the proxy that stands for it

function addressOf(stub) {
  const address = addresses.get(stub);
  if (address === undefined) throw illegalInvocation();
  return address;
}

function DurableObject() {
  throw new TypeError("Illegal constructor");
}
const { fetch, connect } = {
  async fetch(...args) {
    return await addressOf(this).fetch(args);
  },
  connect(address = undefined) {
    addressOf(this);
    if (address === undefined) refuseArgument("Fetcher", "connect", 1, "SocketAddress or string");
    throw new Error("connections to Durable Objects other than by fetch() and calls are not implemented");
  },
};
ObjectDefineProperty(DurableObject.prototype, "fetch", { __proto__: null, value: fetch, writable: true, configurable: true });
ObjectDefineProperty(DurableObject.prototype, "connect", { __proto__: null, value: connect, writable: true, configurable: true });
defineSurface(DurableObject);

/** A stub, which has a function for each name that it is asked for. */
function stubOf(objectClass, id) {
  const target = Object.create(DurableObject.prototype), address = new Address(objectClass, id);
  defineOwn(target, { name: id.name, id });
  const stub = remoteOf(target, (path, args) => address.call(path, args));
  addresses.set(stub, address);
  return stub;
}

/** The objects of the class that is declared with this number. */
function namespaceOf(objectClass) {
  return new DurableObjectNamespace(make, objectClass);
}

return { makeId, namespaceOf };
})();
