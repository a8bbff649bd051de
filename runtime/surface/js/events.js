// Events of this surface's own objects. deno_web dispatches for trees of nodes; without a tree there is little to do.
import { core, primordials } from "ext:core/mod.js";
const { op_now } = core.ops;
// The application could replace what it finds in prototypes.
const { ArrayPrototypeIncludes, ArrayPrototypeIndexOf, ArrayPrototypeSlice, ArrayPrototypeSplice, FunctionPrototypeCall } = primordials;

const { Event, eventTargetData, reportException, setTarget } = core.loadExtScript("ext:deno_web/02_event.js");

/** The symbol of an own property of deno_web's. */
export function symbolOf(object, description) {
  return Object.getOwnPropertySymbols(object).find((symbol) => symbol.description === description);
}

const sample = new Event("");
const [attributesOf, isDispatched, isPassive, isStopped, isStoppedAtOnce, isTrusted, pathOf] = [
  "[[attributes]]",
  "[[dispatched]]",
  "[[inPassiveListener]]",
  "[[stopPropagationFlag]]",
  "[[stopImmediatePropagationFlag]]",
  "[[isTrusted]]",
  "[[path]]",
].map((description) => symbolOf(sample, description));

const { AT_TARGET, NONE } = Event;

/** Dispatches an event that was just made at `target`, which has no parent, as the DOM standard has it. */
export function dispatch(target, event) {
  const attributes = event[attributesOf];
  const listeners = target[eventTargetData]?.listeners;
  const list = listeners?.[attributes.type];
  if (list === undefined || list.length === 0) {
    setTarget(event, target);
    return;
  }
  event[isDispatched] = true;
  event[pathOf] = [{ item: target, target, rootOfClosedTree: false, slotInClosedTree: false }];
  attributes.target = attributes.currentTarget = target;
  attributes.eventPhase = AT_TARGET;
  // The list can change meanwhile: those that are removed do not hear of it any more, those that are added not yet.
  const present = list.length === 1 ? list : ArrayPrototypeSlice(list);
  for (let i = 0, length = present.length; i < length && !event[isStoppedAtOnce]; i++) {
    const listener = present[i];
    if (i > 0 && !ArrayPrototypeIncludes(list, listener)) continue;
    if (listener.options.once) remove(list, listener);
    if (listener.options.passive) event[isPassive] = true;
    call(listener.callback, target, event);
    event[isPassive] = false;
  }
  attributes.eventPhase = NONE;
  attributes.currentTarget = null;
  event[pathOf] = [];
  event[isDispatched] = event[isStopped] = event[isStoppedAtOnce] = false;
}

function call(callback, target, event) {
  try {
    if (typeof callback === "function") FunctionPrototypeCall(callback, target, event);
    else if (typeof callback.handleEvent === "function") callback.handleEvent(event);
  } catch (error) {
    reportException(error);
  }
}

function remove(list, listener) {
  ArrayPrototypeSplice(list, ArrayPrototypeIndexOf(list, listener), 1);
  if (listener.abortListener === undefined) return;
  listener.signal.removeEventListener("abort", listener.abortListener);
  listener.signal = listener.abortListener = undefined;
}

// deno_web's events do not know when they were made. This property is set when they are made, and hardly read.

const madeAt = Symbol("when it was made");
const trusted = Symbol("is trusted");
const clock = new Uint8Array(8);
const [seconds, nanoseconds] = [new Uint32Array(clock.buffer, 0, 1), new Uint32Array(clock.buffer, 4, 1)];

Object.defineProperty(Event.prototype, isTrusted, {
  get() {
    return this[trusted];
  },
  set(value) {
    this[trusted] = value;
    if (this[madeAt] !== undefined) return;
    op_now(clock); // as performance.now()
    this[madeAt] = seconds[0] * 1000 + nanoseconds[0] / 1e6;
  },
});
Object.defineProperty(Event.prototype, "timeStamp", {
  ...Object.getOwnPropertyDescriptor(Event.prototype, "timeStamp"),
  get() {
    return this[madeAt];
  },
});
