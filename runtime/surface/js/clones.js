// Structured clones: one way for storage, ports, MessagePort and structuredClone, and one answer to what can be cloned.
import { core, primordials } from "ext:core/mod.js";
import { countedClone } from "ext:portside/buffers.js";
import { isLoaded, load } from "ext:portside/parts.js";
const { TypedArrayPrototypeSet, TypedArrayPrototypeSubarray, Uint8Array } = primordials;

const { DOMException } = load("ext:deno_web/01_dom_exception.js");

const KEYS = "ext:portside/parts/keys.js";
const registered = core.getCloneableDeserializers();

/** What a part registers as it is loaded, which a clone may be the first to need. */
function registeredBy(specifier, name) {
  return (data) => {
    load(specifier);
    return registered[name](data);
  };
}

const FORMAT = {
  forStorage: true, // refuses what cannot leave the isolate: shared memory, WebAssembly modules
  deserializers: {
    __proto__: registered,
    Blob: registeredBy("ext:deno_web/09_file.js", "Blob"),
    File: registeredBy("ext:deno_web/09_file.js", "File"),
    CryptoKey: registeredBy("ext:deno_crypto/00_crypto.js", "CryptoKey"),
  },
};

export function dataCloneError(message) {
  throw new DOMException(message, "DataCloneError");
}

// V8 refuses shared memory itself, with plain errors, at either end.
const V8_REFUSAL = /could not be cloned\.$|^could not deserialize value$/;

/** What is thrown for what a clone has thrown: one kind of error for all that cannot be cloned. */
function refusal(error) {
  if (V8_REFUSAL.test(error?.message) && [Error, RangeError, TypeError].includes(error.constructor)) {
    return new DOMException(error.message, "DataCloneError");
  }
  return error;
}

/** Runs `clone`, which throws no other error for what cannot be cloned. */
function cloning(clone) {
  try {
    return clone();
  } catch (error) {
    throw refusal(error);
  }
}

/** First byte of a clone that has keys beside it; V8's begin with 0xff. */
const WITH_KEYS = 1;

/** Runs `clone`, whose result stays in this isolate. */
export function cloneHere(clone) {
  return cloning(isLoaded(KEYS) ? () => load(KEYS).cloneWithinIsolate(clone) : clone);
}

const formatWith = (hosts) => (hosts === undefined ? FORMAT : { __proto__: null, ...FORMAT, hostObjects: hosts });
const write = (value, hosts) => core.serialize(value, formatWith(hosts), dataCloneError);
const read = (bytes, hosts) => countedClone(bytes, core.deserialize(bytes, formatWith(hosts)));

/**
 * Structured-clone bytes of `value`; a `DataCloneError` where there are none. Of `hosts`, objects that cannot be cloned, there
 * are only their places in this list.
 */
export function serialize(value, hosts = undefined) {
  try {
    // There are no keys before what makes them is loaded.
    return isLoaded(KEYS) ? serializeWithKeys(value, hosts) : write(value, hosts);
  } catch (error) {
    throw refusal(error);
  }
}

function serializeWithKeys(value, hosts) {
  const { body, keys } = load(KEYS).cloneWithKeys(() => write(value, hosts));
  if (keys === undefined) return body;
  const both = core.serialize({ body, keys }, FORMAT);
  const bytes = new Uint8Array(both.length + 1);
  bytes[0] = WITH_KEYS;
  TypedArrayPrototypeSet(bytes, both, 1);
  return bytes;
}

/** The value of such bytes, with these objects in the places of the others. */
export function deserialize(bytes, hosts = undefined) {
  if (bytes[0] === WITH_KEYS) {
    const { body, keys } = core.deserialize(TypedArrayPrototypeSubarray(bytes, 1), FORMAT);
    return load(KEYS).revive(keys, () => read(body, hosts));
  }
  return isLoaded(KEYS) ? load(KEYS).revive(undefined, () => read(bytes, hosts)) : read(bytes, hosts);
}
