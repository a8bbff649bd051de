// Arguments of ctx.storage's methods, and how they are refused.
(function () {

/** Throws what the platform throws for an argument that is missing or not of its type. */
function refuseArgument(surface, method, number, type) {
  throw new TypeError(`Failed to execute '${method}' on '${surface}': parameter ${number} is not of type '${type}'.`);
}

function keyOf(key) {
  return `${key}`;
}

/** The options of list(), as the host takes them. */
function rangeOf(given = undefined) {
  if (given === undefined || given === null) given = {};
  if (typeof given !== "object") refuseArgument("DurableObjectStorage", "list", 1, "ListOptions");
  const text = (name) => (given[name] === undefined ? undefined : `${given[name]}`);
  const range = {
    prefix: text("prefix"),
    start: text("start"),
    startAfter: text("startAfter"),
    end: text("end"),
    reverse: Boolean(given.reverse),
    limit: undefined,
  };
  if (range.start !== undefined && range.startAfter !== undefined) {
    throw new TypeError("list() cannot be called with both start and startAfter values.");
  }
  if (given.limit !== undefined) {
    const limit = Math.trunc(Number(given.limit));
    if (!(limit > 0)) throw new TypeError("List limit must be positive.");
    range.limit = limit;
  }
  return range;
}

return { keyOf, rangeOf, refuseArgument };
})();
