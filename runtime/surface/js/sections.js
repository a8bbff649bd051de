// Sections of an object's code: while one runs, nothing else of the object does. Rust keeps events back; what others of the
// object's own code wait for is kept back here.
import { core, primordials } from "ext:core/mod.js";
import { currentRequest } from "ext:portside/context.js";
import { bootstrapCore, ops } from "ext:portside/parts.js";
const { op_object_section } = core.ops;
const { ArrayPrototypePush, Promise, PromisePrototypeThen, ReflectApply, SafeMap } = primordials;

const objects = new SafeMap(); // actor -> what of its sections runs and waits

/** An object begins to live here. */
export function objectBegins(actor) {
  objects.set(actor, { running: undefined, last: undefined, kept: [] });
}

/** It is gone: what its code waits for never comes. */
export function objectEnds(actor) {
  objects.delete(actor);
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

/** What a request, or whatever else runs, is while it runs a section. */
class SectionScope {
  #scope;

  constructor(scope, section) {
    this.#scope = scope;
    this.section = section;
  }

  get number() {
    return this.#scope.number;
  }

  get actor() {
    return this.#scope.actor;
  }

  get ports() {
    return this.#scope.ports;
  }

  get isOver() {
    return this.#scope.isOver;
  }

  get socket() {
    return this.#scope.socket;
  }

  waitUntil(promise) {
    return this.#scope.waitUntil(promise);
  }

  enter(f) {
    const outer = core.getAsyncContext();
    core.setAsyncContext(this);
    try {
      return f();
    } finally {
      core.setAsyncContext(outer);
    }
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
    return await new SectionScope(scope, own).enter(async () => await work());
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

/** A timer function whose callback waits like all else that the code of an object waits for. */
export function keptTimer(set) {
  const kept = {
    timer(callback, ...rest) {
      const scope = currentRequest();
      if (scope === undefined || scope.actor === 0 || typeof callback !== "function") return ReflectApply(set, this, arguments);
      const whenDue = (...args) => whenOpen(scope, () => ReflectApply(callback, undefined, args));
      return ReflectApply(set, this, [whenDue, ...rest]);
    },
  };
  Object.defineProperty(kept.timer, "name", { value: set.name, configurable: true });
  Object.defineProperty(kept.timer, "length", { value: set.length, configurable: true });
  return kept.timer;
}
