// What leaves an instance by other ways than its links passes the output gate here: `fetch`, and `EventSource`, which uses it.
// Runs before the platform's scripts take hold of the functions that send.
import { core } from "ext:core/mod.js";
const { op_output_is_open, op_output_permit } = core.ops;

const ops = core.loadExtScript("ext:portside/platform_ops.js");
const { op_fetch_send } = ops;

/** Calls `send` now if what it sends may leave, else as soon as it may: what others hear of must be durable first. */
export function whenPermitted(send) {
  return op_output_is_open() ? send() : op_output_permit().then(send);
}

// The request was made at the call, and stays as it was then; only sending it waits.
ops.op_fetch_send = (request) => whenPermitted(() => op_fetch_send(request));
