// ctx.storage.sql.
(function () {
const { core } = __bootstrap;
const { refuseArgument } = core.loadExtScript("ext:portside/parts/object_arguments.js");
const { defineSurface } = core.loadExtScript("ext:portside/parts/object_surface.js");
const { op_sql_close, op_sql_columns, op_sql_counts, op_sql_exec, op_sql_next, op_sql_size } = core.ops;

const make = Symbol("make");
const NO_SQL = "SQL is not enabled for this Durable Object class. To enable it, change `new_classes` to `new_sqlite_classes` " +
  "within the 'migrations' field in your wrangler.jsonc or wrangler.toml file. If using workerd directly,set `enableSql = " +
  "true` in your workerd config for the class. Note that this change cannot be made after the class is already deployed to " +
  "production.";

/** Closes cursors that nobody reads to their end. */
const abandoned = new FinalizationRegistry(([actor, number]) => op_sql_close(actor, number));

/** What a statement gives, row by row. */
class SqlStorageCursor {
  #actor;
  #number; // undefined at the end
  #names;
  #counts; // at the end

  constructor(key, actor, number) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#actor = actor;
    this.#number = number;
    abandoned.register(this, [actor, number], this);
  }

  get columnNames() {
    return [...this.#columns()];
  }

  get rowsRead() {
    return (this.#counts ?? op_sql_counts(this.#actor, this.#number))[0];
  }

  get rowsWritten() {
    return (this.#counts ?? op_sql_counts(this.#actor, this.#number))[1];
  }

  #columns() {
    return this.#names ??= op_sql_columns(this.#actor, this.#number);
  }

  /** The values of the next row; null at the end. */
  #values() {
    if (this.#number === undefined) return null;
    const values = op_sql_next(this.#actor, this.#number);
    if (values === null) {
      this.#columns();
      this.#counts = op_sql_counts(this.#actor, this.#number);
      op_sql_close(this.#actor, this.#number);
      abandoned.unregister(this);
      this.#number = undefined;
    }
    return values;
  }

  #row() {
    const values = this.#values();
    if (values === null) return undefined;
    const names = this.#columns(), row = {};
    for (let i = 0; i < names.length; i++) row[names[i]] = values[i];
    return row;
  }

  next() {
    const value = this.#row();
    return { done: value === undefined, value };
  }

  toArray() {
    const rows = [];
    for (let row; (row = this.#row()) !== undefined;) rows.push(row);
    return rows;
  }

  one() {
    const row = this.#row();
    if (row === undefined) throw new Error("Expected exactly one result from SQL query, but got no results.");
    if (this.#values() === null) return row;
    while (this.#values() !== null);
    throw new Error("Expected exactly one result from SQL query, but got multiple results.");
  }

  raw() {
    return new RawIterator(make, () => this.#values());
  }

  [Symbol.iterator]() {
    return new RowIterator(make, () => this.#row());
  }
}

/** The rows of a cursor, as objects. */
class RowIterator {
  #next;

  constructor(key, next) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#next = next;
  }

  next() {
    const value = this.#next();
    return { done: value === undefined, value };
  }
}

/** The rows of a cursor, as arrays. */
class RawIterator {
  #next;

  constructor(key, next) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#next = next;
  }

  next() {
    const value = this.#next() ?? undefined;
    return { done: value === undefined, value };
  }

  toArray() {
    return [...this];
  }
}

class SqlStorage {
  #actor;
  #isSql;

  constructor(key, actor, isSql) {
    if (key !== make) throw new TypeError("Illegal constructor");
    this.#actor = actor;
    this.#isSql = isSql;
  }

  #check() {
    if (!this.#isSql) throw new Error(NO_SQL);
  }

  exec(sql, ...bindings) {
    if (arguments.length === 0) refuseArgument("SqlStorage", "exec", 1, "String");
    this.#check();
    const number = op_sql_exec(this.#actor, `${sql}`, bindings.map(bound));
    return new SqlStorageCursor(make, this.#actor, number);
  }

  get databaseSize() {
    this.#check();
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
      throw new TypeError("Cannot convert a BigInt value to a number");
    case "object":
      if (value === null) return value;
      if (value instanceof ArrayBuffer) return new Uint8Array(value);
      return ArrayBuffer.isView(value) ? value : `${value}`;
    default:
      return `${value}`;
  }
}

for (const iterator of [RowIterator, RawIterator]) Object.setPrototypeOf(iterator.prototype, Iterator.prototype);
defineSurface(RowIterator);
defineSurface(RawIterator);
defineSurface(SqlStorageCursor, "Cursor");
defineSurface(SqlStorage);

function sqlOf(actor, isSql) {
  return new SqlStorage(make, actor, isSql);
}

return { sqlOf };
})();
