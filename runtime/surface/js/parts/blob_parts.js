// What deno_web's script of blobs takes hold of, once, however often loading what mends it is tried.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectAssign, SafeMap, StringPrototypeSplit } = primordials;
const { ops } = core;

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

const urls = new SafeMap(); // object URL -> { mediaType, parts }

function withoutFragment(url) {
  return StringPrototypeSplit(url, "#", 1)[0];
}

ObjectAssign(ops, {
  __proto__: null,
  op_blob_clone_part: (part) => ({ uuid: part.copy(), size: part.size }),
  op_blob_create_object_url(mediaType, parts) {
    const { crypto } = core.loadExtScript("ext:deno_crypto/00_crypto.js");
    const url = `blob:null/${crypto.randomUUID()}`;
    urls.set(url, { mediaType, parts: parts.map((part) => ({ uuid: part, size: part.size })) });
    return url;
  },
  op_blob_from_object_url: (url) => urls.get(withoutFragment(url)) ?? null,
  op_blob_revoke_object_url: (url) => void urls.delete(url),
  op_blob_create_part: (bytes) => new Part(bytes.slice()),
  op_blob_remove_part() {},
});

/** What deno_web's script gives to URL. */
const given = { __proto__: null };

return { given, Part, urls };
})();
