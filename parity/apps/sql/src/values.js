// Bindings, and the values of columns.

const nothing = {
  "bind: a number": 3,
  "bind: a fraction": 1.5,
  "bind: negative zero": -0,
  "bind: NaN": NaN,
  "bind: infinity": Infinity,
  "bind: an integer beyond 2**53": 2 ** 60,
  "bind: text": "text",
  "bind: empty text": "",
  "bind: text with NUL": "a\0b",
  "bind: text with an emoji": "\u{1F600}",
  "bind: a lone surrogate": "\uD800",
  "bind: null": null,
  "bind: undefined": undefined,
  "bind: true": true,
  "bind: a bigint": 1n,
  "bind: an ArrayBuffer": new Uint8Array([1, 2]).buffer,
  "bind: an empty ArrayBuffer": new ArrayBuffer(0),
  "bind: a Uint8Array": new Uint8Array([1, 2, 3]).subarray(1),
  "bind: a Uint16Array": new Uint16Array([1, 2]),
  "bind: a DataView": new DataView(new ArrayBuffer(2)),
  "bind: a Date": new Date(0),
  "bind: an object": { a: 1 },
  "bind: an array": [1, 2],
  "bind: a function": () => {},
  "bind: a symbol": Symbol("s"),
  "bind: an object with toString": { toString: () => "mine" },
};

export const values = {};
for (const [name, value] of Object.entries(nothing)) {
  values[name] = ({ storage: { sql } }, t) => {
    if (typeof value === "function") t.sync("exec", () => sql.exec("SELECT ? IS NULL AS x", value).one());
    else t.sync("exec", () => sql.exec("SELECT ?1 AS value, typeof(?1) AS type", value).one());
  };
}

const columns = {
  integers: "0, 1, -1, 2147483648, 9007199254740991",
  "integers beyond 2**53": "9007199254740993, -9007199254740993, 9223372036854775807, -9223372036854775808",
  reals: "0.0, -0.0, 1.5, 1e300, 1.0",
  infinities: "9e999, -9e999",
  text: "'', 'a', 'ü', '\u{1F600}'",
  null: "NULL",
  blobs: "x'', x'00ff'",
  booleans: "TRUE, FALSE",
  "text with NUL": "'a' || char(0) || 'b'",
  "text that is not UTF-8": "CAST(x'ff41' AS TEXT)",
  dates: "date('2024-02-29', '+1 year'), datetime(0, 'unixepoch')",
};

for (const [name, list] of Object.entries(columns)) {
  values[`column: ${name}`] = ({ storage: { sql } }, t) =>
    t.sync("row", () => sql.exec(`SELECT ${list}`).raw().next().value);
}

Object.assign(values, {
  "bind: by position": ({ storage: { sql } }, t) =>
    t.sync("row", () => sql.exec("SELECT ? AS a, ? AS b", 1, "x").one()),
  "bind: by number": ({ storage: { sql } }, t) =>
    t.sync("row", () => sql.exec("SELECT ?2 AS a, ?1 AS b", 1, "x").one()),
  "bind: by name": ({ storage: { sql } }, t) => {
    t.sync(":a", () => sql.exec("SELECT :a AS a", 1).one());
    t.sync("@a", () => sql.exec("SELECT @a AS a", 1).one());
    t.sync("$a", () => sql.exec("SELECT $a AS a", { a: 1 }).one());
  },
  "bind: too few": ({ storage: { sql } }, t) => t.sync("exec", () => sql.exec("SELECT ?, ?", 1).one()),
  "bind: too many": ({ storage: { sql } }, t) => t.sync("exec", () => sql.exec("SELECT ?", 1, 2).one()),
  "bind: to a statement without parameters": ({ storage: { sql } }, t) =>
    t.sync("exec", () => sql.exec("SELECT 1", 1).one()),
  "bind: 100 parameters": ({ storage: { sql } }, t) => {
    const list = Array.from({ length: 100 }, () => "?").join(" + ");
    t.sync("sum", () => sql.exec(`SELECT ${list} AS sum`, ...Array.from({ length: 100 }, () => 1)).one());
  },
  "bind: 101 parameters": ({ storage: { sql } }, t) => {
    const list = Array.from({ length: 101 }, () => "(?)").join(", ");
    t.sync("count", () =>
      sql.exec(`WITH v(x) AS (VALUES ${list}) SELECT count(*) AS n FROM v`, ...Array(101).fill(1)).one(),
    );
  },
  "bind: affinity of columns": ({ storage: { sql } }, t) => {
    sql.exec("CREATE TABLE t (i INTEGER, r REAL, x TEXT, b BLOB, n NUMERIC, o)");
    for (const value of [3, 1.5, "7", "seven", true]) sql.exec("INSERT INTO t VALUES (?1, ?1, ?1, ?1, ?1, ?1)", value);
    const query = "SELECT typeof(i), typeof(r), typeof(x), typeof(b), typeof(n), typeof(o) FROM t";
    t.sync("types", () => sql.exec(query).raw().toArray());
    t.sync("values", () => sql.exec("SELECT * FROM t").raw().toArray());
  },
  "bind: STRICT tables": ({ storage: { sql } }, t) => {
    sql.exec("CREATE TABLE t (i INTEGER, x TEXT) STRICT");
    t.sync("fits", () => sql.exec("INSERT INTO t VALUES (?, ?)", 3, "x").rowsWritten);
    t.sync("fraction", () => sql.exec("INSERT INTO t VALUES (?, ?)", 3.5, "x").rowsWritten);
    t.sync("text", () => sql.exec("INSERT INTO t VALUES (?, ?)", "x", "x").rowsWritten);
  },
  "bind: blobs are copied": ({ storage: { sql } }, t) => {
    const bytes = new Uint8Array([1, 2]);
    sql.exec("CREATE TABLE t (b)");
    sql.exec("INSERT INTO t VALUES (?)", bytes);
    bytes[0] = 9;
    t.log("row", sql.exec("SELECT b FROM t").one());
  },
  "bind: a value of 1 MiB": ({ storage: { sql } }, t) => {
    t.sync("text", () => sql.exec("SELECT length(?) AS n", "x".repeat(1 << 20)).one());
    t.sync("blob", () => sql.exec("SELECT length(?) AS n", new ArrayBuffer(1 << 20)).one());
  },
});
