// Calls: what goes out with one, what comes back, and errors on their way.
(function () {
const { core, primordials } = __bootstrap;
const { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError } = primordials;
const { deserialize, serialize } = core.loadExtScript("ext:portside/clones.js");
const { describe } = core.loadExtScript("ext:portside/handlers.js");
const { joinHeaders, parseHeaders, staticBody } = core.loadExtScript("ext:portside/parts/http.js");
const { carried } = core.loadExtScript("ext:portside/parts/sockets.js");
const { ReadableStream } = core.loadExtScript("ext:deno_web/06_streams.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");
const { toInnerRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { carrySocket, fromInnerResponse, newInnerResponse } = core.loadExtScript("ext:deno_fetch/23_response.js");
const { op_call_answer, op_call_cancel, op_call_read, op_call_upload, op_call_upload_end } = core.ops;

const MOST_BYTES = 32 << 20;

/** Refuses what is too large for a call. */
function checkedSize(bytes) {
  if (bytes.length > MOST_BYTES) {
    throw new TypeError(
      `Serialized RPC arguments or return values are limited to 32MiB, but the size of this value was: ${bytes.length} bytes.`,
    );
  }
  return bytes;
}

// ---- errors

const BUILT_IN = { __proto__: null, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

/** What is told of something thrown: a structured clone. */
function thrownClone(error) {
  if (typeof error !== "object" || error === null) return serialize({ message: `${String(error)}` });
  const own = {};
  for (const name of Object.keys(error)) {
    try {
      serialize(error[name]);
      own[name] = error[name];
    } catch {
      // What cannot be cloned stays here.
    }
  }
  const { name, message, stack } = error;
  const isDom = error instanceof DOMException;
  return serialize({ name: `${name}`, message: `${message}`, stack: `${stack}`, own, isDom });
}

/** The error that somebody else threw. */
function remoteError(bytes) {
  const { name, message, stack, own, isDom } = deserialize(bytes);
  let error;
  if (isDom) {
    error = new DOMException(message, name);
  } else {
    const Kind = BUILT_IN[name] ?? Error;
    error = new Kind(message);
    if (name !== undefined && error.name !== name) error.name = name;
  }
  if (stack !== undefined) Object.defineProperty(error, "stack", { value: stack, writable: true, configurable: true });
  return Object.assign(error, own, { remote: true });
}

const FLAGS = {
  __proto__: null,
  overloaded: { overloaded: true },
  unavailable: { retryable: true },
  reset: { durableObjectReset: true },
};

/** The error that a call ends with. */
function failure({ code, message, retryAfterMs, overloaded, thrown }) {
  const error = thrown === null ? new Error(message) : remoteError(thrown);
  if (code === "reset") delete error.remote;
  Object.assign(error, overloaded ? FLAGS.overloaded : undefined, FLAGS[code]);
  if (code === "overloaded" && retryAfterMs > 0) error.retryAfterMs = retryAfterMs;
  return error;
}

// ---- answers

/** What a called method returned, as a clone. */
async function answerOf(number) {
  const { value, failed } = await op_call_answer(number);
  if (failed !== null) throw failure(failed);
  return value;
}

/** The response to a request that was sent. */
async function responseTo(number, request) {
  const { signal } = request;
  const cancel = () => op_call_cancel(number);
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel);
  try {
    const { response, failed } = await op_call_answer(number);
    if (signal.aborted) throw signal.reason;
    if (failed !== null) throw failure(failed);
    return responseOf(number, response);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

function responseOf(number, { status, reason, headers, body, streamed, socket }) {
  const inner = newInnerResponse(status, reason);
  inner.headerList = parseHeaders(headers);
  if (streamed) inner.body = new InnerBody(streamOf(number));
  else if (body !== null) inner.body = staticBody(body);
  const response = fromInnerResponse(inner, "immutable");
  if (socket) carrySocket(response, carried(number));
  return response;
}

function streamOf(number) {
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      const chunk = await op_call_read(number);
      if (chunk.length > 0) {
        controller.enqueue(chunk);
        return;
      }
      controller.close();
      controller.byobRequest?.respond(0);
    },
    cancel() {
      op_call_cancel(number);
    },
  }, { highWaterMark: 0 });
}

// ---- requests

/** Sends a request by `open`, which is given its parts and returns the call's number. */
function send(request, open) {
  const inner = toInnerRequest(request);
  const head = [inner.method, inner.url(), joinHeaders(inner.headerList)];
  if (inner.body === null) return open(...head, null, false);
  if (inner.body.unusable()) throw new TypeError("the request's body was read already");
  const { body, consumed } = inner.body.streamOrStatic;
  if (body !== undefined && !consumed) {
    inner.body.streamOrStatic.consumed = true;
    return open(...head, typeof body === "string" ? core.encode(body) : body, false);
  }
  const reader = inner.body.stream.getReader();
  const number = open(...head, null, true);
  upload(number, reader);
  return number;
}

async function upload(number, reader) {
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!(value instanceof Uint8Array)) throw new TypeError("a request's body must be a stream of Uint8Array");
      if (value.length > 0 && !(await op_call_upload(number, value))) {
        reader.cancel("nobody reads the request's body any more").catch(() => {});
        return;
      }
    }
    op_call_upload_end(number, null);
  } catch (error) {
    op_call_upload_end(number, describe(error));
  }
}

return { answerOf, checkedSize, failure, responseTo, send, thrownClone };
})();
