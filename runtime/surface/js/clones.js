// Structured clones: one way for storage, ports, MessagePort and structuredClone, and one answer to what can be cloned.
import { core, primordials } from "ext:core/mod.js";
import { cloneWithinIsolate, cloneWithKeys, revive } from "ext:portside/keys.js";
const { TypedArrayPrototypeSet, TypedArrayPrototypeSubarray, Uint8Array } = primordials;

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { MessagePort, structuredClone: platformClone } = core.loadExtScript("ext:deno_web/13_message_port.js");
const { ReadableStream, TransformStream, WritableStream } = core.loadExtScript("ext:deno_web/06_streams.js");

const FORMAT = {
  forStorage: true, // refuses what cannot leave the isolate: shared memory, WebAssembly modules
  deserializers: core.getCloneableDeserializers(),
};
const TRANSFERABLE = [ArrayBuffer, MessagePort, ReadableStream, WritableStream, TransformStream];

function dataCloneError(message) {
  throw new DOMException(message, "DataCloneError");
}

/**
 * Makes objects with this prototype, and those that inherit from it, uncloneable. V8 takes an object of the platform for a
 * plain one, unless it has this brand.
 */
export function refuseClones(prototype, name) {
  if (core.hostObjectBrand in prototype) return;
  // Writable, for deno_web's MessagePort assigns its own.
  Object.defineProperty(prototype, core.hostObjectBrand, { value: name, writable: true, configurable: true });
}

// V8 refuses shared memory itself, with plain errors, at either end.
const V8_REFUSAL = /could not be cloned\.$|^could not deserialize value$/;

function cloning(clone) {
  try {
    return clone();
  } catch (error) {
    if (V8_REFUSAL.test(error?.message) && [Error, RangeError, TypeError].includes(error.constructor)) {
      dataCloneError(error.message);
    }
    throw error;
  }
}

/** First byte of a clone that has keys beside it; V8's begin with 0xff. */
const WITH_KEYS = 1;

/** Structured-clone bytes of `value`; a `DataCloneError` where there are none. */
export function serialize(value) {
  const { body, keys } = cloning(() => cloneWithKeys(() => core.serialize(value, FORMAT, dataCloneError)));
  if (keys === undefined) return body;
  const both = core.serialize({ body, keys }, FORMAT);
  const bytes = new Uint8Array(both.length + 1);
  bytes[0] = WITH_KEYS;
  TypedArrayPrototypeSet(bytes, both, 1);
  return bytes;
}

export function deserialize(bytes) {
  if (bytes[0] !== WITH_KEYS) return revive(undefined, () => core.deserialize(bytes, FORMAT));
  const { body, keys } = core.deserialize(TypedArrayPrototypeSubarray(bytes, 1), FORMAT);
  return revive(keys, () => core.deserialize(body, FORMAT));
}

function cloneHere(clone) {
  return cloning(() => cloneWithinIsolate(clone));
}

/** The second argument of a function that clones, with its transfer list checked. What is malformed is left as it is. */
function checkedTransfer(options) {
  if (typeof options !== "object" || options === null) return options;
  const isList = typeof options[Symbol.iterator] === "function";
  const list = isList ? options : options.transfer;
  if (typeof list?.[Symbol.iterator] !== "function") return options;
  const items = [...list];
  for (const item of items) {
    const isObject = typeof item === "object" && item !== null;
    if (isObject && !TRANSFERABLE.some((type) => item instanceof type)) {
      dataCloneError("an object in the transfer list cannot be transferred");
    }
  }
  return isList ? items : { transfer: items };
}

// What deno_core says of a WebAssembly module, which can be cloned but not stored.
const MODULE_REFUSAL = "Wasm modules cannot be stored";

export function structuredClone(value, options = undefined) {
  if (arguments.length === 0) return platformClone();
  if (options !== undefined) return cloneHere(() => platformClone(value, checkedTransfer(options)));
  if (typeof value !== "object" || value === null) return cloneHere(() => platformClone(value));
  try {
    return deserialize(serialize(value)); // deno_web's would share shared memory
  } catch (error) {
    if (error instanceof DOMException && error.message === MODULE_REFUSAL) return cloneHere(() => platformClone(value));
    throw error;
  }
}

const { postMessage } = MessagePort.prototype;
Object.defineProperty(MessagePort.prototype, "postMessage", {
  ...Object.getOwnPropertyDescriptor(MessagePort.prototype, "postMessage"),
  value: {
    postMessage(message, transfer = undefined) {
      const given = arguments.length < 2 ? [...arguments] : [message, checkedTransfer(transfer)];
      return cloneHere(() => Reflect.apply(postMessage, this, given));
    },
  }.postMessage,
});
