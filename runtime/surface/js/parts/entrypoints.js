// The classes that an application's own extend, and what is known of their instances.
(function () {
const { core, primordials } = __bootstrap;
const { SafeWeakSet } = primordials;
const { refuseClones } = core.loadExtScript("ext:portside/parts.js");

const states = new SafeWeakSet();

/** `state` is what an object is made with. */
function knowState(state) {
  states.add(state);
}

/** A stateful object with an id, of which there is one at a time. */
class DurableObject {
  constructor(ctx, env) {
    if (!states.has(ctx)) {
      throw new TypeError(
        "Failed to construct 'DurableObjectBase': constructor parameter 1 is not of type 'DurableObjectState'.",
      );
    }
    this.ctx = ctx;
    this.env = env;
  }
}

/** An entry point of the stateless worker: an instance for each request. */
class WorkerEntrypoint {
  constructor(ctx, env) {
    this.ctx = ctx;
    this.env = env;
  }
}

/** Whose methods others may call once they have it. */
class RpcTarget {}

/** What programs with Workflows extend; nothing runs it here. */
class WorkflowEntrypoint {
  constructor(ctx, env) {
    this.ctx = ctx;
    this.env = env;
  }
}

const bases = [DurableObject, RpcTarget, WorkerEntrypoint, WorkflowEntrypoint];
for (let i = 0; i < bases.length; i++) {
  refuseClones(bases[i].prototype, bases[i].name);
}

return { DurableObject, knowState, RpcTarget, WorkerEntrypoint, WorkflowEntrypoint };
})();
