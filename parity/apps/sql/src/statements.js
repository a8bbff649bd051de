// What SQL can do.

const query = (name, ...statements) => [
  `statement: ${name}`,
  ({ storage: { sql } }, t) => {
    for (const statement of statements) t.sync(statement, () => sql.exec(statement).toArray());
  },
];

export const statements = Object.fromEntries([
  query("create, insert, select", "CREATE TABLE t (a, b)", "INSERT INTO t VALUES (1, 2)", "SELECT * FROM t"),
  query("returning", "CREATE TABLE t (a INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (NULL), (NULL) RETURNING a"),
  query(
    "upsert",
    "CREATE TABLE t (a PRIMARY KEY, n)",
    "INSERT INTO t VALUES (1, 1)",
    "INSERT INTO t VALUES (1, 5) ON CONFLICT (a) DO UPDATE SET n = n + excluded.n RETURNING n",
  ),
  query(
    "update from",
    "CREATE TABLE t (a, n)",
    "INSERT INTO t VALUES (1, 0)",
    "UPDATE t SET n = x.v FROM (SELECT 1 AS k, 7 AS v) x WHERE a = x.k RETURNING n",
  ),
  query(
    "common table expressions",
    "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 4) SELECT x FROM c",
  ),
  query(
    "window functions",
    "SELECT column1 AS a, sum(column1) OVER (ORDER BY column1) AS s FROM (VALUES (1), (2), (3))",
  ),
  query(
    "JSON",
    `SELECT json_extract('{"a":[1,2]}', '$.a[1]') AS x, '{"b":1}' ->> 'b' AS y`,
    "SELECT key, value FROM json_each('[7, 8]')",
    "SELECT json_group_array(column1) AS j FROM (VALUES (1), (2))",
    "SELECT typeof(jsonb('[1]')) AS b",
  ),
  query("math", "SELECT round(sin(1), 6) AS s, pow(2, 10) AS p, floor(1.7) AS f, log(100) AS l, pi() > 3 AS c"),
  query(
    "text functions",
    "SELECT upper('ü') AS u, length('\u{1F600}') AS n, printf('%05d', 7) AS p, instr('abc', 'c') AS i",
    "SELECT concat_ws('-', 1, 2) AS c, string_agg(column1, ',') AS s FROM (VALUES (1), (2))",
    "SELECT unhex('4142') AS b",
  ),
  query(
    "FTS5",
    "CREATE VIRTUAL TABLE f USING fts5(x)",
    "INSERT INTO f VALUES ('the quick fox'), ('a slow dog')",
    "SELECT x, highlight(f, 0, '<', '>') AS h FROM f WHERE f MATCH 'quick'",
    "SELECT x FROM f WHERE f MATCH 'sl*'",
  ),
  query(
    "FTS5 vocabulary",
    "CREATE VIRTUAL TABLE f USING fts5(x)",
    "INSERT INTO f VALUES ('b a')",
    "CREATE VIRTUAL TABLE v USING fts5vocab(f, 'row')",
    "SELECT term FROM v",
  ),
  query(
    "R-tree",
    "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)",
    "INSERT INTO r VALUES (1, 0, 2), (2, 5, 6)",
    "SELECT id FROM r WHERE x1 < 3",
  ),
  query(
    "generated columns",
    "CREATE TABLE t (a, b AS (a * 2) STORED)",
    "INSERT INTO t (a) VALUES (4)",
    "SELECT * FROM t",
  ),
  query("views", "CREATE VIEW v AS SELECT 1 AS a", "SELECT * FROM v", "DROP VIEW v"),
  query(
    "triggers",
    "CREATE TABLE t (a)",
    "CREATE TABLE l (a)",
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO l VALUES (new.a); END",
    "INSERT INTO t VALUES (3)",
    "SELECT * FROM l",
  ),
  query("temporary tables", "CREATE TEMP TABLE t (a)", "CREATE TEMPORARY VIEW v AS SELECT 1"),
  query(
    "without rowid",
    "CREATE TABLE t (a PRIMARY KEY) WITHOUT ROWID",
    "INSERT INTO t VALUES (1)",
    "SELECT rowid FROM t",
  ),
  query(
    "autoincrement",
    "CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT)",
    "INSERT INTO t VALUES (NULL)",
    "DELETE FROM t",
    "INSERT INTO t VALUES (NULL) RETURNING a",
    "SELECT name, seq FROM sqlite_sequence",
  ),
  query(
    "alter table",
    "CREATE TABLE t (a)",
    "ALTER TABLE t ADD COLUMN b DEFAULT 5",
    "ALTER TABLE t RENAME TO u",
    "INSERT INTO u (a) VALUES (1)",
    "SELECT * FROM u",
    "ALTER TABLE u DROP COLUMN b",
    "SELECT * FROM u",
  ),
  query(
    "sqlite_schema",
    "CREATE TABLE t (a)",
    "CREATE INDEX i ON t (a)",
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT GLOB '_cf_*' ORDER BY name",
  ),
  query(
    "analyze",
    "CREATE TABLE t (a)",
    "CREATE INDEX i ON t (a)",
    "INSERT INTO t VALUES (1)",
    "ANALYZE",
    "SELECT tbl, idx FROM sqlite_stat1",
  ),
  query("reindex", "CREATE TABLE t (a UNIQUE)", "REINDEX"),
  query(
    "last_insert_rowid and changes",
    "CREATE TABLE t (a INTEGER PRIMARY KEY)",
    "INSERT INTO t VALUES (7)",
    "SELECT last_insert_rowid() AS r, changes() AS c",
    "SELECT total_changes() > 0 AS t",
  ),
  query("random", "SELECT typeof(random()) AS r, length(randomblob(4)) AS b"),
  query("collations", "SELECT 'A' = 'a' COLLATE NOCASE AS n, 'a ' = 'a' COLLATE RTRIM AS r"),
  query(
    "foreign keys are on",
    "CREATE TABLE p (a PRIMARY KEY)",
    "CREATE TABLE c (a REFERENCES p)",
    "INSERT INTO c VALUES (1)",
    "PRAGMA foreign_keys",
  ),
  query(
    "foreign keys that are deferred",
    "CREATE TABLE p (a PRIMARY KEY)",
    "CREATE TABLE c (a REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO c VALUES (1); INSERT INTO p VALUES (1)",
    "SELECT * FROM c",
  ),
  query(
    "defer_foreign_keys",
    "CREATE TABLE p (a PRIMARY KEY)",
    "CREATE TABLE c (a REFERENCES p)",
    "PRAGMA defer_foreign_keys = ON",
    "INSERT INTO c VALUES (1)",
    "INSERT INTO p VALUES (1)",
    "SELECT * FROM c",
  ),
  query("constraint: unique", "CREATE TABLE t (a UNIQUE)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)"),
  query("constraint: not null", "CREATE TABLE t (a NOT NULL)", "INSERT INTO t VALUES (NULL)"),
  query("constraint: check", "CREATE TABLE t (a CHECK (a > 0))", "INSERT INTO t VALUES (0)"),
  query(
    "insert of several rows is atomic",
    "CREATE TABLE t (a UNIQUE)",
    "INSERT INTO t VALUES (1), (2), (1)",
    "SELECT * FROM t",
  ),
  query("syntax error", "SELEC 1", "SELECT * FRM t", "SELECT (", "INSERT INTO"),
  query("no such table", "SELECT * FROM none", "INSERT INTO none VALUES (1)", "DROP TABLE none"),
  query("no such column", "SELECT x", "CREATE TABLE t (a)", "SELECT b FROM t"),
  query("no such function", "SELECT nope(1)"),
  query("integer overflow", "SELECT 9223372036854775807 + 1 AS x", "SELECT abs(-9223372036854775808)"),
  query(
    "RAISE",
    "CREATE TABLE t (a)",
    "CREATE TRIGGER g BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'no way'); END",
    "INSERT INTO t VALUES (1)",
  ),
  query("many statements", "CREATE TABLE t (a); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); SELECT * FROM t"),
  query(
    "many statements, the second of which fails",
    "CREATE TABLE t (a); INSERT INTO nope VALUES (1); INSERT INTO t VALUES (2)",
    "SELECT * FROM t",
  ),
  query("many statements, the second with a syntax error", "CREATE TABLE t (a); INSER", "SELECT * FROM t"),
  query("no statement", "", "  ", "-- comment", ";", ";;"),
  query("comments and semicolons around", "/* a */ SELECT 1 AS a; -- b", "SELECT 1 AS a;", "SELECT 1 AS a;   "),
]);

Object.assign(statements, {
  "statement: bindings belong to the last": ({ storage: { sql } }, t) => {
    t.sync("exec", () =>
      sql.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1); SELECT a, ? AS b FROM t", 2).toArray(),
    );
    t.sync("bindings in the first", () => sql.exec("INSERT INTO t VALUES (?); SELECT 1", 5).toArray());
    t.sync("rows", () => sql.exec("SELECT * FROM t").toArray());
  },
  "statement: what exec takes": ({ storage: { sql } }, t) => {
    t.sync("nothing", () => sql.exec());
    t.sync("a number", () => sql.exec(1));
    t.sync("null", () => sql.exec(null));
    t.sync("an object", () => sql.exec({ toString: () => "SELECT 1 AS a" }).one());
  },
  "statement: explain query plan": ({ storage: { sql } }, t) => {
    sql.exec("CREATE TABLE t (a)");
    t.sync("plan", () =>
      sql
        .exec("EXPLAIN QUERY PLAN SELECT * FROM t")
        .toArray()
        .map(({ detail }) => detail),
    );
  },
  "statement: databaseSize": ({ storage: { sql } }, t) => {
    t.log("kind", typeof sql.databaseSize);
    sql.exec("CREATE TABLE t (a)");
    const before = sql.databaseSize;
    sql.exec("INSERT INTO t VALUES (zeroblob(100000))");
    t.log("grows by pages", (sql.databaseSize - before) / 4096);
    sql.exec("INSERT INTO t SELECT hex(a) FROM t");
    t.log("grows by pages", (sql.databaseSize - before) / 4096);
  },
  "statement: the members of sql": ({ storage: { sql } }, t) => {
    const names = Object.getOwnPropertyNames(Object.getPrototypeOf(sql));
    t.log("members", names.filter((name) => name !== "constructor").sort());
    t.log("tag", Object.prototype.toString.call(sql));
  },
  "statement: sql is the same object": ({ storage }, t) => t.log("same", storage.sql === storage.sql),
  "statement: prepare": ({ storage: { sql } }, t) => {
    t.sync("prepare", () => typeof sql.prepare);
    t.sync("Statement", () => typeof sql.Statement);
    t.sync("ingest", () => typeof sql.ingest);
  },
  "statement: a write that fails leaves earlier ones": async ({ storage: { sql } }, t) => {
    sql.exec("CREATE TABLE t (a UNIQUE)");
    sql.exec("INSERT INTO t VALUES (1)");
    t.sync("again", () => sql.exec("INSERT INTO t VALUES (1)"));
    await scheduler.wait(1);
    t.log("rows", sql.exec("SELECT * FROM t").toArray());
  },
  "statement: OR ROLLBACK": async ({ storage: { sql } }, t) => {
    sql.exec("CREATE TABLE t (a UNIQUE)");
    sql.exec("INSERT INTO t VALUES (1)");
    t.sync("again", () => sql.exec("INSERT OR ROLLBACK INTO t VALUES (1)"));
    t.sync("rows", () => sql.exec("SELECT * FROM t").toArray());
  },
  "statement: deleteAll drops tables": async ({ storage }, t) => {
    storage.sql.exec("CREATE TABLE t (a)");
    storage.sql.exec("INSERT INTO t VALUES (1)");
    await storage.deleteAll();
    t.sync("select", () => storage.sql.exec("SELECT * FROM t").toArray());
    t.sync("create", () => storage.sql.exec("CREATE TABLE t (a)").toArray());
  },
  "statement: deleteAll drops views, triggers and virtual tables": async ({ storage }, t) => {
    storage.sql.exec("CREATE TABLE t (a); CREATE VIEW v AS SELECT * FROM t; CREATE INDEX i ON t (a)");
    storage.sql.exec(
      "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END; CREATE VIRTUAL TABLE f USING fts5(x)",
    );
    await storage.deleteAll();
    t.log("left", storage.sql.exec("SELECT name FROM sqlite_schema WHERE name NOT GLOB '_cf_*'").toArray());
  },
  "statement: tables of the key-value storage": async ({ storage }, t) => {
    await storage.put("a", 1);
    t.sync("names", () => storage.sql.exec("SELECT name FROM sqlite_schema ORDER BY name").toArray());
    t.sync("select", () => storage.sql.exec("SELECT * FROM _cf_KV").toArray());
  },
  "statement: dates are the object's now": ({ storage: { sql } }, t) => {
    const { now } = sql.exec("SELECT unixepoch('now') * 1000 AS now").one();
    t.elapsed("away", Math.abs(Date.now() - now), 0, 5000);
  },
});
