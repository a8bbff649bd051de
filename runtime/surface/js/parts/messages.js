// structuredClone and MessagePort, which refuse what cannot be cloned or transferred as all other clones do.
(function () {
const { core, primordials } = __bootstrap;
const { ArrayBuffer, ArrayIsArray, ReflectApply } = primordials;
const { transferring } = core.loadExtScript("ext:portside/buffers.js");
const { cloneHere, dataCloneError, deserialize, serialize } = core.loadExtScript("ext:portside/clones.js");
const { isLoaded } = core.loadExtScript("ext:portside/parts.js");
const { replaceValue } = core.loadExtScript("ext:portside/properties.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

const messages = core.loadUnmended("ext:deno_web/13_message_port.js");
const { MessagePort, structuredClone: platformClone } = messages;

const STREAMS = "ext:deno_web/06_streams.js";

function isTransferable(object) {
  if (object instanceof ArrayBuffer || object instanceof MessagePort) return true;
  if (!isLoaded(STREAMS)) return false;
  const { ReadableStream, TransformStream, WritableStream } = core.loadExtScript(STREAMS);
  return object instanceof ReadableStream || object instanceof WritableStream || object instanceof TransformStream;
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
    if (isObject && !isTransferable(item)) {
      dataCloneError("an object in the transfer list cannot be transferred");
    }
  }
  return isList ? items : { transfer: items };
}

// What deno_core says of a WebAssembly module, which can be cloned but not stored.
const MODULE_REFUSAL = "Wasm modules cannot be stored";

function structuredClone(value, options = undefined) {
  if (arguments.length === 0) return platformClone();
  if (options !== undefined) {
    const checked = checkedTransfer(options);
    const items = ArrayIsArray(checked?.transfer) ? checked.transfer : [];
    return transferring(items, () => cloneHere(() => platformClone(value, checked)));
  }
  if (typeof value !== "object" || value === null) return cloneHere(() => platformClone(value));
  try {
    return deserialize(serialize(value)); // deno_web's would share shared memory
  } catch (error) {
    if (error instanceof DOMException && error.message === MODULE_REFUSAL) return cloneHere(() => platformClone(value));
    throw error;
  }
}

const { postMessage } = MessagePort.prototype;
const mended = {
  postMessage(message, transfer = undefined) {
    const given = arguments.length < 2 ? [...arguments] : [message, checkedTransfer(transfer)];
    return cloneHere(() => ReflectApply(postMessage, this, given));
  },
};
replaceValue(MessagePort.prototype, "postMessage", mended.postMessage);

return { ...messages, structuredClone };
})();
