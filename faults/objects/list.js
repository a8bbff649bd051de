// A list of values, kept twice in one turn: in rows, and under a key. Each entry says which instance appended it.
import { Asked } from "./asked.js";

const VERSION = 1;
// What is wrong with this application, for the lab to see whether it notices.
const LIE = "";

const lies = (kind, value) => LIE === kind && value % 7 === 3;

export class List extends Asked {
  constructor(ctx, env) {
    super(ctx, env);
    const { kv, sql } = ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS entries (n INTEGER PRIMARY KEY, entry TEXT); CREATE INDEX IF NOT EXISTS by_entry ON entries (entry)");
    this.first = this.rows();
    this.second = kv.get("second") ?? [];
    // Values that an alarm is to append.
    this.pending = kv.get("pending") ?? [];
    // The times for which the alarm was set, each later than the one before, and those at which it came.
    this.sets = kv.get("sets") ?? [];
    this.fired = kv.get("fired") ?? [];
    this.previous = this.contents();
  }

  rows() {
    return this.ctx.storage.sql.exec("SELECT entry FROM entries ORDER BY n").toArray().map(({ entry }) => entry);
  }

  contents() {
    const { first, second, pending, sets, fired } = this;
    return { first: [...first], second: [...second], pending: pending.map(({ value }) => value), sets: [...sets], fired: [...fired] };
  }

  insert(entry) {
    this.first.push(entry);
    this.ctx.storage.sql.exec("INSERT INTO entries (entry) VALUES (?)", entry);
  }

  append(value) {
    const entry = `${value}~${lies("two-owners", value) ? "another" : this.instance}`;
    this.previous = this.contents();
    if (lies("lost", value)) return this.first.length;
    this.insert(entry);
    if (!lies("torn", value)) this.second.push(entry);
    if (lies("twice", value)) this.insert(entry), this.second.push(entry);
    this.ctx.storage.put("second", this.second);
    return this.first.length - 1;
  }

  /** A turn that writes half of what it should, and then uses up its CPU time, or its memory. */
  half(value, memory) {
    this.insert(`${value}~${this.instance}`);
    for (const kept = [];;) {
      if (memory) kept.push(new Array(10_000).fill(value));
    }
  }

  later(value, after, spins) {
    this.pending.push({ value, spins });
    this.ctx.storage.kv.put("pending", this.pending);
    if (this.pending.length !== 1 || LIE === "no-alarm") return;
    this.sets.push(Math.max(Date.now() + after, (this.sets.at(-1) ?? 0) + 1));
    this.ctx.storage.kv.put("sets", this.sets);
    this.ctx.storage.setAlarm(this.sets.at(-1));
  }

  /** Appends, and tells another object: in a request, and by a method. */
  relay(value) {
    const index = LIE === "leaked" ? this.first.length : this.append(value);
    const mirror = this.env.MIRROR.getByName(`${this.ctx.id.name} ${value}`);
    this.ctx.waitUntil(mirror.fetch("http://mirror/").then(() => mirror.tell()));
    return index;
  }

  async read(from) {
    if (LIE === "stale") return this.previous;
    if (from === "memory") return this.contents();
    const now = await this.ctx.storage.get(["second", "pending", "sets", "fired"]);
    return {
      first: this.rows(),
      second: now.get("second") ?? [],
      pending: (now.get("pending") ?? []).map(({ value }) => value),
      sets: now.get("sets") ?? [],
      fired: now.get("fired") ?? [],
    };
  }

  async perform({ operation, value, after, spins, memory, from }) {
    switch (operation) {
      case "append": return { index: this.append(value) };
      case "relay": return { index: this.relay(value) };
      case "later": return this.later(value, after, spins), {};
      case "half": return this.half(value, memory);
      case "last": {
        this.append(value);
        await this.ctx.storage.sync();
        this.ctx.abort("last");
        return;
      }
      case "read": return await this.read(from);
      default: throw new Error(`no operation ${operation}`);
    }
  }

  alarm({ isRetry, scheduledTime }) {
    if (!isRetry && this.pending.some(({ spins }) => spins)) this.half(this.pending[0].value);
    this.fired.push([scheduledTime, isRetry]);
    if (LIE === "alarm-twice") this.fired.push([scheduledTime, isRetry]);
    this.ctx.storage.kv.put("fired", this.fired);
    for (const { value } of this.pending) this.append(value);
    this.pending = [];
    this.ctx.storage.kv.put("pending", this.pending);
  }
}
