// DecompressionStream: as fast as its reader, and with all that could be decompressed before an error.
(function () {
const { core, primordials } = __bootstrap;
const { SafeWeakMap, Uint8Array } = primordials;
const { op_inflate_end, op_inflate_new, op_inflate_next, op_inflate_read, op_memory_account, op_memory_close } = core.ops;

/** What a stream holds outside of the heap, in bytes: zlib at its largest window, Brotli at the platform's level. */
const COMPRESSOR = { "deflate": 320 << 10, "deflate-raw": 320 << 10, "gzip": 320 << 10, "brotli": 12 << 20 };
/** The same for decompression, but for Brotli's window, which the data choose. */
const DECOMPRESSOR = { "deflate": 48 << 10, "deflate-raw": 48 << 10, "gzip": 48 << 10, "brotli": 256 << 10 };

// CompressionStream's own operations, so that it counts, too.
const { ops } = core;
const { op_compression_finish, op_compression_new } = ops;
const accounts = new SafeWeakMap(); // compressor -> what it holds
ops.op_compression_new = (format, isDecoder) => {
  const account = op_memory_account(COMPRESSOR[format]);
  const compressor = op_compression_new(format, isDecoder);
  accounts.set(compressor, account);
  return compressor;
};
ops.op_compression_finish = (compressor, report) => {
  try {
    return op_compression_finish(compressor, report);
  } finally {
    op_memory_close(accounts.get(compressor)); // its memory is freed
  }
};

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { ReadableStream, WritableStream } = core.loadExtScript("ext:deno_web/06_streams.js");
const { CompressionStream } = core.loadUnmended("ext:deno_web/14_compression.js"); // it defines the formats, too

/** The most that is decompressed before somebody must want it, in bytes. */
const PIECE = 1 << 16;

const NOTHING = new Uint8Array(0);

function copied(source) {
  return ArrayBuffer.isView(source)
    ? new Uint8Array(new Uint8Array(source.buffer, source.byteOffset, source.byteLength))
    : new Uint8Array(new Uint8Array(source));
}

/** The window that Brotli's data ask for with their first byte (RFC 7932, 9.1), in bytes. */
function brotliWindow(first) {
  if ((first & 1) === 0) return 1 << 16;
  const large = (first >> 1) & 7, small = (first >> 4) & 7;
  if (large !== 0) return 1 << (17 + large);
  return 1 << (small === 0 ? 17 : 8 + small);
}

class DecompressionStream {
  #inflate;
  #accounts; // what it holds outside of the heap, until it is collected
  #windowIsKnown;
  #chunk = NOTHING; // the present one: a copy, that counts as any other ArrayBuffer
  #readable;
  #writable;
  #source; // the readable side's controller
  #sink; // the writable side's
  #wanted = Promise.withResolvers(); // somebody reads, or nobody will any more
  #given; // resolved when the reader has got something

  constructor(format) {
    const prefix = "Failed to construct 'DecompressionStream'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    format = webidl.converters.CompressionFormat(format, prefix, "Argument 1");
    this.#accounts = [op_memory_account(DECOMPRESSOR[format])];
    this.#windowIsKnown = format !== "brotli";
    this.#inflate = op_inflate_new(format);
    this.#readable = new ReadableStream({
      start: (controller) => void (this.#source = controller),
      pull: () => this.#pull(),
      cancel: (reason) => this.#cancel(reason),
    }, { highWaterMark: 0 });
    this.#writable = new WritableStream({
      start: (controller) => void (this.#sink = controller),
      write: (chunk) => this.#orFail(() => this.#write(chunk)),
      close: () => this.#orFail(() => this.#close()),
      abort: (reason) => this.#source.error(reason),
    });
    this[webidl.brand] = webidl.brand;
  }

  get readable() {
    webidl.assertBranded(this, DecompressionStreamPrototype);
    return this.#readable;
  }

  get writable() {
    webidl.assertBranded(this, DecompressionStreamPrototype);
    return this.#writable;
  }

  #pull() {
    this.#given = Promise.withResolvers();
    this.#wanted.resolve();
    return this.#given.promise;
  }

  #cancel(reason) {
    this.#sink.error(reason);
    this.#wanted.resolve();
  }

  async #orFail(work) {
    try {
      await work();
    } catch (error) {
      this.#source.error(error);
      throw error;
    } finally {
      this.#chunk = NOTHING;
    }
  }

  async #write(chunk) {
    this.#chunk = copied(webidl.converters.BufferSource(chunk, "Failed to decompress", "chunk"));
    if (!this.#windowIsKnown && this.#chunk.length > 0) {
      this.#windowIsKnown = true;
      this.#accounts.push(op_memory_account(brotliWindow(this.#chunk[0])));
    }
    op_inflate_next(this.#inflate);
    await this.#passOn();
  }

  async #close() {
    op_inflate_end(this.#inflate);
    await this.#passOn();
    this.#source.close();
    this.#given?.resolve();
  }

  /** Gives what is there to the reader, piece by piece. */
  async #passOn() {
    for (;;) {
      const piece = new Uint8Array(PIECE);
      const length = op_inflate_read(this.#inflate, this.#chunk, piece);
      if (length === 0) return;
      await this.#wanted.promise;
      this.#wanted = Promise.withResolvers();
      this.#source.enqueue(length < PIECE ? piece.slice(0, length) : piece);
      this.#given.resolve();
    }
  }
}
webidl.configureInterface(DecompressionStream);
const DecompressionStreamPrototype = DecompressionStream.prototype;

return { CompressionStream, DecompressionStream };
})();
