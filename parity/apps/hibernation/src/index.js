// WebSockets that the runtime keeps for objects: ctx.acceptWebSocket.

import { DurableObject } from "cloudflare:workers";

import { accepting } from "./accepting.js";
import { attributes } from "./attributes.js";
import { inside, perform, serve } from "./parity/parity.js";

export { Silent, Sockets } from "./objects.js";

const cases = { ...accepting, ...attributes };

export class Lab extends DurableObject {
  events = [];

  fetch(request) {
    return perform(cases, this, request);
  }

  webSocketMessage(socket, message) {
    this.events.push(["message", typeof message === "string" ? message : message.constructor.name]);
    this.onMessage?.(socket, message);
  }

  webSocketClose(socket, code, reason, wasClean) {
    this.events.push(["close", code, reason, wasClean]);
    this.onClose?.(socket);
  }

  webSocketError(socket, error) {
    this.events.push(["error", String(error)]);
  }
}

/** `/CLASS/OBJECT/WHAT` of a client's is the request `/WHAT` to the object of that name. */
function route(request, env) {
  const url = new URL(request.url);
  const [, binding, name, what] = url.pathname.split("/");
  url.pathname = what;
  return env[binding].getByName(decodeURIComponent(name)).fetch(new Request(url, request));
}

export default serve(inside("LAB", cases), { fetch: route });
