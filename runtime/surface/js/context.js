// Which request, and which instance, the code that runs belongs to. deno_core keeps it for each continuation, as what it calls
// the async context: nothing else uses that here.
import { core } from "ext:core/mod.js";

/** The request whose handler (or its continuation) is running, if any. */
export const currentRequest = core.getAsyncContext;

/** Which of the instances in this isolate the code that runs is of: 0 is the isolate's own. */
export function currentActor() {
  return core.getAsyncContext()?.actor ?? 0;
}

/** The request's number, for logs; -1 if there is none. */
export function requestNumber() {
  return core.getAsyncContext()?.number ?? -1;
}

/** What a request, or whatever else runs, is in a part of its code: what it is else, in a section or with an `env` of its own. */
export class InnerScope {
  #scope;

  constructor(scope, { env = scope.env, section = scope.section }) {
    this.#scope = scope;
    this.env = env;
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
    return inRequest(this, f);
  }
}

/** Runs `f` so that whatever it starts belongs to `request`. */
export function inRequest(request, f) {
  const outer = core.getAsyncContext();
  core.setAsyncContext(request);
  try {
    return f();
  } finally {
    core.setAsyncContext(outer);
  }
}
