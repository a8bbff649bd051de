// fetch() of whatever requests are sent to but by a network: objects, and entry points.
(function () {
const { core, primordials } = __bootstrap;
const { TypeError } = primordials;
const { staticBody } = core.loadExtScript("ext:portside/parts/http.js");
const { refuseArgument } = core.loadExtScript("ext:portside/parts/object_arguments.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");
const { fromInnerRequest, newInnerRequest, Request, toInnerRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { nullBodyStatus, redirectStatus, toInnerResponse } = core.loadExtScript("ext:deno_fetch/23_response.js");

const MOST_REDIRECTS = 20;

/** The Request that the arguments of fetch() make. */
function requestOf(args) {
  if (args.length === 0) refuseArgument("Fetcher", "fetch", 1, "Request or string");
  const [input, init] = args;
  if (input instanceof Request) {
    const isUsed = input.bodyUsed && (init?.body ?? null) === null;
    if (isUsed) throw new TypeError("Cannot reconstruct a Request with a used body.");
    return checked(new Request(input, init));
  }
  const text = `${input}`;
  try {
    return checked(new Request(text, init));
  } catch (error) {
    throw URL.parse(text) === null ? new TypeError(`Invalid URL: ${text}`) : error;
  }
}

/** Refuses what only a network could answer. */
function checked(request) {
  if (!/^https?:/.test(request.url)) throw new TypeError(`Fetch API cannot load: ${request.url}`);
  if (request.redirect === "error") {
    throw new TypeError(
      'Invalid redirect value, must be one of "follow" or "manual" ("error" won\'t be implemented since it does not make ' +
        'sense at the edge; use "manual" and check the response status code).',
    );
  }
  return request;
}

/** A URL, which is serialized, as those see it who are asked: without credentials and fragment. */
function addressOf(text) {
  if (!/[@#]/.test(text)) return text;
  const url = new URL(text);
  url.username = url.password = url.hash = "";
  return url.href;
}

/** A request as it is sent: its body is bytes that can be sent again, a stream, or nothing. */
class Sent {
  constructor(request) {
    const inner = toInnerRequest(request);
    this.isIncoming = inner.isIncoming;
    this.isReconnected = inner.isReconnected;
    this.method = inner.method === "patch" ? "PATCH" : inner.method;
    this.url = addressOf(inner.url());
    this.headers = [...inner.headerList];
    this.bytes = this.stream = null;
    if (inner.body !== null) this.#takeBody(inner.body);
  }

  #takeBody(body) {
    if (body.unusable()) throw new TypeError("the request's body was read already");
    const { body: known } = body.streamOrStatic;
    let length = body.length;
    if (known === undefined) {
      this.stream = body.stream;
    } else {
      body.streamOrStatic.consumed = true;
      this.bytes = typeof known === "string" ? core.encode(known) : known;
      length = this.bytes.length;
    }
    if (typeof length !== "number" || this.headers.some(([name]) => name.toLowerCase() === "content-length")) return;
    this.headers.push(["content-length", `${length}`]);
  }

  /** What is sent to where a response with this status points. */
  redirect(status, location) {
    const isChanged = status === 303 ? this.method !== "GET" && this.method !== "HEAD" : status < 303 && this.method === "POST";
    if (isChanged) {
      this.method = "GET";
      this.bytes = this.stream = null;
      this.headers = this.headers.filter(([name]) => !/^content-/i.test(name));
    } else if (this.stream !== null) {
      throw new TypeError(
        "A request with a one-time-use body (it was initialized from a stream, not a buffer) encountered a redirect requiring " +
          "the body to be retransmitted. To avoid this error in the future, construct this request from a buffer-like body " +
          "initializer.",
      );
    }
    this.url = addressOf(new URL(location, this.url).href);
  }

  /** As a Request for whoever is asked. */
  request() {
    const body = this.stream !== null ? new InnerBody(this.stream) : this.bytes === null ? null : staticBody(this.bytes);
    const inner = newInnerRequest(this.method, this.url, () => this.headers, body, false);
    inner.redirectMode = "manual";
    inner.isIncoming = this.isIncoming;
    inner.isReconnected = this.isReconnected;
    return fromInnerRequest(inner, "immutable");
  }
}

/** Sends what the arguments of fetch() say by `once`, also to where responses point. */
async function fetchBy(args, once) {
  const request = requestOf(args), sent = new Sent(request), urls = [];
  for (;;) {
    urls.push(sent.url);
    const response = await once(sent, request.signal);
    const inner = toInnerResponse(response);
    const location = redirectStatus(inner.status) && request.redirect === "follow" ? response.headers.get("location") : null;
    if (location === null) {
      inner.urlList = urls;
      return response;
    }
    if (urls.length > MOST_REDIRECTS) throw new TypeError(`Too many redirects.${urls.join(", ")}`);
    response.body?.cancel().catch(() => {});
    sent.redirect(inner.status, location);
  }
}

/** A body of no bytes, where a response of this status has a body. */
function emptyBody(status) {
  return nullBodyStatus(status) ? null : staticBody(new Uint8Array());
}

return { emptyBody, fetchBy };
})();
