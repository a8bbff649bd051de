// Durable Objects as others reach them: namespaces, ids, and stubs.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty, Proxy } = primordials;
const { deserialize, serialize } = core.loadExtScript("ext:portside/clones.js");
const { currentActor } = core.loadExtScript("ext:portside/context.js");
const { refuseClones } = core.loadExtScript("ext:portside/parts.js");
const { answerOf, checkedSize, responseTo, send } = core.loadExtScript("ext:portside/parts/calls.js");
const { Request } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { op_object_id, op_object_id_check, op_stub_call, op_stub_fetch } = core.ops;

const make = Symbol("make");

/** What tells an object from the others of its class. */
class DurableObjectId {
  #class;
  #text;

  constructor(key, objectClass, text, name) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#class = objectClass;
    this.#text = text;
    ObjectDefineProperty(this, "name", { __proto__: null, value: name, enumerable: true });
  }

  toString() {
    return this.#text;
  }

  equals(other) {
    return #text in other && other.#text === this.#text;
  }

  static classOf(value) {
    return typeof value === "object" && value !== null && #text in value ? value.#class : undefined;
  }
}
const { classOf } = DurableObjectId;
delete DurableObjectId.classOf;
refuseClones(DurableObjectId.prototype, "DurableObjectId");

function makeId(objectClass, text, name) {
  return new DurableObjectId(make, objectClass, text, name);
}

/** The objects of one class. */
class DurableObjectNamespace {
  #class;

  constructor(key, objectClass) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#class = objectClass;
  }

  newUniqueId(options = undefined) {
    if (options?.jurisdiction !== undefined && options.jurisdiction !== null) refuseJurisdiction();
    return makeId(this.#class, op_object_id(this.#class, null));
  }

  idFromName(name) {
    if (arguments.length === 0) throw new TypeError("idFromName() needs a name");
    const text = `${name}`;
    return makeId(this.#class, op_object_id(this.#class, text), text);
  }

  idFromString(text) {
    if (arguments.length === 0) throw new TypeError("idFromString() needs an id");
    return makeId(this.#class, op_object_id_check(this.#class, `${text}`));
  }

  get(id, options = undefined) {
    const objectClass = classOf(id);
    if (objectClass === undefined) {
      throw new TypeError("Failed to execute 'get' on 'DurableObjectNamespace': parameter 1 is not of type 'DurableObjectId'.");
    }
    if (objectClass !== this.#class) {
      throw new TypeError("get called on DurableObjectNamespace with a DurableObjectId from a different namespace.");
    }
    void options; // hints where to place it: here there is one place
    return stubOf(this.#class, id);
  }

  getByName(name, options = undefined) {
    return this.get(this.idFromName(name), options);
  }

  jurisdiction(name) {
    if (name === undefined || name === null) return this;
    refuseJurisdiction();
  }
}
refuseClones(DurableObjectNamespace.prototype, "DurableObjectNamespace");

function refuseJurisdiction() {
  throw new Error("Jurisdiction restrictions are not implemented: all objects of an application are in its cluster.");
}

/** What calls of an object are made with. Once the object was reset under it, it stays broken. */
class DurableObjectStub {
  #class;
  #broken;

  constructor(key, objectClass, id) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#class = objectClass;
    ObjectDefineProperty(this, "id", { __proto__: null, value: id, enumerable: true });
    ObjectDefineProperty(this, "name", { __proto__: null, value: id.name, enumerable: true });
  }

  #address() {
    return [currentActor(), this.#class, this.id.toString(), this.id.name ?? null];
  }

  static async fetch(stub, input, init) {
    const request = new Request(input, init);
    if (stub.#broken !== undefined) throw stub.#broken;
    const number = send(request, (...parts) => op_stub_fetch(...stub.#address(), ...parts));
    return await stub.#answer(() => responseTo(number, request));
  }

  /** Calls the method at the end of `path`, or reads the property there. */
  static async call(stub, path, args) {
    const given = args === undefined ? null : checkedSize(serialize(args));
    if (stub.#broken !== undefined) throw stub.#broken;
    const number = op_stub_call(...stub.#address(), path, given);
    return await stub.#answer(async () => deserialize(await answerOf(number)));
  }

  async #answer(answer) {
    try {
      return await answer();
    } catch (error) {
      if (error?.durableObjectReset === true) this.#broken = error;
      throw error;
    }
  }
}
const { call, fetch } = DurableObjectStub;
delete DurableObjectStub.call;
delete DurableObjectStub.fetch;
refuseClones(DurableObjectStub.prototype, "DurableObject");

/** A stub, which has a function for each name that it is asked for. */
function stubOf(objectClass, id) {
  const stub = new DurableObjectStub(make, objectClass, id);
  return new Proxy(stub, {
    __proto__: null,
    get(_, name) {
      if (name === "id" || name === "name" || typeof name === "symbol") return stub[name];
      if (name === "then") return undefined; // what is awaited is the stub itself
      if (name === "fetch") return (input, init) => fetch(stub, input, init);
      if (name === "constructor") return DurableObjectStub;
      return remote(stub, [name]);
    },
    has: () => true,
  });
}

/** A method that can be called, or a property that can be awaited; which it is only the object knows. */
function remote(stub, path) {
  return new Proxy(function () {}, {
    __proto__: null,
    apply: (_target, _self, args) => call(stub, path, args),
    get(_, name) {
      if (typeof name === "symbol") return undefined;
      if (name === "then" || name === "catch" || name === "finally") {
        return (...settled) => call(stub, path, undefined)[name](...settled);
      }
      return remote(stub, [...path, name]);
    },
  });
}

/** The objects of the class that is declared with this number. */
function namespaceOf(objectClass) {
  return new DurableObjectNamespace(make, objectClass);
}

return { makeId, namespaceOf };
})();
