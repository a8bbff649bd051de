// The classes that an application's own extend, and what is known of their instances.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectSetPrototypeOf, ObjectPrototype } = primordials;
const { refuseClones } = core.loadExtScript("ext:portside/parts.js");

/** What others may call: an object, or a stateless entry point. */
class Callable {
  #isCallable = true;

  /** Whether methods of `value` may be called from outside: its class extends one of these. */
  static isCallable(value) {
    return typeof value === "object" && value !== null && #isCallable in value;
  }
}
const { isCallable } = Callable;
delete Callable.isCallable;

/** A stateful object with an id, of which there is one at a time. */
class DurableObject extends Callable {
  constructor(ctx, env) {
    super();
    this.ctx = ctx;
    this.env = env;
  }
}

/** An entry point of the stateless worker: an instance for each request. */
class WorkerEntrypoint extends Callable {
  constructor(ctx, env) {
    super();
    this.ctx = ctx;
    this.env = env;
  }
}

/** Whose methods others may call once they have it. */
class RpcTarget extends Callable {}

const bases = [DurableObject, RpcTarget, WorkerEntrypoint];
for (let i = 0; i < bases.length; i++) {
  // As if there were nothing between them and Object.
  ObjectSetPrototypeOf(bases[i].prototype, ObjectPrototype);
  refuseClones(bases[i].prototype, bases[i].name);
}

return { DurableObject, isCallable, RpcTarget, WorkerEntrypoint };
})();
