// storage and the alarm.
import { core } from "ext:core/mod.js";
import { deserialize, refuseClones, serialize } from "ext:portside/clones.js";
import { has, logWarning, run } from "ext:portside/handlers.js";
const {
  op_alarm_delete,
  op_alarm_ended,
  op_alarm_get,
  op_alarm_set,
  op_storage_check,
  op_storage_check_room,
  op_storage_clear,
  op_storage_delete,
  op_storage_durable,
  op_storage_exist,
  op_storage_list,
  op_storage_load,
  op_storage_peek,
  op_storage_put,
  op_storage_undurable,
  op_storage_value,
} = core.ops;

const MISSING = 0, PRESENT = 1, UNKNOWN = 2;
const MAX_KEYS = 128;
const MAX_DATE = 8.64e15;

// ---- durability: writes are numbered, and a promise waits for the number it needs

let newest = { seq: 0, promise: undefined };

// The writes of a turn share their number, so they share one promise too.
function durable(seq) {
  if (newest.seq !== seq) newest = { seq, promise: op_storage_durable(seq).then(() => undefined) };
  return newest.promise;
}

/** Resolves when everything written so far is durable. */
export function allDurable() {
  const seq = op_storage_undurable();
  return seq === 0 ? Promise.resolve() : durable(seq);
}

// ---- arguments

function checkedKey(key) {
  if (key === undefined || key === null) throw new TypeError("a storage key must be a string");
  return wellFormed(String(key));
}

/** Keys are stored as UTF-8, in which all lone surrogates would be the same. */
function wellFormed(text) {
  if (!text.isWellFormed()) throw new TypeError("a storage key must be well-formed: it has a lone surrogate");
  return text;
}

function checkedKeys(keys) {
  if (keys.length > MAX_KEYS) {
    throw new RangeError(`a storage call may name at most ${MAX_KEYS} keys, this one names ${keys.length}`);
  }
  return keys.map(checkedKey);
}

function isEntries(value) {
  return typeof value === "object" && value !== null;
}

function listOptions(given) {
  const options = given ?? {}; // null is an empty dictionary, as Web IDL has it
  if (typeof options !== "object") throw new TypeError("storage.list() takes an object of options");
  const text = (name) => (options[name] === undefined ? undefined : wellFormed(String(options[name])));
  const wanted = {
    prefix: text("prefix"),
    start: text("start"),
    startAfter: text("startAfter"),
    end: text("end"),
    reverse: Boolean(options.reverse),
  };
  if (wanted.start !== undefined && wanted.startAfter !== undefined) {
    throw new TypeError("storage.list() takes start or startAfter, not both");
  }
  if (options.limit !== undefined) {
    const limit = Number(options.limit);
    if (!Number.isInteger(limit) || limit <= 0) {
      throw new TypeError("storage.list() needs a limit that is a positive integer");
    }
    wanted.limit = limit;
  }
  return wanted;
}

/** What setAlarm was given, in milliseconds since the epoch. */
function alarmTime(time) {
  const at = time instanceof Date ? time.getTime() : Number(time);
  if (!(at >= 0 && at <= MAX_DATE)) {
    throw new TypeError("setAlarm() needs a Date or milliseconds since the epoch, not negative");
  }
  return Math.floor(at);
}

// ---- reading and writing without transactions

async function read(key) {
  let state = op_storage_peek(key);
  if (state === UNKNOWN) {
    await op_storage_load([key]);
    state = op_storage_peek(key);
  }
  return state === PRESENT ? deserialize(op_storage_value(key)) : undefined;
}

async function readAll(keys) {
  const unknown = keys.filter((key) => op_storage_peek(key) === UNKNOWN);
  if (unknown.length > 0) await op_storage_load(unknown);
  const found = new Map();
  for (const key of [...keys].sort(byBytes)) {
    if (op_storage_peek(key) === PRESENT) found.set(key, deserialize(op_storage_value(key)));
  }
  return found;
}

function byBytes(a, b) {
  const x = core.encode(a), y = core.encode(b);
  const length = Math.min(x.length, y.length);
  for (let i = 0; i < length; i++) if (x[i] !== y[i]) return x[i] - y[i];
  return x.length - y.length;
}

function checkedValue(key, value) {
  if (value === undefined) throw new TypeError(`storage.put(): the value of ${JSON.stringify(key)} is undefined`);
  return serialize(value);
}

/** The pairs a put names, serialized, so that an invalid one changes nothing. */
function serializedEntries(keyOrEntries, value) {
  if (!isEntries(keyOrEntries)) {
    const key = checkedKey(keyOrEntries);
    return [[key, checkedValue(key, value)]];
  }
  const entries = Object.entries(keyOrEntries);
  checkedKeys(entries.map(([key]) => key));
  return entries.map(([key, value]) => [key, checkedValue(key, value)]);
}

/** Throws unless all of the entries can be put. */
function checkRoom(entries) {
  let total = 0;
  for (const [key, bytes] of entries) {
    op_storage_check(key, bytes.length);
    total += core.byteLength(key) + bytes.length + 1; // and the format's byte
  }
  op_storage_check_room(total);
}

function write(entries) {
  if (entries.length > 1) checkRoom(entries); // of one alone op_storage_put says the same
  let seq = op_storage_undurable();
  for (const [key, bytes] of entries) seq = op_storage_put(key, bytes);
  noteWrites(entries.map(([key]) => key));
  return seq === 0 ? Promise.resolve() : durable(seq);
}

async function remove(keys) {
  const states = keys.map((key) => op_storage_peek(key));
  const unknown = keys.filter((_, index) => states[index] === UNKNOWN);
  // Asked before the deletion can commit, so that the answer is about what was there.
  const asked = unknown.length > 0 ? op_storage_exist(unknown) : 0;
  let seq = op_storage_undurable();
  keys.forEach((key, index) => {
    if (states[index] !== MISSING) seq = op_storage_delete(key);
  });
  noteWrites(keys);
  const existed = states.filter((state) => state === PRESENT).length + await asked;
  if (seq !== 0) await durable(seq);
  return existed;
}

// ---- transactions: optimistic, run again when another event wrote what they read

const running = new Set();
const MAX_ATTEMPTS = 64;

function noteWrites(keys) {
  for (const transaction of running) transaction.conflict(keys);
}

class RolledBack extends Error {}

class Transaction {
  #writes = new Map(); // key -> bytes, or undefined for a deletion
  #reads = new Set();
  #ranges = [];
  #alarm;
  #state = "open"; // or "rolled back", "done"
  conflicted = false;

  conflict(keys) {
    this.conflicted ||= keys === undefined ||
      keys.some((key) => this.#reads.has(key) || this.#ranges.some((range) => inRange(key, range)));
  }

  #check() {
    if (this.#state === "rolled back") throw new RolledBack("the transaction was rolled back");
    if (this.#state === "done") throw new Error("the transaction is over");
  }

  async get(keys) {
    this.#check();
    if (Array.isArray(keys)) {
      const found = new Map();
      for (const key of checkedKeys(keys).sort(byBytes)) {
        const value = await this.#read(key);
        if (value !== undefined) found.set(key, value);
      }
      return found;
    }
    return await this.#read(checkedKey(keys));
  }

  async #read(key) {
    if (this.#writes.has(key)) {
      const bytes = this.#writes.get(key);
      return bytes === undefined ? undefined : deserialize(bytes);
    }
    this.#reads.add(key);
    return await read(key);
  }

  async put(keyOrEntries, value) {
    this.#check();
    const entries = serializedEntries(keyOrEntries, value);
    for (const [key, bytes] of entries) op_storage_check(key, bytes.length);
    for (const [key, bytes] of entries) this.#writes.set(key, bytes);
  }

  async delete(keys) {
    this.#check();
    const list = Array.isArray(keys) ? checkedKeys(keys) : [checkedKey(keys)];
    let existed = 0;
    for (const key of list) {
      if ((await this.#read(key)) !== undefined) existed++;
      this.#writes.set(key, undefined);
    }
    return Array.isArray(keys) ? existed : existed > 0;
  }

  async list(options) {
    this.#check();
    const range = listOptions(options);
    this.#ranges.push(range);
    const entries = new Map(await op_storage_list({ ...range, limit: undefined }));
    for (const [key, bytes] of this.#writes) {
      if (bytes === undefined) entries.delete(key);
      else if (inRange(key, range)) entries.set(key, bytes);
    }
    let keys = [...entries.keys()].sort(byBytes);
    if (range.reverse) keys.reverse();
    keys = keys.slice(0, range.limit);
    return new Map(keys.map((key) => [key, deserialize(entries.get(key))]));
  }

  async getAlarm() {
    this.#check();
    return this.#alarm === undefined ? storage.getAlarm() : this.#alarm;
  }

  async setAlarm(time) {
    this.#check();
    this.#alarm = alarmTime(time);
  }

  async deleteAlarm() {
    this.#check();
    this.#alarm = null;
  }

  rollback() {
    this.#check();
    this.#state = "rolled back";
  }

  get isRolledBack() {
    return this.#state === "rolled back";
  }

  /** Applies the writes, all in this turn. */
  commit() {
    this.#state = "done";
    checkRoom([...this.#writes].filter(([, bytes]) => bytes !== undefined));
    let seq = op_storage_undurable();
    for (const [key, bytes] of this.#writes) {
      seq = bytes === undefined ? op_storage_delete(key) : op_storage_put(key, bytes);
    }
    if (this.#alarm !== undefined) {
      seq = this.#alarm === null ? op_alarm_delete() : op_alarm_set(this.#alarm);
    }
    running.delete(this);
    noteWrites([...this.#writes.keys()]);
    return seq === 0 ? undefined : durable(seq);
  }

  end() {
    this.#state = this.#state === "open" ? "done" : this.#state;
    running.delete(this);
  }
}

function inRange(key, { prefix, start, startAfter, end }) {
  return (prefix === undefined || key.startsWith(prefix)) &&
    (start === undefined || byBytes(key, start) >= 0) &&
    (startAfter === undefined || byBytes(key, startAfter) > 0) &&
    (end === undefined || byBytes(key, end) < 0);
}

async function transact(closure) {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const transaction = new Transaction();
    running.add(transaction);
    try {
      const result = await closure(transaction);
      if (transaction.isRolledBack) return result;
      if (transaction.conflicted) continue;
      await transaction.commit();
      return result;
    } catch (error) {
      if (transaction.isRolledBack && error instanceof RolledBack) return undefined;
      throw error;
    } finally {
      transaction.end();
    }
  }
  throw new Error(`a storage transaction met conflicting writes ${MAX_ATTEMPTS} times`);
}

// ---- the surface

class Storage {
  async get(keys) {
    return Array.isArray(keys) ? readAll(checkedKeys(keys)) : read(checkedKey(keys));
  }

  async put(keyOrEntries, value) {
    return write(serializedEntries(keyOrEntries, value));
  }

  async delete(keys) {
    if (Array.isArray(keys)) return remove([...new Set(checkedKeys(keys))]);
    return (await remove([checkedKey(keys)])) > 0;
  }

  async list(options) {
    const entries = await op_storage_list(listOptions(options));
    return new Map(entries.map(([key, bytes]) => [key, deserialize(bytes)]));
  }

  async deleteAll() {
    const seq = op_storage_clear();
    noteWrites(undefined);
    return durable(seq);
  }

  transaction(closure) {
    if (typeof closure !== "function") throw new TypeError("storage.transaction() needs a function");
    return transact(closure);
  }

  async sync() {
    return allDurable();
  }

  async getAlarm() {
    const scheduled = op_alarm_get();
    return scheduled < 0 ? null : scheduled;
  }

  async setAlarm(time) {
    return durable(op_alarm_set(alarmTime(time)));
  }

  async deleteAlarm() {
    return durable(op_alarm_delete());
  }
}
refuseClones(Storage.prototype, "Storage");
refuseClones(Transaction.prototype, "Transaction");
export const storage = new Storage();

// A bad time is refused where it is given, like a bad argument of any other function.
export function setAlarm(time) {
  const at = alarmTime(time);
  return durable(op_alarm_set(at));
}

let warnedOfAlarm = false;

/** The alarm is due. */
export async function onAlarm(handlers, scheduledTime, retryCount) {
  const ready = has("alarm()", handlers, "alarm");
  let succeeded = ready !== undefined;
  if (ready) {
    const info = { scheduledTime, retryCount, isRetry: retryCount > 0 };
    succeeded = await run("alarm()", handlers, "alarm", info);
  } else if (succeeded && !warnedOfAlarm) {
    warnedOfAlarm = true;
    logWarning("the alarm is due, but the worker's default export has no alarm() handler");
  }
  op_alarm_ended(succeeded);
}
