// One use of each name of the streams standard and of those built on it.
import { equal, made, thrown, utf8 } from "./check.js";

const collect = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};

async function zipped() {
  for (const format of ["gzip", "deflate", "deflate-raw"]) {
    const text = "the same again and ".repeat(500);
    const small = await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream(format))).bytes();
    equal(small.length < 500, true);
    const large = new Blob([small]).stream().pipeThrough(new DecompressionStream(format));
    equal(await new Response(large).text(), text);
  }
}

/** A byte stream that answers a reader's own buffer, and one that is not. */
function bytes(seen = []) {
  let left = 3;
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: 16,
    pull(controller) {
      made(controller, ReadableByteStreamController);
      const request = controller.byobRequest;
      made(request, ReadableStreamBYOBRequest);
      seen.push(request.view.byteLength);
      request.view[0] = left;
      request.respond(1);
      if (--left === 0) controller.close();
    },
  });
}

async function readBytes() {
  const seen = [];
  const reader = bytes(seen).getReader({ mode: "byob" });
  made(reader, ReadableStreamBYOBReader);
  const first = await reader.read(new Uint8Array(8));
  equal([first.done, [...first.value]], [false, [3]]);
  reader.releaseLock();
  equal((await collect(bytes())).map((chunk) => chunk[0]), [3, 2, 1]);
  equal(seen[0], 8);
}

async function transformed() {
  const doubled = new TransformStream({
    start: (controller) => made(controller, TransformStreamDefaultController),
    transform: (chunk, controller) => controller.enqueue(chunk * 2),
    flush: (controller) => controller.enqueue("end"),
  });
  equal(await collect(ReadableStream.from([1, 2]).pipeThrough(doubled)), [2, 4, "end"]);
}

async function written() {
  const chunks = [];
  const stream = new WritableStream({
    start: (controller) => made(controller, WritableStreamDefaultController),
    write: (chunk) => void chunks.push(chunk),
    close: () => void chunks.push("closed"),
  }, new CountQueuingStrategy({ highWaterMark: 2 }));
  const writer = stream.getWriter();
  made(writer, WritableStreamDefaultWriter);
  equal(writer.desiredSize, 2);
  writer.write("a");
  await writer.ready;
  await writer.close();
  await writer.closed;
  equal(chunks, ["a", "closed"]);
  equal(await thrown(() => stream.getWriter().write("late")), "TypeError");
}

export const uses = {
  ByteLengthQueuingStrategy() {
    const strategy = new ByteLengthQueuingStrategy({ highWaterMark: 10 });
    equal([strategy.highWaterMark, strategy.size(utf8("abc"))], [10, 3]);
  },
  CompressionStream: zipped,
  CountQueuingStrategy() {
    const strategy = new CountQueuingStrategy({ highWaterMark: 3 });
    equal([strategy.highWaterMark, strategy.size({})], [3, 1]);
  },
  async DecompressionStream() {
    await zipped();
    const garbage = new Blob(["not compressed"]).stream().pipeThrough(new DecompressionStream("gzip"));
    equal(await thrown(() => new Response(garbage).text()), "TypeError");
  },
  async FixedLengthStream() {
    const write = async (length, text) => {
      const { readable, writable } = new FixedLengthStream(length);
      const writer = writable.getWriter();
      const written = writer.write(utf8(text)).then(() => writer.close());
      const [read] = await Promise.allSettled([new Response(readable).text(), written]);
      return read.value ?? read.reason.name;
    };
    equal([await write(5, "hello"), await write(6, "hello"), await write(4, "hello")], ["hello", "TypeError", "TypeError"]);
  },
  async IdentityTransformStream() {
    const pass = (chunk) => new Response(ReadableStream.from([chunk]).pipeThrough(new IdentityTransformStream())).text();
    equal([await pass(utf8("bytes")), await thrown(() => pass("text"))], ["bytes", "TypeError"]);
  },
  ReadableByteStreamController: readBytes,
  async ReadableStream() {
    equal(await collect(ReadableStream.from(["a", "b"])), ["a", "b"]);
    const [one, two] = new ReadableStream({
      start(controller) {
        controller.enqueue("both");
        controller.close();
      },
    }).tee();
    equal([await collect(one), await collect(two)], [["both"], ["both"]]);
    let why;
    await new ReadableStream({ cancel: (reason) => why = reason }).cancel("enough");
    equal(why, "enough");
    const failing = new ReadableStream({ pull: () => Promise.reject(new RangeError("r")) });
    equal(await thrown(() => collect(failing)), "RangeError");
  },
  ReadableStreamBYOBReader: readBytes,
  ReadableStreamBYOBRequest: readBytes,
  async ReadableStreamDefaultController() {
    const stream = new ReadableStream({
      start(controller) {
        made(controller, ReadableStreamDefaultController);
        controller.enqueue(1);
        equal(controller.desiredSize, 0);
        controller.close();
      },
    });
    equal(await collect(stream), [1]);
  },
  async ReadableStreamDefaultReader() {
    const reader = ReadableStream.from([1]).getReader();
    made(reader, ReadableStreamDefaultReader);
    equal([await reader.read(), await reader.read()], [{ value: 1, done: false }, { done: true }]);
    await reader.closed;
  },
  async TextDecoderStream() {
    const halves = [new Uint8Array([195]), new Uint8Array([164])];
    equal((await collect(ReadableStream.from(halves).pipeThrough(new TextDecoderStream()))).join(""), "ä");
  },
  async TextEncoderStream() {
    const chunks = await collect(ReadableStream.from(["ä"]).pipeThrough(new TextEncoderStream()));
    equal([...chunks[0]], [195, 164]);
  },
  TransformStream: transformed,
  TransformStreamDefaultController: transformed,
  WritableStream: written,
  WritableStreamDefaultController: written,
  WritableStreamDefaultWriter: written,
};
