// A list that is never kept in memory. Each entry has a row and a key, written in a transaction that also deletes the mark of the
// entry before. The database has more pages than a row or two: much of it was written once, and is in the store's chunks.
import { Asked } from "./asked.js";

const VERSION = 1;
// What is wrong with this application, for the lab to see whether it notices.
const LIE = "";
const PADDING = 1100;

const key = (kind, index) => `${kind}/${String(index).padStart(6, "0")}`;

export class Book extends Asked {
  constructor(ctx, env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS entries (n INTEGER PRIMARY KEY, entry TEXT); CREATE TABLE IF NOT EXISTS padding (text TEXT)");
    if (sql.exec("SELECT count(*) AS n FROM padding").one().n > 0) return;
    for (let n = 0; n < PADDING; n++) sql.exec("INSERT INTO padding VALUES (?)", `${n}`.padStart(200));
  }

  async append(value) {
    const { sql } = this.ctx.storage;
    const entry = `${value}~${this.instance}`;
    return await this.ctx.storage.transaction(async (txn) => {
      const index = (await txn.get("length")) ?? 0;
      sql.exec("INSERT INTO entries VALUES (?, ?)", index, entry);
      await txn.put({ [key("mark", index)]: index, [key("twin", index)]: entry, length: index + 1 });
      if (index > 0 && !(LIE === "undeleted" && value % 7 === 3)) await txn.delete(key("mark", index - 1));
      return index;
    });
  }

  async read() {
    const of = async (prefix) => [...(await this.ctx.storage.list({ prefix })).values()];
    const first = this.ctx.storage.sql.exec("SELECT entry FROM entries ORDER BY n").raw().toArray().flat();
    return { first, second: await of("twin/"), marks: await of("mark/"), pending: [], sets: [], fired: [] };
  }

  async perform({ operation, value }) {
    switch (operation) {
      case "append": return { index: await this.append(value) };
      case "read": return await this.read();
      default: throw new Error(`no operation ${operation}`);
    }
  }
}
