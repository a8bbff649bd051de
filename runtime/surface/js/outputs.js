// What leaves an instance by other ways than its links passes the output gate here: `fetch`, with each chunk of what it
// sends, and `EventSource`, which uses it. Runs before any part takes hold of the functions that send.
import { core, primordials } from "ext:core/mod.js";
import { currentActor } from "ext:portside/context.js";
import { ops } from "ext:portside/parts.js";
const { op_output_is_open, op_output_permit } = core.ops;
// The application could replace what it finds in prototypes, and so get around the gate.
const { PromisePrototypeThen, SafeWeakMap, TypedArrayPrototypeSlice } = primordials;

const {
  op_fetch_send,
  op_readable_stream_resource_close,
  op_readable_stream_resource_write_buf,
  op_readable_stream_resource_write_error,
  op_readable_stream_resource_write_sync,
} = ops;

const isOpen = () => op_output_is_open(currentActor());
const permit = () => op_output_permit(currentActor());

/** Calls `send` now if what it sends may leave, else as soon as it may: what others hear of must be durable first. */
export function whenPermitted(send) {
  return isOpen() ? send() : PromisePrototypeThen(permit(), send);
}

// The request was made at the call, and stays as it was then; only sending it waits.
ops.op_fetch_send = (request) => whenPermitted(() => op_fetch_send(request));

// A body of a stream: its chunks, and then its end or an error.

const FULL = 2; // wait, with ..._write_buf
const failures = new SafeWeakMap(); // a body -> what resolves when its error was sent

ops.op_readable_stream_resource_write_sync = (body, chunk) =>
  isOpen() ? op_readable_stream_resource_write_sync(body, chunk) : FULL;

ops.op_readable_stream_resource_write_buf = (body, chunk) => {
  if (isOpen()) return op_readable_stream_resource_write_buf(body, chunk);
  const copy = TypedArrayPrototypeSlice(chunk);
  return PromisePrototypeThen(permit(), () => op_readable_stream_resource_write_buf(body, copy));
};

ops.op_readable_stream_resource_write_error = (body, message) => {
  if (isOpen()) return op_readable_stream_resource_write_error(body, message);
  const send = () => void op_readable_stream_resource_write_error(body, message);
  failures.set(body, PromisePrototypeThen(permit(), send));
  return true;
};

ops.op_readable_stream_resource_close = (body) => {
  const close = () => op_readable_stream_resource_close(body);
  const failure = failures.get(body);
  if (failure === undefined) whenPermitted(close);
  else PromisePrototypeThen(failure, close);
};
