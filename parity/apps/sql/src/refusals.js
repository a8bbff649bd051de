// What SQL refuses, and its limits.

const statements = {
  BEGIN: "BEGIN",
  "BEGIN IMMEDIATE": "BEGIN IMMEDIATE TRANSACTION",
  COMMIT: "COMMIT",
  ROLLBACK: "ROLLBACK",
  SAVEPOINT: "SAVEPOINT s",
  RELEASE: "RELEASE s",
  "ROLLBACK TO": "ROLLBACK TO s",
  ATTACH: "ATTACH DATABASE ':memory:' AS other",
  DETACH: "DETACH DATABASE main",
  VACUUM: "VACUUM",
  "VACUUM INTO": "VACUUM INTO 'copy.sqlite'",
  "a table named _cf_": "CREATE TABLE _cf_mine (a)",
  "a table named _CF_": "CREATE TABLE _CF_mine (a)",
  "an index named _cf_": "CREATE TABLE t (a); CREATE INDEX _cf_i ON t (a)",
  "renaming to _cf_": "CREATE TABLE t (a); ALTER TABLE t RENAME TO _cf_t",
  "a table named sqlite_": "CREATE TABLE sqlite_mine (a)",
  "writing to sqlite_schema": "DELETE FROM sqlite_schema",
  "reading _cf_METADATA": "SELECT * FROM _cf_METADATA",
  "dropping _cf_KV": "DROP TABLE _cf_KV",
  sqlite_version: "SELECT sqlite_version()",
  sqlite_source_id: "SELECT sqlite_source_id()",
  sqlite_compileoption_used: "SELECT sqlite_compileoption_used('THREADSAFE')",
  load_extension: "SELECT load_extension('x')",
  fts3: "CREATE VIRTUAL TABLE f USING fts3(x)",
  dbstat: "SELECT * FROM dbstat",
  generate_series: "SELECT * FROM generate_series(1, 3)",
  "pragma_table_info as a function": "CREATE TABLE t (a INTEGER); SELECT name, type FROM pragma_table_info('t')",
  "a virtual table of json_each": "CREATE VIRTUAL TABLE j USING json_each",
  edit: "SELECT readfile('/etc/hostname')",
};

const pragmas = [
  "user_version",
  "user_version = 3",
  "application_id",
  "journal_mode",
  "journal_mode = DELETE",
  "synchronous",
  "page_size",
  "page_count",
  "max_page_count",
  "cache_size",
  "encoding",
  "auto_vacuum",
  "compile_options",
  "database_list",
  "table_list",
  "table_info('t')",
  "table_xinfo('t')",
  "index_list('t')",
  "index_info('i')",
  "index_xinfo('i')",
  "foreign_key_list('t')",
  "foreign_key_check",
  "foreign_keys",
  "foreign_keys = OFF",
  "defer_foreign_keys",
  "recursive_triggers",
  "case_sensitive_like = ON",
  "ignore_check_constraints = ON",
  "legacy_alter_table = ON",
  "reverse_unordered_selects = ON",
  "quick_check",
  "integrity_check",
  "optimize",
  "function_list",
  "pragma_list",
  "module_list",
  "collation_list",
  "data_version",
  "schema_version",
  "writable_schema = ON",
  "temp_store",
  "mmap_size",
  "nope",
];

export const refusals = {};
for (const [name, statement] of Object.entries(statements)) {
  refusals[`refused: ${name}`] = ({ storage: { sql } }, t) => t.sync("exec", () => sql.exec(statement).toArray());
}
for (const pragma of pragmas) {
  refusals[`pragma: ${pragma}`] = ({ storage: { sql } }, t) => {
    sql.exec("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL DEFAULT 'x'); CREATE INDEX i ON t (b)");
    const described = /_list$/.test(pragma) && pragma !== "table_list" && pragma !== "database_list";
    t.sync("exec", () => {
      const rows = sql.exec(`PRAGMA ${pragma}`).toArray();
      // Which functions and modules there are depends on how SQLite was built.
      return described ? Object.keys(rows[0] ?? {}) : rows.filter(({ name }) => !/^_cf_/.test(name ?? ""));
    });
  };
}

const limits = {
  "100 columns": `CREATE TABLE t (${Array.from({ length: 100 }, (_, n) => `c${n}`)})`,
  "101 columns": `CREATE TABLE t (${Array.from({ length: 101 }, (_, n) => `c${n}`)})`,
  "101 columns in a result": `SELECT ${Array.from({ length: 101 }, () => 1)}`,
  "an expression 100 deep": `SELECT ${"(1+".repeat(98)}1${")".repeat(98)} AS x`,
  "an expression 101 deep": `SELECT ${"(1+".repeat(101)}1${")".repeat(101)} AS x`,
  "a statement of 100 000 bytes": `SELECT 1 AS a /*${"x".repeat(100_000 - 18)}*/`,
  "a statement of 100 001 bytes": `SELECT 1 AS a /*${"x".repeat(100_001 - 18)}*/`,
  "LIKE of 50 bytes": `SELECT 'a' LIKE '${"a".repeat(50)}' AS x`,
  "LIKE of 51 bytes": `SELECT 'a' LIKE '${"a".repeat(51)}' AS x`,
  "GLOB of 51 bytes": `SELECT 'a' GLOB '${"a".repeat(51)}' AS x`,
  "a compound of 5": Array(5).fill("SELECT 1 AS a").join(" UNION ALL "),
  "a compound of 6": Array(6).fill("SELECT 1 AS a").join(" UNION ALL "),
  "32 arguments of a function": `SELECT max(${Array.from({ length: 32 }, (_, n) => n)}) AS m`,
  "33 arguments of a function": `SELECT max(${Array.from({ length: 33 }, (_, n) => n)}) AS m`,
  "VALUES of 600 rows": `SELECT count(*) AS n FROM (VALUES ${Array(600).fill("(1)")})`,
  "parameter number 100": "SELECT ?100 AS a",
  "parameter number 101": "SELECT ?101 AS a",
};
for (const [name, statement] of Object.entries(limits)) {
  refusals[`limit: ${name}`] = ({ storage: { sql } }, t) => t.sync("rows", () => sql.exec(statement).toArray().length);
}

refusals["limit: a string of 2 MiB"] = ({ storage: { sql } }, t) => {
  sql.exec("CREATE TABLE t (a)");
  t.sync("insert", () => sql.exec("INSERT INTO t VALUES (?)", "x".repeat(2 << 20)).rowsWritten);
  t.sync("zeroblob", () => sql.exec("INSERT INTO t VALUES (zeroblob(2097152))").rowsWritten);
};
refusals["refused: in the middle of many"] = ({ storage: { sql } }, t) => {
  t.sync("exec", () => sql.exec("CREATE TABLE t (a); BEGIN; INSERT INTO t VALUES (1)").toArray());
  t.sync("rows", () => sql.exec("SELECT * FROM t").toArray());
};
