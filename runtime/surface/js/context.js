// Which request the code that runs belongs to.
import { core } from "ext:core/mod.js";

/** The request whose handler (or its continuation) is running, if any. */
export function currentRequest() {
  return core.getAsyncContext()?.portsideRequest;
}

/** Its number, for logs; -1 if there is none. */
export function requestNumber() {
  return currentRequest()?.number ?? -1;
}
