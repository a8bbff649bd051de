// DecompressionStream: as fast as its reader, and with all that could be decompressed before an error.
import { core } from "ext:core/mod.js";
const { op_inflate_end, op_inflate_new, op_inflate_read, op_inflate_write } = core.ops;

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { ReadableStream, WritableStream } = core.loadExtScript("ext:deno_web/06_streams.js");
core.loadExtScript("ext:deno_web/14_compression.js"); // it defines the formats

/** The most that is decompressed before somebody must want it, in bytes. */
const PIECE = 1 << 16;

export class DecompressionStream {
  #inflate;
  #readable;
  #writable;
  #source; // the readable side's controller
  #sink; // the writable side's
  #wanted = Promise.withResolvers(); // somebody reads, or nobody will any more
  #given; // resolved when the reader has got something

  constructor(format) {
    const prefix = "Failed to construct 'DecompressionStream'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    this.#inflate = op_inflate_new(webidl.converters.CompressionFormat(format, prefix, "Argument 1"));
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
    }
  }

  async #write(chunk) {
    op_inflate_write(this.#inflate, webidl.converters.BufferSource(chunk, "Failed to decompress", "chunk"));
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
      const length = op_inflate_read(this.#inflate, piece);
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
