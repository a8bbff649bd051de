// fetch handlers, the server's and those of objects: a Request in, a Response out.
(function () {
const { core, primordials } = __bootstrap;
const { SafeMap } = primordials;
const { describe, logError } = core.loadExtScript("ext:portside/handlers.js");
const { RequestScope } = core.loadExtScript("ext:portside/lifecycle.js");
const { isOverloaded } = core.loadExtScript("ext:portside/ports.js");
const { fetchFrom } = core.loadExtScript("ext:portside/parts/execution.js");
const { bindSocket, carrierOf, checkFree, giveKept, isPeerAccepted, keptIdOf } = core.loadExtScript("ext:portside/parts/sockets.js");
const {
  op_body_read,
  op_compatibility,
  op_respond_bytes,
  op_respond_error,
  op_respond_hibernatable,
  op_respond_overloaded,
  op_respond_socket,
  op_respond_spliced,
  op_respond_stream,
  op_respond_text,
  op_response_abort,
  op_response_end,
  op_response_write,
} = core.ops;

const { ReadableStream } = core.loadExtScript("ext:deno_web/06_streams.js");
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");
const { fromInnerRequest, newInnerRequest, toInnerRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { isResponse, reconnects, socketOf, toInnerResponse } = core.loadExtScript("ext:deno_fetch/23_response.js");

function parseHeaders(joined) {
  const parts = joined.split("\n");
  const list = [];
  for (let i = 0; i + 1 < parts.length; i += 2) list.push([parts[i], parts[i + 1]]);
  return list;
}

function joinHeaders(list) {
  let joined = "";
  for (let i = 0; i < list.length; i++) joined += `${list[i][0]}\n${list[i][1]}\n`;
  return joined;
}

function streamedBody(actor, number) {
  const stream = new ReadableStream({
    type: "bytes",
    async pull(controller) {
      const chunk = await op_body_read(actor, number);
      if (chunk.length > 0) {
        controller.enqueue(chunk);
        return;
      }
      controller.close();
      controller.byobRequest?.respond(0);
    },
  }, { highWaterMark: 0 });
  return new InnerBody(stream);
}

function staticBody(bytes) {
  const body = new InnerBody({ body: bytes, consumed: false });
  body.source = bytes;
  body.length = bytes.length;
  return body;
}

const running = new SafeMap(); // request number -> its scope, what aborts its signal, and the reader of its response

// Only a gateway sends it.
const RECONNECTED = "portside-reconnected";

const CLOUDFLARE_NAMES = 1 << 4;

/** The headers, with the client's address as Cloudflare's programs look for it, and nowhere else. */
function withClient(headers) {
  if ((op_compatibility() & CLOUDFLARE_NAMES) === 0) return headers;
  const list = parseHeaders(headers).filter(([name]) => name !== "cf-connecting-ip");
  const client = list.find(([name]) => name === "x-forwarded-for")?.[1].split(",")[0].trim();
  if (client !== undefined) list.push(["cf-connecting-ip", client]);
  return joinHeaders(list);
}

/** Runs the server's fetch. */
function onFetch(entry, number, method, url, headers, body) {
  let isReconnected = false;
  // Seldom, so that the others are not parsed; a value or a longer name may have it, too.
  if (headers.includes(RECONNECTED)) {
    const list = parseHeaders(headers);
    const others = list.filter(([name]) => name !== RECONNECTED);
    isReconnected = others.length < list.length;
    headers = joinHeaders(others);
  }
  const request = [method, url, withClient(headers), body];
  answer(new RequestScope(number), request, (request) => {
    if (typeof entry !== "function" && typeof entry?.fetch !== "function") {
      throw new TypeError("the server's default export has no fetch() handler");
    }
    const inner = toInnerRequest(request);
    inner.isIncoming = true;
    inner.isReconnected = isReconnected;
    return fetchFrom(entry, request, {});
  });
}

/** A body that is announced may be of no bytes. */
function bodyOf(actor, number, headers, body) {
  if (body === true) return streamedBody(actor, number);
  if (body !== undefined) return staticBody(body);
  return /^content-length$/im.test(headers) ? staticBody(new Uint8Array()) : null;
}

/**
 * Answers a request with what `handle` makes of it. The body is bytes, undefined for none, or true for a stream. `thrown` is
 * called for what is thrown instead of an answer.
 */
function answer(scope, [method, url, headers, body], handle, thrown = fail) {
  const { actor, number } = scope;
  const inner = newInnerRequest(method, url, () => parseHeaders(headers), bodyOf(actor, number, headers, body), false);
  inner.redirectMode = "manual"; // whoever passes it on passes on what comes back
  const known = { scope, cancel: undefined, reader: undefined };
  running.set(number, known);
  inner.onCancel = (cancel) => known.cancel = cancel;
  const request = fromInnerRequest(inner, "immutable");
  const failed = (error) => {
    try {
      thrown(scope, error);
    } finally {
      over(scope);
    }
  };
  const respond = (value) => {
    try {
      send(scope, value, failed, headers);
    } catch (error) {
      failed(error);
    }
  };
  let result;
  try {
    result = scope.enter(() => handle(request, scope));
    if (result !== null && typeof result === "object" && typeof result.then === "function") {
      Promise.resolve(result).then(respond, failed);
      return;
    }
  } catch (error) {
    failed(error);
    return;
  }
  respond(result);
}

/** The client went away before the response. What its handler began goes on, but only `waitUntil` keeps its ports. */
function onFetchAborted(number) {
  const known = running.get(number);
  if (known === undefined) return;
  known.cancel?.();
  // Its source hears of it now, not only when it has something more.
  if (known.reader !== undefined) known.scope.enter(() => cancelBody(known.reader));
  over(known.scope);
}

function cancelBody(reader) {
  reader.cancel("the client went away").catch((error) => logError("the response's body", error));
}

function fail({ actor, number }, error) {
  logError("fetch()", error);
  if (isOverloaded(error)) op_respond_overloaded(actor, number, describe(error), retryAfter(error));
  else op_respond_error(actor, number, describe(error));
}

const USUAL_RETRY_MS = 1000;
const LAST_RETRY_MS = 24 * 3600 * 1000;

/** A hint for the client, whatever the application made of the error's. */
function retryAfter(error) {
  let given;
  try {
    given = error.retryAfterMs;
  } catch {
    // A getter of the application's.
  }
  const isTime = typeof given === "number" && given > 0;
  return isTime ? Math.min(Math.ceil(given), LAST_RETRY_MS) : USUAL_RETRY_MS;
}

function over(scope) {
  running.delete(scope.number);
  scope.responded();
}

function send(scope, value, failed, asked) {
  const inner = isResponse(value) ? toInnerResponse(value) : undefined;
  if (inner === undefined) throw new TypeError("fetch() did not return a Response");
  if (inner.type === "error") throw new TypeError("fetch() returned Response.error()");
  const headers = joinHeaders(inner.headerList);
  const socket = socketOf(value);
  if (socket !== undefined) {
    sendSocket(scope, socket, headers, asked, reconnects(value));
  } else if (inner.body === null) {
    op_respond_text(scope.actor, scope.number, inner.status, inner.statusMessage, headers, "");
  } else if (!sendStatic(scope, inner, headers)) {
    sendStream(scope, inner, headers, failed);
    return;
  }
  over(scope);
}

function sendStatic({ actor, number }, inner, headers) {
  const { body, consumed } = inner.body.streamOrStatic;
  if (body === undefined) return false;
  if (consumed) throw new TypeError("fetch() returned a Response whose body was read already");
  if (typeof body === "string") op_respond_text(actor, number, inner.status, inner.statusMessage, headers, body);
  else op_respond_bytes(actor, number, inner.status, inner.statusMessage, headers, body);
  return true;
}

function sendSocket(scope, socket, headers, asked, mayReconnect) {
  const { actor, number } = scope;
  if (!parseHeaders(asked).some(([name, value]) => name === "upgrade" && value.toLowerCase() === "websocket")) {
    throw new TypeError(
      'Worker tried to return a WebSocket in a response to a request which did not contain the header "Upgrade: websocket".',
    );
  }
  const carrier = carrierOf(socket);
  if (carrier !== undefined) {
    op_respond_spliced(actor, number, headers, carrier);
    return;
  }
  checkFree(socket);
  const kept = keptIdOf(socket);
  if (kept !== undefined) {
    op_respond_hibernatable(actor, number, headers, kept);
    giveKept(socket);
    return;
  }
  if (mayReconnect && !isPeerAccepted(socket)) {
    throw new TypeError("A WebSocket that reconnects has to be accepted before its Response is returned.");
  }
  scope.extend();
  op_respond_socket(actor, number, headers, mayReconnect);
  try {
    scope.socket = bindSocket(socket, actor, number, () => scope.end());
  } catch (error) {
    scope.end();
    throw error;
  }
}

async function sendStream(scope, inner, headers, failed) {
  const { actor, number } = scope;
  let reader;
  try {
    if (inner.body.unusable()) throw new TypeError("fetch() returned a Response whose body was read already");
    reader = inner.body.stream.getReader();
    const known = running.get(number);
    if (known === undefined) cancelBody(reader); // the client went away before
    else known.reader = reader;
    op_respond_stream(actor, number, inner.status, inner.statusMessage, headers);
  } catch (error) {
    failed(error);
    return;
  }
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!(value instanceof Uint8Array)) throw new TypeError("a response's body must be a stream of Uint8Array");
      if (value.length > 0 && !(await op_response_write(actor, number, value))) {
        cancelBody(reader);
        break;
      }
    }
    op_response_end(actor, number);
  } catch (error) {
    logError("the response's body", error);
    const { thrownBytes } = core.loadExtScript("ext:portside/parts/thrown.js");
    op_response_abort(actor, number, describe(error), thrownBytes(error));
  }
  over(scope);
}

return { answer, joinHeaders, onFetch, onFetchAborted, parseHeaders, staticBody };
})();
