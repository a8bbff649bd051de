// ctx.storage.sql.
(function () {
const { core } = __bootstrap;
const { refuseClones } = core.loadExtScript("ext:portside/parts.js");
const { op_sql_columns, op_sql_counts, op_sql_exec, op_sql_next, op_sql_size } = core.ops;

const make = Symbol("make");

/** What a statement gives, row by row. */
class SqlStorageCursor {
  #actor;
  #number;
  #columns;

  constructor(key, actor, number) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#actor = actor;
    this.#number = number;
  }

  get columnNames() {
    return [...this.#names()];
  }

  get rowsRead() {
    return op_sql_counts(this.#actor, this.#number)[0];
  }

  get rowsWritten() {
    return op_sql_counts(this.#actor, this.#number)[1];
  }

  #names() {
    return this.#columns ??= op_sql_columns(this.#actor, this.#number);
  }

  #row() {
    const values = op_sql_next(this.#actor, this.#number);
    if (values === null) return undefined;
    const names = this.#names(), row = {};
    for (let i = 0; i < names.length; i++) row[names[i]] = values[i];
    return row;
  }

  next() {
    const value = this.#row();
    return value === undefined ? { done: true } : { done: false, value };
  }

  toArray() {
    return [...this];
  }

  one() {
    const row = this.#row();
    if (row === undefined) throw new Error("Expected exactly one result from SQL query, but got no results.");
    if (this.#row() !== undefined) throw new Error("Expected exactly one result from SQL query, but got multiple results.");
    return row;
  }

  *#rawRows() {
    for (let row; (row = op_sql_next(this.#actor, this.#number)) !== null;) yield row;
  }

  raw() {
    const rows = this.#rawRows();
    return Object.assign(rows, { toArray: () => [...rows] });
  }

  [Symbol.iterator]() {
    return Object.setPrototypeOf({ next: () => this.next() }, Iterator.prototype);
  }
}

class SqlStorage {
  #actor;

  constructor(key, actor) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#actor = actor;
  }

  exec(sql, ...bindings) {
    if (typeof sql !== "string") sql = `${sql}`;
    return new SqlStorageCursor(make, this.#actor, op_sql_exec(this.#actor, sql, bindings.map(bound)));
  }

  get databaseSize() {
    return op_sql_size(this.#actor);
  }
}
SqlStorage.prototype.Cursor = SqlStorageCursor;
SqlStorage.prototype.Statement = class SqlStorageStatement {};

/** What SQLite is given for a value. */
function bound(value) {
  switch (typeof value) {
    case "number":
    case "string":
      return value;
    case "undefined":
      return null;
    case "bigint":
      throw new TypeError("BigInt values cannot be bound: give a number or a string");
    case "object":
      if (value === null || value instanceof ArrayBuffer) return value;
      if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      return `${value}`;
    default:
      return `${value}`;
  }
}

refuseClones(SqlStorageCursor.prototype, "SqlStorageCursor");
refuseClones(SqlStorage.prototype, "SqlStorage");

function sqlOf(actor) {
  return new SqlStorage(make, actor);
}

return { sqlOf };
})();
