// Sections of an object's code: while one runs, nothing else of the object does. Rust keeps events back; what others of the
// object's own code wait for is kept back here.
import { core, primordials } from "ext:core/mod.js";
import { currentRequest, InnerScope } from "ext:portside/context.js";
import { bootstrapCore, load, ops } from "ext:portside/parts.js";
const { op_object_section, op_timer } = core.ops;
const {
  ArrayPrototypePush,
  MapPrototypeDelete,
  MapPrototypeGet,
  Promise,
  PromisePrototypeThen,
  ReflectApply,
  SafeMap,
  SafeSet,
  SetPrototypeDelete,
  SetPrototypeForEach,
} = primordials;

const objects = new SafeMap(); // actor -> what of its sections runs and waits

/** An object begins to live here. */
export function objectBegins(actor) {
  objects.set(actor, { running: undefined, last: undefined, kept: [], timers: new SafeSet() });
}

/** It is gone: what its code waits for never comes. */
export function objectEnds(actor) {
  const object = objects.get(actor);
  if (object === undefined) return;
  objects.delete(actor);
  const { clearTimeout } = load("ext:deno_web/02_timers.js");
  SetPrototypeForEach(object.timers, (id) => {
    MapPrototypeDelete(timers, id);
    clearTimeout(id);
  });
}

/** A part of the code that nothing else of the object may come between. */
class Section {
  isOpen = true;
  last; // of the sections that were begun in it, the last one's end
  outer;
  depth;

  constructor(outer) {
    this.outer = outer;
    this.depth = outer === undefined ? 1 : outer.depth + 1;
  }
}

/** The section that the code which runs is in. */
function currentSection(scope) {
  let section = scope.section;
  while (section !== undefined && !section.isOpen) section = section.outer;
  return section;
}

/** How deep a section is that begins now. */
export function depthOfNext() {
  return 1 + (currentSection(currentRequest())?.depth ?? 0);
}

/** Runs `work` when the sections before it have ended; resolves to what it does. */
export async function section(actor, work) {
  const scope = currentRequest(), outer = currentSection(scope), object = objects.get(actor);
  const chain = outer ?? object;
  const own = new Section(outer), before = chain.last;
  let ended;
  chain.last = new Promise((resolve) => ended = resolve);
  op_object_section(actor, true);
  await before;
  object.running = own;
  try {
    return await new InnerScope(scope, { section: own }).enter(async () => await work());
  } finally {
    own.isOpen = false;
    object.running = outer;
    op_object_section(actor, false);
    ended();
    letGo(object);
  }
}

/** Whether code of this scope may run now. */
function mayRun({ running }, scope) {
  if (running === undefined) return true;
  for (let section = scope.section; section !== undefined; section = section.outer) {
    if (section === running) return true;
  }
  return false;
}

/** Does `step` when the code of this scope may run; never, if its object is gone. */
function whenOpen(scope, step) {
  const object = objects.get(scope.actor);
  if (object === undefined) return;
  if (mayRun(object, scope)) step();
  else ArrayPrototypePush(object.kept, { scope, step });
}

function letGo(object) {
  const { kept } = object;
  object.kept = [];
  for (let i = 0; i < kept.length; i++) whenOpen(kept[i].scope, kept[i].step);
}

/** A promise of the host's that settles only while code of its object may run. */
function keptBack(scope, promise) {
  return new Promise((resolve, reject) => {
    PromisePrototypeThen(
      promise,
      (value) => whenOpen(scope, () => resolve(value)),
      (error) => whenOpen(scope, () => reject(error)),
    );
  });
}

/** The operations that bring something from outside. */
const WAITS = [
  "op_blob_read_part",
  "op_body_read",
  "op_call_answer",
  "op_call_hear",
  "op_call_read",
  "op_call_say",
  "op_call_upload",
  "op_fetch_send",
  "op_message_port_recv_message",
  "op_object_durable",
  "op_output_permit",
  "op_read_all",
  "op_response_write",
  "op_websocket_next",
];

function kept(op) {
  return (...args) => {
    const scope = currentRequest(), promise = ReflectApply(op, undefined, args);
    return scope === undefined || scope.actor === 0 ? promise : keptBack(scope, promise);
  };
}

// Parts, which are loaded after this, get these.
for (const name of WAITS) ops[name] = kept(ops[name]);
bootstrapCore.read = kept(core.read);

const timers = new SafeMap(); // number of an object's timer -> whose it is

function forgetTimer(id) {
  const actor = MapPrototypeGet(timers, id);
  if (actor === undefined) return;
  MapPrototypeDelete(timers, id);
  const object = objects.get(actor);
  if (object !== undefined) SetPrototypeDelete(object.timers, id);
  op_timer(actor, false);
}

function named(like, f) {
  Object.defineProperty(f, "name", { value: like.name, configurable: true });
  Object.defineProperty(f, "length", { value: like.length, configurable: true });
  return f;
}

/**
 * A function that sets timers. An object's keeps it awake, ends with it, and its callback waits like all else that the code of
 * an object waits for.
 */
export function keptTimer(set, isOnce) {
  const { timer } = {
    timer(callback, ...rest) {
      const scope = currentRequest(), object = scope === undefined ? undefined : objects.get(scope.actor);
      if (object === undefined || typeof callback !== "function") return ReflectApply(set, this, arguments);
      const whenDue = (...args) => {
        if (isOnce) forgetTimer(id);
        whenOpen(scope, () => ReflectApply(callback, undefined, args));
      };
      const id = ReflectApply(set, this, [whenDue, ...rest]);
      timers.set(id, scope.actor);
      object.timers.add(id);
      op_timer(scope.actor, true);
      return id;
    },
  };
  return named(set, timer);
}

/** A function that clears such timers. */
export function keptClear(clear) {
  const { timer } = {
    timer(id = undefined) {
      forgetTimer(typeof id === "string" ? Number(id) : id);
      return ReflectApply(clear, this, arguments);
    },
  };
  return named(clear, timer);
}
