// WebSockets that objects accept themselves.

import { DurableObject } from "cloudflare:workers";

import { between } from "./between.js";
import { inside, perform, serve } from "./parity/parity.js";
import { pairs } from "./pairs.js";
import { closing } from "./closing.js";

export { Sockets } from "./objects.js";

const cases = { ...pairs, ...closing };

export class Lab extends DurableObject {
  fetch(request) {
    return perform(cases, this, request);
  }
}

/** `/OBJECT/WHAT` of a client's is the request `/WHAT` to the object of that name. */
function route(request, env) {
  const url = new URL(request.url);
  const [, name, what] = url.pathname.split("/");
  url.pathname = what;
  return env.SOCKETS.getByName(decodeURIComponent(name)).fetch(new Request(url, request));
}

export default serve({ ...inside("LAB", cases), ...between }, { fetch: route });
