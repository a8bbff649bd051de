// ctx.storage.kv: the same keys and values, without promises.
(function () {
const { core } = __bootstrap;
const { deserialize, serialize } = core.loadExtScript("ext:portside/clones.js");
const { keyOf, rangeOf, refuseArgument } = core.loadExtScript("ext:portside/parts/object_arguments.js");
const { defineSurface } = core.loadExtScript("ext:portside/parts/object_surface.js");
const { op_object_delete, op_object_get, op_object_list, op_object_put } = core.ops;

const make = Symbol("make");
const NO_KV = "The storage.kv (synchronous KV) API is only available for SQLite-backed Durable Objects, but this object's " +
  "namespace is not declared to use SQLite. You can use the older, asyncronous interface via methods of `storage` itself " +
  "(e.g. `storage.get()`). Alternatively, to enable SQLite, change `new_classes` to `new_sqlite_classes` within the " +
  "'migrations' field in your wrangler.jsonc or wrangler.toml file. If using workerd directly, set `enableSql = true` in your " +
  "workerd config for the class. Note that this change cannot be made after the class is already deployed to production.";

class SyncKvStorage {
  #actor;
  #isSql;
  #listing; // the iterator of the last list()

  constructor(key, actor, isSql) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#actor = actor;
    this.#isSql = isSql;
  }

  #check() {
    if (!this.#isSql) throw new Error(NO_KV);
  }

  get(key) {
    this.#check();
    if (arguments.length === 0) refuseArgument("SyncKvStorage", "get", 1, "string");
    const bytes = op_object_get(this.#actor, keyOf(key));
    return bytes === null ? undefined : deserialize(bytes);
  }

  put(key, value) {
    this.#check();
    if (arguments.length < 2) refuseArgument("SyncKvStorage", "put", arguments.length + 1, ["string", "Value"][arguments.length]);
    op_object_put(this.#actor, keyOf(key), serialize(value));
  }

  delete(key) {
    this.#check();
    if (arguments.length === 0) refuseArgument("SyncKvStorage", "delete", 1, "string");
    return op_object_delete(this.#actor, keyOf(key));
  }

  list(options = undefined) {
    this.#check();
    const listing = new ListIterator(make, this.#actor, rangeOf(options), () => this.#listing === listing);
    return this.#listing = listing;
  }
}

/** Reads entry by entry, so that it sees what was written meanwhile. */
class ListIterator {
  #actor;
  #range;
  #isLast;

  constructor(key, actor, range, isLast) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#actor = actor;
    this.#range = range;
    this.#isLast = isLast;
  }

  next() {
    const range = this.#range;
    if (range === undefined) return { done: true, value: undefined };
    if (!this.#isLast()) {
      throw new Error(
        "kv.list() iterator was invalidated because a new call to kv.list() was started. Only one kv.list() iterator can exist " +
          "at a time.",
      );
    }
    const entry = op_object_list(this.#actor, { ...range, limit: 1 })[0];
    if (entry === undefined) {
      this.#range = undefined;
      return { done: true, value: undefined };
    }
    const [key, bytes] = entry;
    if (range.reverse) range.end = key;
    else [range.start, range.startAfter] = [undefined, key];
    if (range.limit !== undefined && --range.limit === 0) this.#range = undefined;
    return { done: false, value: [key, deserialize(bytes)] };
  }
}
Object.setPrototypeOf(ListIterator.prototype, Iterator.prototype);
defineSurface(ListIterator);
defineSurface(SyncKvStorage);

function kvOf(actor, isSql) {
  return new SyncKvStorage(make, actor, isSql);
}

return { kvOf };
})();
