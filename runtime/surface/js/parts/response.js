// Response, which may also carry a WebSocket.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty, Proxy, SafeWeakMap, SafeWeakSet } = primordials;
const { isSocket } = core.loadExtScript("ext:portside/parts/sockets.js");

const response = core.loadUnmended("ext:deno_fetch/23_response.js");

const sockets = new SafeWeakMap(); // Response -> the client's end of a pair
const reconnecting = new SafeWeakSet(); // those whose clients' ends may be opened again

/** The platform's Response, which may also carry a WebSocket with status 101. */
const Response = new Proxy(response.Response, {
  __proto__: null, // what it does not have is looked up there
  construct(target, [body, init], newTarget) {
    const socket = init?.webSocket;
    if (socket === undefined || socket === null) {
      if (Number(init?.status) === 101) {
        throw new RangeError("Responses may only be constructed with status codes in the range 200 to 599, inclusive.");
      }
      return Reflect.construct(target, [body, init], newTarget);
    }
    if (!isSocket(socket)) {
      throw new TypeError(
        "Incorrect type for the 'webSocket' field on 'InitializerDict': the provided value is not of type 'WebSocket'.",
      );
    }
    if (init.status !== 101) throw new RangeError("Responses with a WebSocket must have status code 101.");
    if (body !== undefined && body !== null) {
      throw new TypeError("Response with null body status (101, 204, 205, or 304) cannot have a body.");
    }
    const made = Reflect.construct(target, [body, init], newTarget);
    sockets.set(made, socket);
    if (init.reconnects) reconnecting.add(made);
    return made;
  },
});
response.Response.prototype.constructor = Response;
ObjectDefineProperty(response.Response.prototype, "webSocket", {
  __proto__: null,
  get() {
    return sockets.get(this) ?? null;
  },
  configurable: true,
  enumerable: true,
});

const { clone } = response.Response.prototype;
response.Response.prototype.clone = {
  clone() {
    if (sockets.has(this)) throw new TypeError("Cannot clone a response to a WebSocket handshake.");
    return clone.call(this);
  },
}.clone;

/** Whether it is one, whatever the application has made of the name. */
function isResponse(value) {
  return value instanceof response.Response;
}

/** The client's end of a pair that a response carries, if any. */
function socketOf(made) {
  return sockets.get(made);
}

/** Whether the WebSocket of a response may be opened again, by the same request. */
function reconnects(made) {
  return reconnecting.has(made);
}

/** Gives a response that came from elsewhere its WebSocket. */
function carrySocket(made, socket) {
  sockets.set(made, socket);
}

return { ...response, carrySocket, isResponse, reconnects, Response, socketOf };
})();
