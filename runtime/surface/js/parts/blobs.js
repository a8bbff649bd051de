// Blobs whose bytes are ArrayBuffers: counted and collected as these are, and cloned with what is in them.
//
// deno_web keeps them in a table of the process and clones references into it. The operations it does that with are
// replaced here.
(function () {
const { core, primordials } = __bootstrap;
const { Uint8Array } = primordials;
const { symbolOf } = core.loadExtScript("ext:portside/events.js");
const { given, Part, urls } = core.loadExtScript("ext:portside/parts/blob_parts.js");

// It gives URL two functions of its own. By then that is the application's, which may have frozen it.
const file = core.loadUnmended("ext:deno_web/09_file.js", { __proto__: null, "ext:deno_web/00_url.js": { URL: given } });
const { createObjectURL, revokeObjectURL } = given;
const { Blob, File, getParts } = file;

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
