// Blobs whose bytes are ArrayBuffers: counted and collected as these are, and cloned with what is in them.
//
// deno_web keeps them in a table of the process and clones references into it. The operations it does that with are
// replaced here.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectAssign, ObjectDefineProperty, ObjectGetOwnPropertyDescriptors, SafeMap, StringPrototypeSplit, Uint8Array } = primordials;
const { symbolOf } = core.loadExtScript("ext:portside/events.js");
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

// It gives URL two functions of its own. Ours stay, or what the application has put in their place.
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const ours = ObjectGetOwnPropertyDescriptors(URL);
const file = core.loadUnmended("ext:deno_web/09_file.js");
const { createObjectURL, revokeObjectURL } = URL;
putBack("createObjectURL");
putBack("revokeObjectURL");
const { Blob, File, getParts } = file;

function putBack(name) {
  if (ours[name] === undefined) delete URL[name];
  else ObjectDefineProperty(URL, name, { __proto__: null, ...ours[name] });
}

/** All bytes of a blob, at once. */
function blobBytes(blob) {
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
const sample = "a sample";
urls.set(sample, { mediaType: "", parts: [{ uuid: new Part(new Uint8Array(1)), size: 1 }] });
const blob = file.blobFromObjectUrl(sample);
urls.delete(sample);
const Reference = blob[symbolOf(blob, "Parts")][0].constructor;
Reference.fromUint8Array = (bytes) => new Part(bytes.slice());
// What an object URL names is wrapped again.
Reference.prototype.stream = function () {
  return this._id.stream();
};
Reference.prototype.slice = function (start, end) {
  return this._id.slice(start, end);
};

return { ...file, blobBytes, createObjectURL, revokeObjectURL };
})();
