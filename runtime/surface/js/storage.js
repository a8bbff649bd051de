// storage and the alarm.
import { core } from "ext:core/mod.js";
import { deserialize, serialize } from "ext:portside/clones.js";
import { has, logWarning, run } from "ext:portside/handlers.js";
import { refuseClones } from "ext:portside/parts.js";
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

const OWN = 0; // the actor whose storage this is
const MISSING = 0, PRESENT = 1, UNKNOWN = 2;
const MAX_KEYS = 128;
const MAX_LIMIT = 2 ** 31 - 1; // Durable Objects': theirs is an int
const MAX_DATE = 8.64e15;

// ---- durability: writes are numbered, and a promise waits for the number it needs

const NONE = { seq: 0, promise: undefined };
let newest = NONE; // what is waited for; the snapshot holds no other

// The writes of a turn share their number, so they share one promise too.
function durable(seq) {
  if (newest.seq !== seq) {
    const promise = op_storage_durable(seq).then(() => {
      if (newest.promise === promise) newest = NONE;
    });
    newest = { seq, promise };
  }
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
  return keyText(key);
}

/** What a key, or a bound of keys, is as text. */
function keyText(value) {
  if (typeof value === "symbol") throw new TypeError("a storage key cannot be a symbol");
  return wellFormed(String(value));
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
  const text = (name) => (options[name] === undefined ? undefined : keyText(options[name]));
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
    if (!Number.isInteger(limit) || limit <= 0 || limit > MAX_LIMIT) {
      throw new TypeError(`storage.list() needs a limit that is a positive integer, at most ${MAX_LIMIT}`);
    }
    wanted.limit = limit;
  }
  return wanted;
}

/** What setAlarm was given, in milliseconds since the epoch. As in Durable Objects nothing else is taken for a time. */
function alarmTime(time) {
  const given = time instanceof Date ? time.getTime() : time;
  const at = typeof given === "number" ? Math.floor(given) : NaN;
  if (!(at > 0 && at <= MAX_DATE)) {
    throw new TypeError("setAlarm() needs a Date or a number of milliseconds, after 1970-01-01T00:00:00Z");
  }
  return at;
}

// ---- reading and writing without transactions

// What is read is what was there at the call, whatever is written or forgotten before it is known.

async function read(key) {
  const state = op_storage_peek(key);
  if (state === PRESENT) return deserialize(op_storage_value(key));
  if (state === MISSING) return undefined;
  const [bytes] = await op_storage_load([key]);
  return bytes === null ? undefined : deserialize(bytes);
}

/** Adds the keys that are there to `found`: key -> bytes. */
async function readInto(found, keys) {
  const unknown = [];
  for (const key of keys) {
    const state = op_storage_peek(key);
    if (state === UNKNOWN) unknown.push(key);
    else if (state === PRESENT) found.set(key, op_storage_value(key));
  }
  if (unknown.length === 0) return;
  const loaded = await op_storage_load(unknown);
  unknown.forEach((key, index) => {
    if (loaded[index] !== null) found.set(key, loaded[index]);
  });
}

/** The values of key -> bytes, in the keys' order. */
function inOrder(found) {
  const entries = [...found].sort(([a], [b]) => byBytes(a, b));
  return new Map(entries.map(([key, bytes]) => [key, deserialize(bytes)]));
}

async function readAll(keys) {
  const found = new Map();
  await readInto(found, keys);
  return inOrder(found);
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

/** The same for one pair; the operation says itself where there is no room. */
function writeOne(key, bytes) {
  const seq = op_storage_put(key, bytes);
  noteWrites([key]);
  return durable(seq);
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
  for (const transaction of running) noteConflict(transaction, keys);
}

/** Numbers a change of the alarm that `change` makes. */
function changeAlarm(change) {
  const seq = change();
  for (const transaction of running) noteAlarmChange(transaction);
  return seq;
}

// What the engine does with a transaction; the application has the methods alone.
let noteConflict, noteAlarmChange, commit, end, isConflicted, isRolledBack;
const begin = Symbol("begin");

class Transaction {
  #writes = new Map(); // key -> bytes, or undefined for a deletion
  #reads = new Set();
  #ranges = [];
  #alarm;
  #readsAlarm = false;
  #state = "open"; // or "rolled back", "done"
  #conflicted = false;

  static {
    noteConflict = (transaction, keys) => transaction.#noteConflict(keys);
    noteAlarmChange = (transaction) => transaction.#conflicted ||= transaction.#readsAlarm;
    commit = (transaction) => transaction.#commit();
    end = (transaction) => transaction.#end();
    isConflicted = (transaction) => transaction.#conflicted;
    isRolledBack = (transaction) => transaction.#state === "rolled back";
  }

  constructor(key) {
    if (key !== begin) throw new TypeError("Illegal constructor");
  }

  #noteConflict(keys) {
    this.#conflicted ||= keys === undefined ||
      keys.some((key) => this.#reads.has(key) || this.#ranges.some((range) => inRange(key, range)));
  }

  #check() {
    if (this.#state === "rolled back") throw new Error("Cannot perform operation on a rolled back transaction");
    if (this.#state === "done") throw new Error("the transaction is over");
  }

  // What a method reads and writes is settled at its call, before it waits for anything.

  async get(keys) {
    this.#check();
    if (!Array.isArray(keys)) {
      const key = checkedKey(keys);
      if (!this.#writes.has(key)) {
        this.#reads.add(key);
        return await read(key);
      }
      const bytes = this.#writes.get(key);
      return bytes === undefined ? undefined : deserialize(bytes);
    }
    const found = new Map(), others = [];
    for (const key of checkedKeys(keys)) {
      const bytes = this.#writes.get(key);
      if (bytes !== undefined) {
        found.set(key, bytes);
      } else if (!this.#writes.has(key)) {
        this.#reads.add(key);
        others.push(key);
      }
    }
    await readInto(found, others);
    return inOrder(found);
  }

  async put(keyOrEntries, value) {
    this.#check();
    const entries = serializedEntries(keyOrEntries, value);
    this.#check(); // a getter of what is put may have ended it
    for (const [key, bytes] of entries) op_storage_check(key, bytes.length);
    for (const [key, bytes] of entries) this.#writes.set(key, bytes);
  }

  async delete(keys) {
    this.#check();
    const unknown = [];
    let existed = 0;
    for (const key of Array.isArray(keys) ? checkedKeys(keys) : [checkedKey(keys)]) {
      if (this.#writes.has(key)) {
        if (this.#writes.get(key) !== undefined) existed++;
      } else {
        this.#reads.add(key);
        const state = op_storage_peek(key);
        if (state === PRESENT) existed++;
        else if (state === UNKNOWN) unknown.push(key);
      }
      this.#writes.set(key, undefined);
    }
    if (unknown.length > 0) existed += await op_storage_exist(unknown);
    return Array.isArray(keys) ? existed : existed > 0;
  }

  async list(options) {
    this.#check();
    const range = listOptions(options);
    this.#ranges.push(range);
    const written = [...this.#writes].filter(([key]) => inRange(key, range));
    const deleted = written.filter(([, bytes]) => bytes === undefined).length;
    const limit = range.limit === undefined ? undefined : range.limit + deleted;
    const entries = new Map(await op_storage_list({ ...range, limit }));
    for (const [key, bytes] of written) {
      if (bytes === undefined) entries.delete(key);
      else entries.set(key, bytes);
    }
    let keys = [...entries.keys()].sort(byBytes);
    if (range.reverse) keys.reverse();
    keys = keys.slice(0, range.limit);
    return new Map(keys.map((key) => [key, deserialize(entries.get(key))]));
  }

  async getAlarm() {
    this.#check();
    if (this.#alarm !== undefined) return this.#alarm;
    this.#readsAlarm = true;
    return storage.getAlarm();
  }

  async setAlarm(time) {
    this.#check();
    this.#alarm = alarmTime(time);
  }

  async deleteAlarm() {
    this.#check();
    this.#alarm = null;
  }

  /** More than once is no error. */
  rollback() {
    if (this.#state === "rolled back") return;
    this.#check();
    this.#state = "rolled back";
  }

  /** Applies the writes, all in this turn. */
  #commit() {
    this.#state = "done";
    checkRoom([...this.#writes].filter(([, bytes]) => bytes !== undefined));
    let seq = op_storage_undurable();
    for (const [key, bytes] of this.#writes) {
      seq = bytes === undefined ? op_storage_delete(key) : op_storage_put(key, bytes);
    }
    running.delete(this);
    if (this.#alarm !== undefined) {
      seq = changeAlarm(() => this.#alarm === null ? op_alarm_delete(OWN) : op_alarm_set(OWN, this.#alarm));
    }
    noteWrites([...this.#writes.keys()]);
    return seq === 0 ? undefined : durable(seq);
  }

  #end() {
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
    const transaction = new Transaction(begin);
    running.add(transaction);
    try {
      const result = await closure(transaction);
      if (isRolledBack(transaction)) return result;
      if (isConflicted(transaction)) continue;
      await commit(transaction);
      return result;
    } finally {
      end(transaction);
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
    if (isEntries(keyOrEntries)) return write(serializedEntries(keyOrEntries, value));
    const key = checkedKey(keyOrEntries);
    return writeOne(key, checkedValue(key, value));
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
    const scheduled = op_alarm_get(OWN);
    return scheduled < 0 ? null : scheduled;
  }

  async setAlarm(time) {
    const at = alarmTime(time);
    return durable(changeAlarm(() => op_alarm_set(OWN, at)));
  }

  async deleteAlarm() {
    return durable(changeAlarm(() => op_alarm_delete(OWN)));
  }
}
refuseClones(Storage.prototype, "Storage");
refuseClones(Transaction.prototype, "Transaction");
export const storage = new Storage();

// A bad time is refused where it is given, like a bad argument of any other function.
export function setAlarm(time) {
  const at = alarmTime(time);
  return durable(changeAlarm(() => op_alarm_set(OWN, at)));
}

let warnedOfAlarm = false;

/** The alarm is due. */
export async function onAlarm(handlers, scheduledTime, retryCount) {
  changeAlarm(() => {}); // the one that fires is not armed any more
  const ready = has("alarm()", handlers, "alarm");
  let succeeded = ready !== undefined;
  if (ready) {
    const info = { scheduledTime, retryCount, isRetry: retryCount > 0 };
    succeeded = await run("alarm()", handlers, "alarm", info);
  } else if (succeeded && !warnedOfAlarm) {
    warnedOfAlarm = true;
    logWarning("the alarm is due, but the worker's default export has no alarm() handler");
  }
  changeAlarm(() => op_alarm_ended(OWN, succeeded));
}
