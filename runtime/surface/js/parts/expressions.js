// Expressions that people have evaluated in a live instance, and what they are shown of the result.
(function () {
const { core, primordials } = __bootstrap;
const { ReflectApply } = primordials;
const { serialize } = core.loadExtScript("ext:portside/clones.js");
const { describe } = core.loadExtScript("ext:portside/handlers.js");
const { RequestScope } = core.loadExtScript("ext:portside/lifecycle.js");
const { inspect } = core.loadExtScript("ext:deno_web/01_console.js");
const { clearTimeout, setTimeout } = core.loadExtScript("ext:deno_web/02_timers.js");
const { op_object_resolve } = core.ops;

const MOST_MS = 30_000;

/** As the console shows it, and, if it can be cloned, itself. */
function shown(value) {
  const text = inspect(value);
  try {
    return serialize({ text, value });
  } catch {
    return serialize({ text });
  }
}

/** What a promise comes to, unless that takes too long: whoever asked waits no longer, nor is the instance kept awake for it. */
function inTime(promise) {
  return new Promise((resolve, reject) => {
    const tooLate = () => reject("what it waits for has not come within 30 s; it goes on without you");
    const late = setTimeout(tooLate, MOST_MS);
    promise.finally(() => clearTimeout(late)).then(resolve, reject);
  });
}

/** Evaluates with `self` as `this`. `compiled` is a function, or `wrong` says why there is none. */
function onEvaluate(actor, number, self, module, compiled, wrong) {
  const scope = new RequestScope(number, actor);
  const outcome = scope.enter(async () => {
    if (compiled === undefined) throw wrong;
    return shown(await inTime(ReflectApply(compiled, self, [module])));
  });
  outcome
    .catch((error) => serialize({ thrown: describe(error) }))
    .then((bytes) => op_object_resolve(actor, number, bytes))
    .finally(() => scope.responded());
}

return { onEvaluate };
})();
