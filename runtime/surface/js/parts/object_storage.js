// ctx.storage: keys and values, and the alarm. All of it is in the object's database.
(function () {
const { core } = __bootstrap;
const { deserialize, serialize } = core.loadExtScript("ext:portside/clones.js");
const { refuseClones } = core.loadExtScript("ext:portside/parts.js");
const { sqlOf } = core.loadExtScript("ext:portside/parts/object_sql.js");
const {
  op_alarm_delete,
  op_alarm_ended,
  op_alarm_get,
  op_alarm_set,
  op_object_bookmark,
  op_object_clear,
  op_object_delete,
  op_object_durable,
  op_object_get,
  op_object_list,
  op_object_put,
  op_object_savepoint,
} = core.ops;

const BEGIN = 0, RELEASE = 1, ROLL_BACK = 2;
const MOST_KEYS = 128;
const make = Symbol("make");

// ---- arguments

function keyOf(key) {
  if (key === undefined || key === null) throw new TypeError("a storage key must be a string");
  return `${key}`;
}

function keysOf(keys) {
  if (keys.length > MOST_KEYS) throw new RangeError(`Maximum number of keys is ${MOST_KEYS}.`);
  return keys.map(keyOf);
}

function isEntries(value) {
  return typeof value === "object" && value !== null;
}

function rangeOf(options = undefined) {
  const given = options ?? {};
  const text = (name) => (given[name] === undefined || given[name] === null ? undefined : `${given[name]}`);
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
  if (given.limit !== undefined && given.limit !== null) {
    const limit = Math.trunc(Number(given.limit));
    if (!(limit > 0)) throw new TypeError("List limit must be positive.");
    range.limit = limit;
  }
  return range;
}

function alarmTime(time) {
  const at = time instanceof Date ? time.getTime() : Number(time);
  if (Number.isNaN(at)) throw new TypeError("setAlarm() cannot be called with an invalid time");
  if (at <= 0) throw new TypeError("setAlarm() cannot be called with an alarm time <= 0");
  return Math.floor(at);
}

// ---- keys and values, at once

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
  if (entries.length === 1) return op_object_put(actor, ...entries[0]);
  savepoint(actor, () => entries.forEach(([key, bytes]) => op_object_put(actor, key, bytes)));
}

function list(actor, options) {
  return new Map(op_object_list(actor, rangeOf(options)).map(([key, bytes]) => [key, deserialize(bytes)]));
}

/** Does what counts as a whole or not at all. */
function savepoint(actor, work) {
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

function getAlarm(actor) {
  const scheduled = op_alarm_get(actor);
  return scheduled < 0 ? null : scheduled;
}

function restoreAlarm(actor, time) {
  if (getAlarm(actor) === time) return;
  if (time === null) op_alarm_delete(actor);
  else op_alarm_set(actor, time);
}

function alarmEnded(actor, succeeded) {
  op_alarm_ended(actor, succeeded);
}

// ---- the surface

/** What storage and transactions have in common. */
class Operations {
  #actor;
  #check;

  constructor(actor, check) {
    this.#actor = actor;
    this.#check = check;
  }

  async get(keys) {
    this.#check();
    return Array.isArray(keys) ? getAll(this.#actor, [...new Set(keysOf(keys))]) : get(this.#actor, keyOf(keys));
  }

  async list(options) {
    this.#check();
    return list(this.#actor, options);
  }

  async put(keyOrEntries, value) {
    this.#check();
    if (!isEntries(keyOrEntries)) {
      const key = keyOf(keyOrEntries);
      if (value === undefined) throw new TypeError("put() called with undefined value.");
      return void op_object_put(this.#actor, key, serialize(value));
    }
    const entries = Object.entries(keyOrEntries).filter(([, value]) => value !== undefined);
    keysOf(entries.map(([key]) => key));
    putAll(this.#actor, entries.map(([key, value]) => [key, serialize(value)]));
  }

  async delete(keys) {
    this.#check();
    if (!Array.isArray(keys)) return op_object_delete(this.#actor, keyOf(keys));
    return keysOf(keys).filter((key) => op_object_delete(this.#actor, key)).length;
  }

  async getAlarm() {
    this.#check();
    return getAlarm(this.#actor);
  }

  async setAlarm(time) {
    this.#check();
    const { handles } = core.loadExtScript("ext:portside/parts/living.js");
    if (!handles(this.#actor, "alarm")) {
      throw new TypeError("Your Durable Object class must have an alarm() handler in order to call setAlarm()");
    }
    op_alarm_set(this.#actor, alarmTime(time));
  }

  async deleteAlarm() {
    this.#check();
    op_alarm_delete(this.#actor);
  }
}

class DurableObjectTransaction extends Operations {
  rollback() {
    throw new TypeError("Illegal invocation"); // each has its own
  }

  async deleteAll() {
    throw new Error("Cannot call deleteAll() within a transaction");
  }
}

class DurableObjectStorage extends Operations {
  #actor;
  #open = 0;

  constructor(key, actor) {
    if (key !== make) throw new TypeError("Illegal constructor");
    super(actor, () => {});
    this.#actor = actor;
    Object.defineProperty(this, "sql", { value: sqlOf(actor), enumerable: true });
    Object.defineProperty(this, "kv", { value: new SyncKvStorage(make, actor), enumerable: true });
  }

  async deleteAll() {
    if (this.#open > 0) throw new Error("Cannot call deleteAll() within a transaction");
    op_object_clear(this.#actor);
    op_alarm_delete(this.#actor);
  }

  async transaction(closure) {
    if (typeof closure !== "function") throw new TypeError("transaction() needs a function");
    const { section } = core.loadExtScript("ext:portside/parts/living.js");
    let outcome;
    // What the closure throws is not the object's end, as what a section of its own throws would be.
    await section(this.#actor, async () => outcome = await this.#transact(closure), () => 0);
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  async #transact(closure) {
    const actor = this.#actor, alarm = getAlarm(actor);
    let state = "open";
    const check = () => {
      if (state === "rolled back") throw new Error("Cannot perform operation on a rolled back transaction.");
      if (state !== "open") throw new Error("Cannot use transaction object after the transaction has completed.");
    };
    const transaction = new DurableObjectTransaction(actor, check);
    Object.defineProperty(transaction, "rollback", {
      value: () => {
        if (state === "rolled back") return;
        check();
        undo();
        state = "rolled back";
      },
    });
    const undo = () => {
      op_object_savepoint(actor, ROLL_BACK);
      restoreAlarm(actor, alarm);
    };
    op_object_savepoint(actor, BEGIN);
    this.#open++;
    try {
      const value = await closure(transaction);
      if (state === "open") op_object_savepoint(actor, RELEASE);
      return { value };
    } catch (error) {
      if (state === "open") undo();
      return { error };
    } finally {
      if (state === "open") state = "over";
      this.#open--;
    }
  }

  transactionSync(closure) {
    if (typeof closure !== "function") throw new TypeError("transactionSync() needs a function");
    const actor = this.#actor, alarm = getAlarm(actor);
    this.#open++;
    try {
      return savepoint(actor, closure);
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

/** ctx.storage.kv */
class SyncKvStorage {
  #actor;

  constructor(key, actor) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#actor = actor;
  }

  get(key) {
    return get(this.#actor, keyOf(key));
  }

  put(key, value) {
    op_object_put(this.#actor, keyOf(key), serialize(value));
  }

  delete(key) {
    return op_object_delete(this.#actor, keyOf(key));
  }

  *list(options) {
    for (const [key, bytes] of op_object_list(this.#actor, rangeOf(options))) yield [key, deserialize(bytes)];
  }
}

for (const surface of [DurableObjectStorage, DurableObjectTransaction, SyncKvStorage]) {
  refuseClones(surface.prototype, surface.name);
}

function storageOf(actor) {
  return new DurableObjectStorage(make, actor);
}

return { alarmEnded, storageOf };
})();
