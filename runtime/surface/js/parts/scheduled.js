// The server's scheduled handler, which crons run.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty } = primordials;
const { logError } = core.loadExtScript("ext:portside/handlers.js");
const { RequestScope } = core.loadExtScript("ext:portside/lifecycle.js");
const { handlersOf } = core.loadExtScript("ext:portside/parts/execution.js");
const { defineSurface, illegalInvocation } = core.loadExtScript("ext:portside/parts/object_surface.js");
const { op_ran } = core.ops;

const make = Symbol("make");

/** What the handler is told, and what it may say. */
class ScheduledController {
  #noRetry = false;

  constructor(key, scheduledTime, cron) {
    if (key !== make) throw new TypeError("Illegal constructor");
    ObjectDefineProperty(this, "scheduledTime", { __proto__: null, value: scheduledTime, enumerable: true });
    ObjectDefineProperty(this, "cron", { __proto__: null, value: cron, enumerable: true });
  }

  get type() {
    return "scheduled";
  }

  noRetry() {
    if (typeof this !== "object" || this === null || !(#noRetry in this)) throw illegalInvocation();
    this.#noRetry = true;
  }

  static isFinal(controller) {
    return controller.#noRetry;
  }
}
const { isFinal } = ScheduledController;
delete ScheduledController.isFinal;
defineSurface(ScheduledController);

/** A run: it is over when the handler and all that it gave to waitUntil have settled. */
class RunScope extends RequestScope {
  #controller;
  #open = 1; // the handler
  #succeeded = true;

  constructor(number, controller) {
    super(number);
    this.#controller = controller;
  }

  waitUntil(promise) {
    this.#open++;
    const settles = Promise.resolve(promise);
    settles.then(() => this.settled(true), () => this.settled(false));
    super.waitUntil(settles);
  }

  settled(succeeded) {
    this.#succeeded &&= succeeded;
    if (--this.#open > 0) return;
    op_ran(this.number, this.#succeeded, isFinal(this.#controller));
    this.responded();
  }
}

async function run(entry, controller) {
  const { handlers, rest } = handlersOf(entry, {});
  if (typeof handlers?.scheduled !== "function") throw new Error("Handler does not export a scheduled() function.");
  await handlers.scheduled(controller, ...rest);
}

/** Runs the handler of the server's entry point. */
function onScheduled(entry, number, scheduledTime, cron) {
  const controller = new ScheduledController(make, scheduledTime, cron);
  const scope = new RunScope(number, controller);
  scope.enter(() =>
    run(entry, controller).then(
      () => scope.settled(true),
      (error) => {
        logError("scheduled()", error);
        scope.settled(false);
      },
    )
  );
}

return { onScheduled };
})();
