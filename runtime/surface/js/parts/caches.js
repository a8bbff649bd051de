// caches: Cloudflare's Cache API. The responses are in memory, and of all of the application's code in this process.
(function () {
const { core, primordials } = __bootstrap;
const { SafeArrayIterator, Symbol, TypedArrayPrototypeSet, Uint8Array } = primordials;
const { currentActor } = core.loadExtScript("ext:portside/context.js");
const { logWarning } = core.loadExtScript("ext:portside/handlers.js");
const { emptyBody } = core.loadExtScript("ext:portside/parts/fetcher.js");
const { staticBody } = core.loadExtScript("ext:portside/parts/http.js");
const { defineSurface } = core.loadExtScript("ext:portside/parts/object_surface.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { Request } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { fromInnerResponse, isResponse, newInnerResponse, socketOf, toInnerResponse } = core.loadExtScript(
  "ext:deno_fetch/23_response.js",
);
const {
  op_cache_delete,
  op_cache_match,
  op_cache_most,
  op_cache_put,
  op_output_is_open,
  op_output_permit,
} = core.ops;

const MOST_NAME = 1024;
const made = Symbol("made");

function construct(key, name) {
  if (key !== made) throw new TypeError(`Failed to construct '${name}': the constructor is not implemented.`);
}

function notImplemented(method, name) {
  throw new TypeError(`Failed to execute '${method}' on '${name}': the method is not implemented.`);
}

/** The request that is meant. What is no Request is a URL. */
function requestOf(given) {
  if (given instanceof Request) return given;
  const url = URL.parse(`${given}`);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new TypeError("Invalid URL. Cache API keys must be fully-qualified, valid URLs.");
  }
  return new Request(url);
}

/** What its response is kept by: its URL without what is not sent. */
function keyOf(request) {
  const url = new URL(request.url);
  url.hash = "";
  return url.href;
}

/** Whether a request can have a response here, with these options. */
function isAsked(request, options) {
  for (const name of new SafeArrayIterator(["ignoreSearch", "ignoreVary", "cacheName"])) {
    if (options?.[name] !== undefined) {
      throw new TypeError(`The '${name}' field on 'CacheQueryOptions' is not implemented.`);
    }
  }
  return request.method === "GET" || Boolean(options?.ignoreMethod);
}

/** Returns when others may hear of what the instance has done. */
async function permitted() {
  const actor = currentActor();
  if (!op_output_is_open(actor)) await op_output_permit(actor);
}

/** Reads a body to its end; null if it has too many bytes. */
async function bytesOf(stream) {
  if (stream === null) return new Uint8Array();
  const reader = stream.getReader(), chunks = [], most = op_cache_most();
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (!(value instanceof Uint8Array)) throw new TypeError("a body in a cache is made of bytes");
    length += value.length;
    if (length > most) {
      reader.cancel("it is too large for a cache").catch(() => {});
      return null;
    }
    chunks.push(value);
  }
  if (chunks.length === 1) return chunks[0];
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of new SafeArrayIterator(chunks)) {
    TypedArrayPrototypeSet(bytes, chunk, at);
    at += chunk.length;
  }
  return bytes;
}

class Cache {
  #name;

  constructor(key, name) {
    construct(key, "Cache");
    this.#name = name;
  }

  async match(request, options = undefined) {
    const asked = requestOf(request);
    if (!isAsked(asked, options)) return undefined;
    const header = (name) => asked.headers.get(name);
    const hit = op_cache_match(this.#name, keyOf(asked), {
      noneMatch: header("if-none-match"),
      modifiedSince: header("if-modified-since"),
      range: header("range"),
    });
    if (hit === null) return undefined;
    const { status, reason, headers, body } = hit;
    const inner = newInnerResponse(status, reason);
    inner.headerList = headers;
    inner.body = body.length === 0 ? emptyBody(status) : staticBody(body);
    return fromInnerResponse(inner, "immutable");
  }

  async put(request, response) {
    if (!isResponse(response)) {
      throw new TypeError("Failed to execute 'put' on 'Cache': parameter 2 is not of type 'Response'.");
    }
    if (response.type === "error") throw new TypeError("Cache is unable to store an error response");
    const asked = requestOf(request), { status, statusText } = response;
    if (asked.method !== "GET") throw new TypeError("Cannot cache response to non-GET request.");
    if (status === 206) throw new TypeError("Cannot cache response to a range request (206 Partial Content).");
    if (response.headers.get("vary")?.includes("*")) {
      throw new TypeError("Cannot cache response with 'Vary: *' header.");
    }
    if (status === 304) {
      logWarning("cache.put(): a response with status 304 is not kept, for it has nothing to answer later requests with");
      return;
    }
    if (socketOf(response) !== undefined) throw new TypeError("Cannot cache WebSocket upgrade response.");
    if (response.bodyUsed || response.body?.locked) {
      throw new TypeError(
        "Body has already been used. It can only be used once. Use tee() first if you need to read it twice.",
      );
    }
    const headers = toInnerResponse(response).headerList.map(([name, value]) => [name, value]);
    const bytes = await bytesOf(response.body);
    if (bytes === null) return;
    await permitted();
    op_cache_put(this.#name, keyOf(asked), status, statusText, headers, bytes);
  }

  async delete(request, options = undefined) {
    const asked = requestOf(request);
    if (!isAsked(asked, options)) return false;
    await permitted();
    return op_cache_delete(this.#name, keyOf(asked));
  }

  add() {
    notImplemented("add", "Cache");
  }

  addAll() {
    notImplemented("addAll", "Cache");
  }

  keys() {
    notImplemented("keys", "Cache");
  }

  matchAll() {
    notImplemented("matchAll", "Cache");
  }
}

class CacheStorage {
  constructor(key) {
    construct(key, "CacheStorage");
  }

  get default() {
    return byDefault;
  }

  async open(name) {
    const text = `${name}`;
    if (core.encode(text).length >= MOST_NAME) throw new TypeError("Cache name is too long.");
    return new Cache(made, `opened ${text}`);
  }

  delete() {
    notImplemented("delete", "CacheStorage");
  }

  has() {
    notImplemented("has", "CacheStorage");
  }

  keys() {
    notImplemented("keys", "CacheStorage");
  }

  match() {
    notImplemented("match", "CacheStorage");
  }
}

defineSurface(Cache);
defineSurface(CacheStorage);

const byDefault = new Cache(made, "default");

return { Cache, CacheStorage, caches: new CacheStorage(made) };
})();
