// A counter that can be told to begin at 0 again, and remembers what it had counted until then.

import { DurableObject } from "cloudflare:workers";

const KEPT_PERIODS = 10;

export class Counter extends DurableObject {
  #storage;
  #sql;

  constructor(ctx, env) {
    super(ctx, env);
    this.#storage = ctx.storage;
    this.#sql = ctx.storage.sql;
    // Runs at every wake, and changes something only at the first.
    this.#sql.exec(`
      CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL, reset_at INTEGER);
      CREATE TABLE IF NOT EXISTS periods (ended INTEGER NOT NULL, value INTEGER NOT NULL);
      INSERT OR IGNORE INTO counter (one, value) VALUES (1, 0);
    `);
  }

  // === what stubs may call ===

  read() {
    const { value, reset_at } = this.#row();
    const periods = this.#sql.exec("SELECT ended, value FROM periods ORDER BY rowid").toArray();
    return {
      value,
      resetAt: date(reset_at),
      periods: periods.map((period) => ({ ended: date(period.ended), value: period.value })),
    };
  }

  /** The new value, or null if there is none that a number says exactly; then nothing has changed. */
  add(by) {
    const value = this.#row().value + by;
    if (!Number.isSafeInteger(value)) return null;
    this.#sql.exec("UPDATE counter SET value = ?", value);
    return value;
  }

  async resetAt(time) {
    // One turn, so that both are durable together, or neither.
    this.#sql.exec("UPDATE counter SET reset_at = ?", time.getTime());
    await this.#storage.setAlarm(time);
    return time;
  }

  async keep() {
    this.#sql.exec("UPDATE counter SET reset_at = NULL");
    await this.#storage.deleteAlarm();
  }

  // === the alarm ===

  alarm() {
    // Alarms come at least once. If this one has done its work before, there is nothing left to do.
    const { value, reset_at } = this.#row();
    if (reset_at === null || reset_at > Date.now()) return;
    this.#storage.transactionSync(() => {
      this.#sql.exec("INSERT INTO periods (ended, value) VALUES (?, ?)", reset_at, value);
      const oldest = "SELECT rowid FROM periods ORDER BY rowid DESC LIMIT -1 OFFSET ?";
      this.#sql.exec(`DELETE FROM periods WHERE rowid IN (${oldest})`, KEPT_PERIODS);
      this.#sql.exec("UPDATE counter SET value = 0, reset_at = NULL");
    });
    console.log(`reset ${this.ctx.id.name} at ${value}`);
  }

  #row() {
    return this.#sql.exec("SELECT value, reset_at FROM counter").one();
  }
}

function date(time) {
  return time === null ? null : new Date(time).toISOString();
}
