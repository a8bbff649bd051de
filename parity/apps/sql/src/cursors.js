// What sql.exec returns.

const fill = (sql) => {
  sql.exec("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)");
  sql.exec("INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')");
};
const ALL = "SELECT * FROM t ORDER BY a";

export const cursors = {
  "cursor: toArray": ({ storage: { sql } }, t) => {
    fill(sql);
    t.sync("rows", () => sql.exec(ALL).toArray());
  },
  "cursor: toArray of no rows": ({ storage: { sql } }, t) => {
    fill(sql);
    t.sync("rows", () => sql.exec("SELECT * FROM t WHERE a > 9").toArray());
  },
  "cursor: toArray a second time": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    cursor.toArray();
    t.sync("rows", () => cursor.toArray());
  },
  "cursor: toArray after next": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    cursor.next();
    t.sync("rows", () => cursor.toArray());
  },
  "cursor: next": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    for (const nth of [1, 2, 3, 4, 5]) t.sync(`next ${nth}`, () => cursor.next());
  },
  "cursor: one": ({ storage: { sql } }, t) => {
    fill(sql);
    t.sync("one row", () => sql.exec("SELECT * FROM t WHERE a = 1").one());
    t.sync("no row", () => sql.exec("SELECT * FROM t WHERE a = 9").one());
    t.sync("three rows", () => sql.exec(ALL).one());
  },
  "cursor: one after next": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec("SELECT * FROM t WHERE a < 3 ORDER BY a");
    cursor.next();
    t.sync("the last row", () => cursor.one());
    t.sync("again", () => cursor.one());
  },
  "cursor: after a one that failed": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    t.sync("one", () => cursor.one());
    t.sync("next", () => cursor.next());
  },
  "cursor: for of": ({ storage: { sql } }, t) => {
    fill(sql);
    for (const row of sql.exec(ALL)) t.log("row", row);
  },
  "cursor: for of with break goes on later": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    for (const row of cursor) {
      t.log("first", row);
      break;
    }
    t.sync("rest", () => cursor.toArray());
  },
  "cursor: spread": ({ storage: { sql } }, t) => {
    fill(sql);
    t.sync("rows", () => [...sql.exec(ALL)]);
  },
  "cursor: the iterator is the cursor": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    t.log("same", cursor[Symbol.iterator]() === cursor);
    t.log("iterator's next", cursor[Symbol.iterator]().next());
    t.log("cursor's next", cursor.next());
  },
  "cursor: methods of iterators": ({ storage: { sql } }, t) => {
    fill(sql);
    t.sync("map", () => [...sql.exec(ALL).map(({ a }) => a)]);
    t.sync("take", () => sql.exec(ALL).take(1).toArray());
    t.sync("return", () => typeof sql.exec(ALL).return);
  },
  "cursor: raw": ({ storage: { sql } }, t) => {
    fill(sql);
    t.sync("raw", () => [...sql.exec(ALL).raw()]);
    t.sync("raw toArray", () => sql.exec(ALL).raw().toArray());
  },
  "cursor: raw shares the position": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    const raw = cursor.raw();
    t.sync("raw next", () => raw.next());
    t.sync("next", () => cursor.next());
    t.sync("raw next", () => raw.next());
    t.sync("next", () => cursor.next());
  },
  "cursor: what raw is": ({ storage: { sql } }, t) => {
    const raw = sql.exec("SELECT 1").raw();
    t.log("kind", Object.prototype.toString.call(raw), raw[Symbol.iterator]() === raw, typeof raw.one, raw.columnNames);
  },
  "cursor: columnNames": ({ storage: { sql } }, t) => {
    fill(sql);
    t.sync("names", () => sql.exec("SELECT b, a AS x, a + 1, count(*) FROM t").columnNames);
    t.sync("of no rows", () => sql.exec("SELECT a FROM t WHERE a > 9").columnNames);
    t.sync("of an insert", () => sql.exec("INSERT INTO t VALUES (7, 'x')").columnNames);
    t.sync("of returning", () => {
      const cursor = sql.exec("INSERT INTO t VALUES (8, 'x') RETURNING a, b");
      cursor.toArray();
      return cursor.columnNames;
    });
    t.sync("of create", () => sql.exec("CREATE TABLE u (a)").columnNames);
  },
  "cursor: columnNames after the end": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    cursor.toArray();
    t.sync("names", () => cursor.columnNames);
  },
  "cursor: duplicate columns": ({ storage: { sql } }, t) => {
    const query = "SELECT 1 AS a, 2 AS a, 3 AS b";
    t.sync("names", () => sql.exec(query).columnNames);
    t.sync("object", () => sql.exec(query).one());
    t.sync("raw", () => sql.exec(query).raw().next());
  },
  "cursor: a column named __proto__": ({ storage: { sql } }, t) => {
    t.sync("keys", () => Object.keys(sql.exec("SELECT 1 AS __proto__, 2 AS a").one()));
  },
  "cursor: order of numeric column names": ({ storage: { sql } }, t) => {
    t.sync("row", () => sql.exec('SELECT 1 AS "2", 2 AS "1"').one());
  },
  "cursor: rowsRead grows": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    t.log("before", cursor.rowsRead);
    cursor.next();
    t.log("after one", cursor.rowsRead);
    cursor.toArray();
    t.log("after all", cursor.rowsRead);
  },
  "cursor: rowsRead counts what is scanned": ({ storage: { sql } }, t) => {
    fill(sql);
    const read = (query) => {
      const cursor = sql.exec(query);
      cursor.toArray();
      return cursor.rowsRead;
    };
    t.sync("by key", () => read("SELECT * FROM t WHERE a = 2"));
    t.sync("by scan", () => read("SELECT * FROM t WHERE b = 'two'"));
    t.sync("count", () => read("SELECT count(*) FROM t"));
    t.sync("constant", () => read("SELECT 1"));
  },
  "cursor: rowsWritten": ({ storage: { sql } }, t) => {
    fill(sql);
    const written = (query) => sql.exec(query).rowsWritten;
    t.sync("select", () => written(ALL));
    t.sync("insert", () => written("INSERT INTO t VALUES (4, 'x'), (5, 'y')"));
    t.sync("update", () => written("UPDATE t SET b = 'z' WHERE a > 3"));
    t.sync("update of none", () => written("UPDATE t SET b = 'z' WHERE a > 30"));
    t.sync("delete", () => written("DELETE FROM t WHERE a = 1"));
    t.sync("create table", () => written("CREATE TABLE u (a)"));
    t.sync("create index", () => written("CREATE INDEX i ON t (b)"));
    t.sync("insert with an index", () => written("INSERT INTO t VALUES (9, 'x')"));
    t.sync("drop", () => written("DROP TABLE u"));
  },
  "cursor: a write happens without reading the cursor": ({ storage: { sql } }, t) => {
    fill(sql);
    sql.exec("INSERT INTO t VALUES (4, 'four') RETURNING a");
    t.sync("count", () => sql.exec("SELECT count(*) AS n FROM t").one());
  },
  "cursor: two of different statements": ({ storage: { sql } }, t) => {
    fill(sql);
    const up = sql.exec("SELECT a FROM t ORDER BY a");
    const down = sql.exec("SELECT a FROM t ORDER BY a DESC");
    for (const nth of [1, 2, 3]) t.sync(`pair ${nth}`, () => [up.next().value, down.next().value]);
  },
  "cursor: two of the same statement": ({ storage: { sql } }, t) => {
    fill(sql);
    const first = sql.exec(ALL);
    t.sync("first", () => first.next());
    const second = sql.exec(ALL);
    t.sync("second", () => second.next());
    t.sync("first again", () => first.next());
    t.sync("second again", () => second.next());
  },
  "cursor: insert while reading": ({ storage: { sql } }, t) => {
    fill(sql);
    const seen = [];
    t.sync("loop", () => {
      for (const { a } of sql.exec(ALL)) {
        seen.push(a);
        if (a < 3) sql.exec("INSERT INTO t VALUES (?, 'x')", 10 + a);
      }
    });
    t.log("seen", seen);
  },
  "cursor: delete while reading": ({ storage: { sql } }, t) => {
    fill(sql);
    const seen = [];
    t.sync("loop", () => {
      for (const { a } of sql.exec(ALL)) {
        seen.push(a);
        sql.exec("DELETE FROM t WHERE a = ?", a + 1);
      }
    });
    t.log("seen", seen);
  },
  "cursor: drop table while reading": ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    cursor.next();
    t.sync("drop", () => void sql.exec("DROP TABLE t"));
    t.sync("next", () => cursor.next());
  },
  "cursor: across an await": async ({ storage: { sql } }, t) => {
    fill(sql);
    const cursor = sql.exec(ALL);
    cursor.next();
    await scheduler.wait(5);
    t.sync("next", () => cursor.next());
  },
  "cursor: across a deleteAll": async ({ storage }, t) => {
    fill(storage.sql);
    const cursor = storage.sql.exec(ALL);
    cursor.next();
    await t.try("deleteAll", () => storage.deleteAll());
    t.sync("next", () => cursor.next());
  },
  "cursor: in storage.put": ({ storage }, t) => t.try("put", () => storage.put("a", storage.sql.exec("SELECT 1"))),
  "cursor: its class": ({ storage: { sql } }, t) => {
    const cursor = sql.exec("SELECT 1");
    t.log("instance", cursor instanceof sql.Cursor);
    t.log("tag", Object.prototype.toString.call(cursor));
    const names = Object.getOwnPropertyNames(sql.Cursor.prototype);
    t.log("members", names.filter((name) => name !== "constructor").sort());
    t.sync("new", () => new sql.Cursor());
  },
};
