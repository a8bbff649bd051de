// Running the application's handlers: whatever they throw is logged and disregarded, and a handler that returns a promise
// keeps the instance awake until it settles.
import { core } from "ext:core/mod.js";
import { currentActor, requestNumber } from "ext:portside/context.js";
const { op_hold, op_log, op_log_rejection, op_uncaught } = core.ops;

const ERROR = 3;
const WARNING = 2;

/** Logs what nobody caught, with its stack. */
export function logError(context, error) {
  const text = describe(error);
  op_uncaught(error, text, false);
  op_log(currentActor(), `${context}: ${text}`, ERROR, requestNumber());
}

/** The same for a rejection, but for that of a module's evaluation: it is told as why that could not be loaded. */
export function logRejection(reason) {
  const text = describe(reason);
  op_uncaught(reason, text, true);
  op_log_rejection(currentActor(), reason, text, requestNumber());
}

export function logWarning(text) {
  op_log(currentActor(), text, WARNING, requestNumber());
}

/** An error for people: its stack if it has one. */
export function describe(error) {
  try {
    if (error instanceof Error || (typeof error === "object" && error !== null && "stack" in error)) {
      return String(error.stack || error);
    }
    return String(error);
  } catch {
    return "an error that cannot be shown";
  }
}

/** Keeps the instance awake until `promise` settles. Never rejects. */
export function holdUntil(promise, context) {
  const actor = currentActor();
  op_hold(actor, true);
  return Promise.resolve(promise).then(
    () => op_hold(actor, false),
    (error) => {
      op_hold(actor, false);
      logError(context, error);
    },
  );
}

/** Whether there is such a handler; undefined if even looking it up throws, which is logged. */
export function has(context, handlers, method) {
  try {
    return typeof handlers?.[method] === "function";
  } catch (error) {
    logError(context, error);
    return undefined;
  }
}

/** Calls a handler; resolves to whether it succeeded. */
export function run(context, target, method, ...args) {
  let result;
  try {
    result = target[method](...args);
    if (result === null || typeof result !== "object" || typeof result.then !== "function") {
      return Promise.resolve(true);
    }
  } catch (error) {
    logError(context, error);
    return Promise.resolve(false);
  }
  const actor = currentActor();
  op_hold(actor, true);
  return Promise.resolve(result).then(
    () => {
      op_hold(actor, false);
      return true;
    },
    (error) => {
      op_hold(actor, false);
      logError(context, error);
      return false;
    },
  );
}
