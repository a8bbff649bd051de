// Bodies of requests and responses: those of text or bytes are byte streams, too, and forms are read as they are meant to be.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty } = primordials;
const { getterOf } = core.loadExtScript("ext:portside/properties.js");
const { symbolOf } = core.loadExtScript("ext:portside/events.js");
const { mendFormData } = core.loadExtScript("ext:portside/parts/formdata.js");
const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const streams = core.loadExtScript("ext:deno_web/06_streams.js");

const bodies = core.loadUnmended("ext:deno_fetch/22_body.js");
const { InnerBody } = bodies;

/** Has bodies made of text or bytes be byte streams, as all others are. */
function mendStreams() {
  const sample = new streams.ReadableStream();
  const controller = symbolOf(sample, "[[controller]]");
  const owner = symbolOf(sample[controller], "[[stream]]");
  const none = new streams.ReadableStream({ start: (it) => it.close() });
  const get = getterOf(InnerBody.prototype, "stream");
  ObjectDefineProperty(InnerBody.prototype, "stream", {
    __proto__: null,
    get() {
      const given = this.streamOrStatic;
      const stream = get.call(this);
      if (given === stream || given.consumed) return stream;
      const pull = (bytes) => {
        // A copy: a byte stream takes away the buffer that it is given.
        const body = typeof given.body === "string" ? core.encode(given.body) : given.body.slice();
        if (body.length > 0) bytes.enqueue(body);
        bytes.close();
        bytes.byobRequest?.respond(0);
      };
      // The same stream with another controller, for deno_fetch remembers the body of this one.
      stream[controller][owner] = none;
      stream[controller] = undefined;
      const made = new streams.ReadableByteStreamController(webidl.brand);
      streams.setUpReadableByteStreamController(stream, made, () => undefined, () => pull(made), async () => {}, 0, undefined);
      return stream;
    },
  });
}

/** Gives a prototype the methods of bodies. */
function mixinBody(prototype, body, type) {
  bodies.mixinBody(prototype, body, type);
  mendFormData(prototype);
}

mendStreams();

return { ...bodies, mixinBody };
})();
