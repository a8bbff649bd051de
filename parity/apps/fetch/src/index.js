// stub.fetch: what of a request reaches the object, and what of its response comes back.

import { errors } from "./errors.js";
import { serve } from "./parity/parity.js";
import { requests } from "./requests.js";
import { responses } from "./responses.js";

export { Bad, NoFetch, Server } from "./objects.js";

export default serve(
  { ...requests, ...responses, ...errors },
  // Whatever a client asks for is handed to an object, as many Workers do.
  { fetch: (request, env) => env.SERVER.getByName("for clients").fetch(request) },
);
