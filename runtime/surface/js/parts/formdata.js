// Reading multipart/form-data, as the fetch and HTML standards have it written and RFC 7578 has it read.
(function () {
const { core } = __bootstrap;
const { replaceValue } = core.loadExtScript("ext:portside/properties.js");

const { FormData } = core.loadExtScript("ext:deno_fetch/21_formdata.js");
const { essence, parseMimeType } = core.loadExtScript("ext:deno_web/01_mimesniff.js");
const { File } = core.loadExtScript("ext:deno_web/09_file.js");

const NONE = -1;
const CR = 13, LF = 10, DASH = 45, SPACE = 32, TAB = 9;
/** Of the headers of one part: bytes, and lines. */
const MAX_HEADER_BYTES = 16 * 1024, MAX_HEADERS = 128;

function malformed(what) {
  throw new TypeError(`the body is no multipart/form-data: ${what}`);
}

/** What `"`, CR and LF become where a name is written. A percent sign stays as it is, so the way back is not exact. */
const unescape = (text) => text.replace(/%22|%0D|%0A/gi, decodeURIComponent);

/** The parameters of a Content-Disposition, by lower-case name. */
function parameters(header) {
  const found = new Map();
  for (const [, name, quoted, token] of header.matchAll(/;[ \t]*([^=;\s]+)[ \t]*=[ \t]*(?:"([^"]*)"|([^;]*))/g)) {
    if (!found.has(name.toLowerCase())) found.set(name.toLowerCase(), unescape(quoted ?? token.trim()));
  }
  return found;
}

/** Reads the parts of a body one by one. */
class Reader {
  #bytes;
  #delimiter;
  #at = 0;

  constructor(bytes, boundary) {
    this.#bytes = bytes;
    this.#delimiter = core.encode(`--${boundary}`);
  }

  /** Where the delimiter's line at `at` ends, and whether it is the last one; undefined if it is none. */
  #lineAt(at) {
    const bytes = this.#bytes, delimiter = this.#delimiter;
    for (let i = 0; i < delimiter.length; i++) if (bytes[at + i] !== delimiter[i]) return undefined;
    let end = at + delimiter.length;
    const last = bytes[end] === DASH && bytes[end + 1] === DASH;
    if (last) end += 2;
    while (bytes[end] === SPACE || bytes[end] === TAB) end++;
    if (bytes[end] === CR && bytes[end + 1] === LF) return { end: end + 2, last };
    return last && end === bytes.length ? { end, last } : undefined;
  }

  /** Goes behind the next delimiter; gives what is before it, and whether it is the last one. */
  next() {
    const from = this.#at;
    for (let line = from; line !== NONE; line = this.#nextLine(line)) {
      const delimiter = this.#lineAt(line);
      if (delimiter !== undefined) {
        this.#at = delimiter.end;
        return { content: this.#bytes.subarray(from, Math.max(from, line - 2)), last: delimiter.last };
      }
    }
    return malformed("a boundary is missing");
  }

  /** Where the next line begins, if there is one. */
  #nextLine(at) {
    for (let lf = this.#bytes.indexOf(LF, at); lf !== -1; lf = this.#bytes.indexOf(LF, lf + 1)) {
      if (lf > at && this.#bytes[lf - 1] === CR) return lf + 1;
    }
    return NONE;
  }

  /** The headers of the part that begins here, by lower-case name; goes behind them. */
  headers() {
    const found = new Map();
    for (let count = 0, from = this.#at;; count++) {
      const next = this.#nextLine(this.#at);
      if (next === NONE) malformed("a part has no end of its headers");
      if (next - from > MAX_HEADER_BYTES || count > MAX_HEADERS) malformed("the headers of a part are too large");
      const line = core.decode(this.#bytes.subarray(this.#at, next - 2));
      // The line break before the next delimiter may be the one behind the headers.
      if (line === "") {
        this.#at = next;
        return found;
      }
      this.#at = next;
      const colon = line.indexOf(":");
      if (colon > 0) found.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
    }
  }
}

function parse(bytes, boundary) {
  const reader = new Reader(bytes, boundary), form = new FormData();
  for (let { last } = reader.next(); !last;) {
    const headers = reader.headers();
    const part = reader.next();
    last = part.last;
    const disposition = parameters(headers.get("content-disposition") ?? "");
    const name = disposition.get("name"), filename = disposition.get("filename");
    if (name === undefined) continue;
    if (filename === undefined) {
      form.append(name, core.decode(part.content));
    } else {
      const type = headers.get("content-type") ?? "application/octet-stream";
      form.append(name, new File([part.content], filename, { type }));
    }
  }
  return form;
}

/** The MIME type of a request's or a response's body; null if it has none, and for what is neither. */
function typeOf(message) {
  try {
    return parseMimeType(message.headers.get("content-type") ?? "");
  } catch {
    return null; // the platform refuses it
  }
}

/** Has a prototype with the methods of bodies read forms as they are meant to be. */
function mendFormData(prototype) {
  const { bytes, formData: platform } = prototype;
  const mended = {
    // Not async: what is rejected at once is seen to be, without a turn in between.
    formData() {
      const type = typeOf(this);
      if (type === null || essence(type) !== "multipart/form-data") return platform.call(this);
      const boundary = type.parameters.get("boundary");
      return bytes.call(this).then((body) => {
        if (boundary === undefined) malformed("its type names no boundary");
        return parse(body, boundary);
      });
    },
  };
  replaceValue(prototype, "formData", mended.formData);
}

return { mendFormData };
})();
