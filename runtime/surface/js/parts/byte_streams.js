// Workers' own streams of bytes.
(function () {
const { core } = __bootstrap;
const { TransformStream } = core.loadExtScript("ext:deno_web/06_streams.js");

function bytesOf(chunk) {
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk.slice(0));
  if (!ArrayBuffer.isView(chunk)) {
    throw new TypeError(
      "This TransformStream is being used as a byte stream, but received an object of non-ArrayBuffer/ArrayBufferView type on " +
        "its writable side.",
    );
  }
  return new Uint8Array(chunk.buffer.slice(chunk.byteOffset, chunk.byteOffset + chunk.byteLength));
}

/** Passes bytes on as they come, in no other shape. */
class IdentityTransformStream extends TransformStream {
  constructor() {
    super({ transform: (chunk, controller) => controller.enqueue(bytesOf(chunk)) });
  }
}

/** The same for bytes whose number is known before. */
class FixedLengthStream extends TransformStream {
  constructor(expected) {
    const length = Number(expected);
    if (!(length >= 0) || !Number.isSafeInteger(length)) throw new TypeError("FixedLengthStream needs a length in bytes");
    let left = length;
    super({
      transform(chunk, controller) {
        const bytes = bytesOf(chunk);
        if (bytes.length > left) throw new TypeError("Attempt to write too many bytes through a FixedLengthStream.");
        left -= bytes.length;
        controller.enqueue(bytes);
      },
      flush() {
        if (left > 0) throw new TypeError("FixedLengthStream did not see all expected bytes before close().");
      },
    });
  }
}

return { FixedLengthStream, IdentityTransformStream };
})();
