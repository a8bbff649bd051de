// What the uses of the surface say when something is not as it should be.

function show(value) {
  try {
    return typeof value === "string" ? JSON.stringify(value) : JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/** Throws unless both look alike as JSON; what JSON cannot show must be the same. */
export function equal(seen, wanted) {
  if (!Object.is(seen, wanted) && show(seen) !== show(wanted)) {
    throw new Error(`${show(seen)} instead of ${show(wanted)}`);
  }
}

/** Throws unless `value` is made by `type`, the global of that name. */
export function made(value, type) {
  if (!(value instanceof type)) throw new Error(`${show(value)} is no ${type.name}`);
}

/** The name of what `f` throws or rejects with. */
export async function thrown(f) {
  try {
    await f();
  } catch (error) {
    return error?.name;
  }
  return "nothing was thrown";
}

/** The next event of this type. */
export function next(target, type) {
  return new Promise((resolve, reject) => {
    target.addEventListener(type, resolve, { once: true });
    if (type !== "error") target.addEventListener("error", (event) => reject(event.error ?? new Error("an error event")));
  });
}

export const utf8 = (text) => new TextEncoder().encode(text);

/** Globals that come from a part which is loaded when they are first looked at, and that are not enumerable. */
export const LAZY = ["console", ...`AbortController AbortSignal Blob ByteLengthQueuingStrategy CompressionStream
  CountQueuingStrategy Crypto CryptoKey DecompressionStream EventSource File FileReader FormData Headers MessageChannel
  MessagePort Performance ReadableByteStreamController ReadableStream ReadableStreamBYOBReader ReadableStreamBYOBRequest
  ReadableStreamDefaultController ReadableStreamDefaultReader Request Response SubtleCrypto TextDecoder TextDecoderStream
  TextEncoder TextEncoderStream TransformStream TransformStreamDefaultController URL URLPattern URLSearchParams WebSocket
  WebSocketPair WebSocketRequestResponsePair WritableStream WritableStreamDefaultController WritableStreamDefaultWriter`.split(/\s+/)];
