// Blobs whose bytes are ArrayBuffers: counted and collected as these are, and cloned with what is in them.
//
// deno_web keeps them in a table of the process and clones references into it. The operations it does that with are
// replaced here, so this must be imported before anything that loads deno_web's script.
import { core } from "ext:core/mod.js";

const ops = core.loadExtScript("ext:portside/platform_ops.js");

/** How much of a blob its stream gives at once, in bytes. */
const PIECE = 1 << 16;

/** Bytes that nobody changes. Stands where deno_web has a reference into its table, and is its own name there. */
class Part {
  #bytes;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  get _id() {
    return this;
  }

  get size() {
    return this.#bytes.length;
  }

  copy() {
    return this.#bytes.slice();
  }

  copyInto(target, at) {
    target.set(this.#bytes, at);
  }

  slice(start, end) {
    return new Part(this.#bytes.subarray(start, end));
  }

  async *stream() {
    for (let at = 0; at < this.#bytes.length; at += PIECE) yield this.#bytes.slice(at, at + PIECE);
  }
}

const urls = new Map(); // object URL -> { mediaType, parts }

function withoutFragment(url) {
  return url.split("#", 1)[0];
}

Object.assign(ops, {
  op_blob_clone_part: (part) => ({ uuid: part.copy(), size: part.size }),
  op_blob_create_object_url(mediaType, parts) {
    const url = `blob:null/${crypto.randomUUID()}`;
    urls.set(url, { mediaType, parts: parts.map((part) => ({ uuid: part, size: part.size })) });
    return url;
  },
  op_blob_from_object_url: (url) => urls.get(withoutFragment(url)) ?? null,
  op_blob_revoke_object_url: (url) => void urls.delete(url),
  op_blob_create_part: (bytes) => new Part(bytes.slice()),
  op_blob_remove_part() {},
});

const { Blob, File, getParts } = core.loadExtScript("ext:deno_web/09_file.js");

/** All bytes of a blob, at once. */
export function blobBytes(blob) {
  const bytes = new Uint8Array(blob.size);
  let at = 0;
  for (const part of getParts(blob)) {
    part.copyInto(bytes, at);
    at += part.size;
  }
  return bytes;
}

const revive = core.getCloneableDeserializers();
function contents({ parts }) {
  return parts.map(({ uuid: bytes }) => {
    // Earlier versions stored references, to what is gone.
    if (!(bytes instanceof Uint8Array)) throw new TypeError("the bytes of this Blob were never stored");
    return bytes;
  });
}
revive.Blob = (data) => new Blob(contents(data), { type: data.mimeType });
revive.File = (data) => {
  const { name, lastModified, mimeType: type } = data;
  return new File(contents(data), name, { type, lastModified });
};

// Has deno_web make parts. Its class of references is reachable through a blob only.
const blob = new Blob(["a part"]);
const parts = Object.getOwnPropertySymbols(blob).find((symbol) => symbol.description === "Parts");
const Reference = blob[parts][0].constructor;
Reference.fromUint8Array = (bytes) => new Part(bytes.slice());
// What an object URL names is wrapped again.
Reference.prototype.stream = function () {
  return this._id.stream();
};
Reference.prototype.slice = function (start, end) {
  return this._id.slice(start, end);
};
