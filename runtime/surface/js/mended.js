// Small mistakes of the deno_* crates, mended.
import { core } from "ext:core/mod.js";
import { symbolOf } from "ext:portside/events.js";

const ops = core.loadExtScript("ext:portside/platform_ops.js");

/** What a failure of the network says, with our settings in place of Deno's. */
export function explained(text) {
  return text.replace(
    /Requires (net access to "[^"]*"), run again with the --allow-net flag/,
    "$1 is denied: a cloud's metadata service is unless --allow-network or spec.network.allow names it, " +
      "and so is what --deny-network or spec.network.deny names",
  );
}

// What is denied fails as what cannot be reached does.
const { op_fetch } = ops;
ops.op_fetch = (...given) => {
  try {
    return op_fetch(...given);
  } catch (error) {
    if (error?.name !== "NotCapable") throw error;
    throw new TypeError(`fetch failed: ${explained(error.message)}`);
  }
};

/** Why there is no response: where it was to come from, but not the path, which may hold a secret, and the cause. */
function failure([detail, cause]) {
  const origin = / for (?:url \()?(\w+:\/\/[^/?#\s)]+)/.exec(detail)?.[1];
  const why = explained(cause.replace(/^error sending request (?:from \S+ )?for (?:url \(\S*\)|\S+ \(\S+\)): /, ""));
  return new TypeError(`fetch failed: ${origin === undefined ? "" : `${origin}: `}${why}`, { cause: new Error(why) });
}

// The bytes of a Location are UTF-8, as of the URL standard; as a header of JavaScript each is a character.
const { op_fetch_send } = ops;
ops.op_fetch_send = async (request) => {
  const response = await op_fetch_send(request);
  if (response.error !== null) throw failure(response.error);
  for (const header of response.headers) {
    if (/^location$/i.test(header[0])) {
      header[1] = header[1].replace(/[^\0-\x7f]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
    }
  }
  return response;
};

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { URLPattern } = core.loadExtScript("ext:deno_web/01_urlpattern.js");
const streams = core.loadExtScript("ext:deno_web/06_streams.js");
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");

/** What a pattern is matched with is `{}` by default. */
function mendPatterns() {
  for (const name of ["test", "exec"]) {
    const method = URLPattern.prototype[name];
    const mended = {
      [name](...given) {
        return Reflect.apply(method, this, given.length === 0 ? [{}] : given);
      },
    }[name];
    const descriptor = Object.getOwnPropertyDescriptor(URLPattern.prototype, name);
    Object.defineProperty(URLPattern.prototype, name, { ...descriptor, value: mended });
  }
}

/** Has bodies made of text or bytes be byte streams, as all others are. */
function mendBodies() {
  const sample = new streams.ReadableStream();
  const controller = symbolOf(sample, "[[controller]]");
  const owner = symbolOf(sample[controller], "[[stream]]");
  const none = new streams.ReadableStream({ start: (it) => it.close() });
  const { get } = Object.getOwnPropertyDescriptor(InnerBody.prototype, "stream");
  Object.defineProperty(InnerBody.prototype, "stream", {
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

mendPatterns();
mendBodies();
