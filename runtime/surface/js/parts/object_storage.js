// ctx.storage: keys and values, transactions, and the alarm. All of it is in the object's database.
(function () {
const { core } = __bootstrap;
const { deserialize, serialize } = core.loadExtScript("ext:portside/clones.js");
const { section } = core.loadExtScript("ext:portside/sections.js");
const { defineSurface } = core.loadExtScript("ext:portside/parts/object_surface.js");
const { sqlOf } = core.loadExtScript("ext:portside/parts/object_sql.js");
const { kvOf } = core.loadExtScript("ext:portside/parts/object_kv.js");
const { keyOf, rangeOf, refuseArgument } = core.loadExtScript("ext:portside/parts/object_arguments.js");
const {
  op_alarm_delete,
  op_alarm_ended,
  op_alarm_get,
  op_alarm_set,
  op_compatibility,
  op_object_bookmark,
  op_object_clear,
  op_object_delete,
  op_object_durable,
  op_object_end_transaction,
  op_object_get,
  op_object_list,
  op_object_put,
  op_object_savepoint,
} = core.ops;

const BEGIN = 0, RELEASE = 1, ROLL_BACK = 2;
const DELETED_ALARMS = 1 << 3;
const MOST_KEYS = 128; // as Cloudflare documents it
const LAST_ALARM = Date.UTC(2190, 0, 1);
const make = Symbol("make");

// ---- keys and values, at once

function keysOf(keys) {
  if (keys.length > MOST_KEYS) throw new RangeError(`Maximum number of keys is ${MOST_KEYS}.`);
  return keys.map(keyOf);
}

function isEntries(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function get(actor, key) {
  const bytes = op_object_get(actor, key);
  return bytes === null ? undefined : deserialize(bytes);
}

function getAll(actor, keys) {
  const found = keys.map((key) => [key, op_object_get(actor, key)]).filter(([, bytes]) => bytes !== null);
  found.sort(([a], [b]) => byBytes(a, b));
  return new Map(found.map(([key, bytes]) => [key, deserialize(bytes)]));
}

function byBytes(a, b) {
  const x = core.encode(a), y = core.encode(b);
  const length = Math.min(x.length, y.length);
  for (let i = 0; i < length; i++) if (x[i] !== y[i]) return x[i] - y[i];
  return x.length - y.length;
}

/** Puts all entries or none. */
function putAll(actor, entries) {
  if (entries.length === 1) op_object_put(actor, ...entries[0]);
  else if (entries.length > 1) whole(actor, () => entries.forEach(([key, bytes]) => op_object_put(actor, key, bytes)));
}

/** Does what counts as a whole or not at all. */
function whole(actor, work) {
  op_object_savepoint(actor, BEGIN);
  let result;
  try {
    result = work();
  } catch (error) {
    op_object_savepoint(actor, ROLL_BACK);
    throw error;
  }
  op_object_savepoint(actor, RELEASE);
  return result;
}

// ---- the alarm

function alarmTime(time) {
  if (typeof time !== "number" && !(time instanceof Date)) refuseArgument("DurableObjectStorage", "setAlarm", 1, "date");
  const at = Math.floor(Number(time));
  if (!Number.isFinite(at)) throw new TypeError("The value cannot be converted because it is not a valid Date.");
  if (at >= LAST_ALARM) throw new TypeError("This API doesn't support dates after 2189.");
  if (at <= 0) throw new TypeError("setAlarm() cannot be called with an alarm time <= 0");
  return Math.max(at, Date.now());
}

function getAlarm(actor) {
  const scheduled = op_alarm_get(actor);
  return scheduled < 0 ? null : scheduled;
}

function restoreAlarm(actor, time) {
  if (getAlarm(actor) === time) return;
  if (time === null) op_alarm_delete(actor);
  else op_alarm_set(actor, time);
}

// ---- the surface

/**
 * What storage and transactions have in common. What a method does it does at its call, but who waits for it hears of it no
 * sooner than promises that were there before.
 */
class Operations {
  #actor;

  constructor(actor) {
    this.#actor = actor;
  }

  async get(keys) {
    if (arguments.length === 0) refuseArgument("DurableObjectStorage", "get", 1, "string or Array");
    this.#begin("get");
    const isOne = !Array.isArray(keys);
    const found = isOne ? get(this.#actor, keyOf(keys)) : getAll(this.#actor, [...new Set(keysOf(keys))]);
    await undefined;
    return found;
  }

  async list(options = undefined) {
    this.#begin("list");
    const entries = op_object_list(this.#actor, rangeOf(options));
    const found = new Map(entries.map(([key, bytes]) => [key, deserialize(bytes)]));
    await undefined;
    return found;
  }

  async put(keyOrEntries, value = undefined, options = undefined) {
    if (arguments.length === 0) refuseArgument("DurableObjectStorage", "put", 1, "string or object");
    if (options !== undefined && options !== null && typeof options !== "object") {
      refuseArgument("DurableObjectStorage", "put", 3, "PutOptions");
    }
    this.#begin("put");
    if (!isEntries(keyOrEntries)) {
      const key = keyOf(keyOrEntries);
      if (value === undefined) throw new TypeError("put() called with undefined value.");
      op_object_put(this.#actor, key, serialize(value));
    } else {
      const entries = Object.entries(keyOrEntries).filter(([, value]) => value !== undefined);
      keysOf(entries);
      putAll(this.#actor, entries.map(([key, value]) => [keyOf(key), serialize(value)]));
    }
    await undefined;
  }

  async delete(keys) {
    if (arguments.length === 0) refuseArgument("DurableObjectStorage", "delete", 1, "string or Array");
    this.#begin("delete");
    const remove = (key) => op_object_delete(this.#actor, key);
    const outcome = Array.isArray(keys) ? keysOf(keys).filter(remove).length : remove(keyOf(keys));
    await undefined;
    return outcome;
  }

  async getAlarm() {
    this.#begin("getAlarm");
    const alarm = getAlarm(this.#actor);
    await undefined;
    return alarm;
  }

  async setAlarm(time) {
    this.#begin("setAlarm");
    const at = alarmTime(time);
    const { handles } = core.loadExtScript("ext:portside/parts/living.js");
    if (!handles(this.#actor, "alarm")) {
      throw new TypeError("Your Durable Object class must have an alarm() handler in order to call setAlarm()");
    }
    op_alarm_set(this.#actor, at);
    await undefined;
  }

  async deleteAlarm() {
    this.#begin("deleteAlarm");
    op_alarm_delete(this.#actor);
    await undefined;
  }

  #begin(name) {
    check(this, name);
  }
}

const checks = new WeakMap(); // a transaction -> whether it can be used

/** Throws if a method cannot be called any more. */
function check(operations, name) {
  checks.get(operations)?.(name);
}

const rollbacks = new WeakMap();

class DurableObjectTransaction extends Operations {
  constructor(key, actor, check, rollback) {
    if (key !== make) throw new TypeError("Illegal constructor");
    super(actor);
    checks.set(this, check);
    rollbacks.set(this, rollback);
  }

  rollback() {
    rollbacks.get(this)();
  }

  async deleteAll() {
    throw new Error("Cannot call deleteAll() within a transaction");
  }
}

class DurableObjectStorage extends Operations {
  #actor;
  #open = 0;

  constructor(key, actor, isSql) {
    if (key !== make) throw new TypeError("Illegal constructor");
    super(actor);
    this.#actor = actor;
    Object.defineProperty(this, "sql", { value: sqlOf(actor, isSql), enumerable: true });
    Object.defineProperty(this, "kv", { value: kvOf(actor, isSql), enumerable: true });
  }

  async deleteAll() {
    if (this.#open > 0) throw new Error("Cannot call deleteAll() within a transaction");
    op_object_clear(this.#actor);
    if ((op_compatibility() & DELETED_ALARMS) !== 0) op_alarm_delete(this.#actor);
    await undefined;
  }

  async transaction(closure) {
    if (typeof closure !== "function") refuseArgument("DurableObjectStorage", "transaction", 1, "function");
    return await section(this.#actor, () => this.#transact(closure));
  }

  async #transact(closure) {
    const actor = this.#actor, alarm = getAlarm(actor);
    let state = "open";
    const undo = () => {
      op_object_savepoint(actor, ROLL_BACK);
      restoreAlarm(actor, alarm);
    };
    const check = (name) => {
      if (state === "rolled back") throw new Error(`Cannot ${name}() on rolled back transaction`);
      if (state === "open") return;
      throw new Error(
        `Cannot call ${name}() on transaction that has already committed: did you move \`txn\` outside of the closure?`,
      );
    };
    const rollback = () => {
      if (state === "rolled back") return;
      check("rollback");
      undo();
      state = "rolled back";
    };
    if (this.#open === 0) op_object_end_transaction(actor);
    op_object_savepoint(actor, BEGIN);
    this.#open++;
    try {
      const value = await closure(new DurableObjectTransaction(make, actor, check, rollback));
      if (state === "open") op_object_savepoint(actor, RELEASE);
      return value;
    } catch (error) {
      if (state === "open") undo();
      throw error;
    } finally {
      if (state === "open") state = "over";
      this.#open--;
    }
  }

  transactionSync(closure) {
    if (typeof closure !== "function") refuseArgument("DurableObjectStorage", "transactionSync", 1, "function");
    const actor = this.#actor, alarm = getAlarm(actor);
    this.#open++;
    try {
      return whole(actor, closure);
    } catch (error) {
      restoreAlarm(actor, alarm);
      throw error;
    } finally {
      this.#open--;
    }
  }

  async sync() {
    await op_object_durable(this.#actor);
  }

  async getCurrentBookmark() {
    return op_object_bookmark(this.#actor);
  }

  async getBookmarkForTime() {
    refusePointInTime();
  }

  async onNextSessionRestoreBookmark() {
    refusePointInTime();
  }
}

function refusePointInTime() {
  throw new Error("This Durable Object's storage back-end does not implement point-in-time recovery.");
}

// Each interface has all methods itself, with nothing between it and Object.
for (const surface of [DurableObjectStorage, DurableObjectTransaction]) {
  for (const name of Object.getOwnPropertyNames(Operations.prototype)) {
    if (Object.hasOwn(surface.prototype, name)) continue;
    Object.defineProperty(surface.prototype, name, Object.getOwnPropertyDescriptor(Operations.prototype, name));
  }
  Object.setPrototypeOf(surface.prototype, Object.prototype);
  defineSurface(surface);
}

function storageOf(actor, isSql) {
  return new DurableObjectStorage(make, actor, isSql);
}

return { alarmEnded: op_alarm_ended, storageOf };
})();
