// The tables of a board, and how they came to be. To change them, add a version; never change one that a board may have.

const VERSIONS = [
  "CREATE TABLE notes (id TEXT PRIMARY KEY, x REAL NOT NULL, y REAL NOT NULL, text TEXT NOT NULL) STRICT",
  "ALTER TABLE notes ADD COLUMN author TEXT NOT NULL DEFAULT 'somebody'",
];

/** Brings a board's tables up to date, or, if a step of it fails, leaves them as they were and throws. */
export function migrate(storage: DurableObjectStorage) {
  storage.transactionSync(() => {
    const { sql } = storage;
    sql.exec("CREATE TABLE IF NOT EXISTS versions (version INTEGER PRIMARY KEY, since INTEGER NOT NULL) STRICT");
    const version = versionOf(storage);
    if (version > VERSIONS.length) {
      throw new Error(`the board's tables have version ${version}: this code knows ${VERSIONS.length}, use newer code`);
    }
    for (const [index, change] of VERSIONS.entries()) {
      if (index < version) continue;
      sql.exec(change);
      sql.exec("INSERT INTO versions (version, since) VALUES (?, ?)", index + 1, Date.now());
    }
  });
}

/** The version of a board's tables. */
export function versionOf({ sql }: DurableObjectStorage) {
  return sql.exec<{ version: number }>("SELECT coalesce(max(version), 0) AS version FROM versions").one().version;
}
