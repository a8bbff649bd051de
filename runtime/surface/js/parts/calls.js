// Calls of objects: requests that go out, and what comes back.
(function () {
const { core, primordials } = __bootstrap;
const { TypeError } = primordials;
const { describe } = core.loadExtScript("ext:portside/handlers.js");
const { emptyBody } = core.loadExtScript("ext:portside/parts/fetcher.js");
const { joinHeaders, parseHeaders, staticBody } = core.loadExtScript("ext:portside/parts/http.js");
const { carried } = core.loadExtScript("ext:portside/parts/sockets.js");
const { failure, remoteError } = core.loadExtScript("ext:portside/parts/thrown.js");
const { ReadableStream } = core.loadExtScript("ext:deno_web/06_streams.js");
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");
const { carrySocket, fromInnerResponse, newInnerResponse } = core.loadExtScript("ext:deno_fetch/23_response.js");
const { op_call_answer, op_call_cancel, op_call_read, op_call_thrown, op_call_upload, op_call_upload_end } = core.ops;

/** What a called method returned, as bytes. */
async function answerOf(number) {
  const { value, failed } = await op_call_answer(number);
  if (failed !== null) throw failure(failed, false);
  return value;
}

/** Sends a request by `open`, which is given its parts and returns the call's number; resolves to the response. */
async function exchange({ method, url, headers, bytes, stream }, signal, open) {
  const number = open(method, url, joinHeaders(headers), bytes, stream !== null);
  if (stream !== null) upload(number, stream.getReader());
  const cancel = () => op_call_cancel(number);
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel);
  try {
    const { response, failed } = await op_call_answer(number);
    if (signal.aborted) throw signal.reason;
    if (failed !== null) throw failure(failed, true);
    return responseOf(number, method, response);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

function responseOf(number, method, { status, reason, headers, body, streamed, socket }) {
  const inner = newInnerResponse(status, reason);
  inner.headerList = parseHeaders(headers);
  if (method === "HEAD") {
    op_call_cancel(number);
    inner.body = emptyBody(status);
  } else if (streamed) {
    inner.body = new InnerBody(streamOf(number));
  } else if (!socket) {
    inner.body = body === null ? emptyBody(status) : staticBody(body);
  }
  const response = fromInnerResponse(inner, "immutable");
  if (socket) carrySocket(response, carried(number));
  return response;
}

/** The next of a response's body. What its sender threw is thrown here. */
async function read(number) {
  try {
    return await op_call_read(number);
  } catch (error) {
    const thrown = op_call_thrown(number);
    throw thrown === null ? error : remoteError(thrown);
  }
}

function streamOf(number) {
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      const chunk = await read(number);
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

return { answerOf, exchange };
})();
