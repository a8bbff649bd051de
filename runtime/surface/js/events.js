// Events of this surface's own objects. deno_web dispatches for trees of nodes; without a tree there is little to do.
import { core, primordials } from "ext:core/mod.js";
import { logError } from "ext:portside/handlers.js";
import { load } from "ext:portside/parts.js";
const { op_now } = core.ops;
// The application could replace what it finds in prototypes.
const {
  ArrayPrototypeIncludes,
  ArrayPrototypeIndexOf,
  ArrayPrototypePush,
  ArrayPrototypeSlice,
  ArrayPrototypeSplice,
  FunctionPrototypeCall,
  ObjectDefineProperty,
  ObjectGetOwnPropertySymbols,
  ReflectSet,
  SymbolPrototypeGetDescription,
  TypeError,
} = primordials;

const { Event, eventTargetData, reportException, setEventTargetData, setTarget } = load("ext:deno_web/02_event.js");

/** The symbol of an own property of deno_web's. */
export function symbolOf(object, description) {
  const symbols = ObjectGetOwnPropertySymbols(object);
  for (let i = 0; i < symbols.length; i++) if (SymbolPrototypeGetDescription(symbols[i]) === description) return symbols[i];
  return undefined;
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

/**
 * Dispatches an event of the platform's that was just made at `target`, which has no parent, as the DOM standard has it.
 * Throws nothing: what listeners throw is reported.
 */
export function dispatch(target, event) {
  const attributes = event[attributesOf];
  const listeners = target[eventTargetData]?.listeners;
  const list = listeners?.[attributes.type];
  if (list === undefined || list.length === 0) {
    setTarget(event, target);
    return;
  }
  event[isTrusted] = event[isDispatched] = true;
  event[pathOf] = [{ item: target, target, rootOfClosedTree: false, slotInClosedTree: false }];
  attributes.target = attributes.currentTarget = target;
  attributes.eventPhase = AT_TARGET;
  try {
    if (list.length === 1 && !list[0].options.capture) {
      call(list, list[0], target, event);
    } else {
      if (haveCapture(list)) callAll(list, true, target, event);
      if (!event[isStopped]) callAll(list, false, target, event);
    }
  } catch (error) {
    report(error); // the application has replaced what arrays ask for
  }
  attributes.eventPhase = NONE;
  attributes.currentTarget = null;
  try {
    event[pathOf] = [];
    event[isDispatched] = event[isStopped] = event[isStoppedAtOnce] = false;
  } catch {
    // A listener has frozen it.
  }
}

function haveCapture(list) {
  for (let i = 0; i < list.length; i++) if (list[i].options.capture) return true;
  return false;
}

/** Calls those that capture, or those that do not: with no tree both hear at the target, but those that capture first. */
function callAll(list, capture, target, event) {
  // The list can change meanwhile: those that are removed do not hear of it any more, those that are added not yet.
  const present = ArrayPrototypeSlice(list);
  for (let i = 0, length = present.length; i < length && !event[isStoppedAtOnce]; i++) {
    const listener = present[i];
    if (listener.options.capture !== capture || i > 0 && !ArrayPrototypeIncludes(list, listener)) continue;
    call(list, listener, target, event);
  }
}

function call(list, listener, target, event) {
  const { callback, options } = listener;
  if (options.once) remove(list, listener);
  // That of an event that a listener has frozen stays as it is.
  if (options.passive) ReflectSet(event, isPassive, true);
  try {
    if (typeof callback === "function") FunctionPrototypeCall(callback, target, event);
    else if (typeof callback.handleEvent === "function") callback.handleEvent(event);
  } catch (error) {
    report(error);
  }
  if (options.passive) ReflectSet(event, isPassive, false);
}

/** Reports what a listener threw; logs it at least, where the application has replaced what it is reported with. */
function report(error) {
  try {
    reportException(error);
  } catch {
    logError("uncaught error", error);
  }
}

function remove(list, listener) {
  ArrayPrototypeSplice(list, ArrayPrototypeIndexOf(list, listener), 1);
  if (listener.abortListener === undefined) return;
  try {
    listener.signal.removeEventListener("abort", listener.abortListener); // maybe the application's own
  } catch (error) {
    report(error);
  }
  listener.signal = listener.abortListener = undefined;
}

/** What an event handler attribute has among the listeners, at the place where it was first set. */
class Handler {
  constructor(handler) {
    this.handler = handler;
  }

  handleEvent(event) {
    if (typeof this.handler === "function") FunctionPrototypeCall(this.handler, event.currentTarget, event);
  }
}

/** Defines an event handler attribute, `on` and the type, as HTML has it; `started` is called when one is first set. */
export function defineHandler(prototype, type, started) {
  const kept = Symbol(type);
  ObjectDefineProperty(prototype, `on${type}`, {
    __proto__: null,
    get() {
      return this[kept]?.handler ?? null;
    },
    set(given) {
      const handler = typeof given === "function" || typeof given === "object" ? given : null;
      const known = this[kept];
      if (known !== undefined) {
        known.handler = handler;
      } else if (handler !== null) {
        listen(this, type, this[kept] = new Handler(handler));
        started?.(this);
      }
    },
    configurable: true,
    enumerable: true,
  });
}

function listen(target, type, callback) {
  if (target[eventTargetData] === undefined) setEventTargetData(target);
  const { listeners } = target[eventTargetData];
  const options = { capture: false, once: false, passive: false };
  ArrayPrototypePush(listeners[type] ??= [], { callback, options, signal: undefined, abortListener: undefined });
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
    const at = this[madeAt];
    if (at === undefined) throw new TypeError("Illegal invocation");
    return at;
  },
});
