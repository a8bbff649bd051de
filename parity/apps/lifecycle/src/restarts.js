// What is there after the server has ended and begun anew. Each case has two steps: before, and after.

const counter = (env, t) => env.COUNTER.getByName(t.name);

export const kept = {
  "fields are gone": [
    async (env, _ctx, t) => t.log("calls", await counter(env, t).call(), await counter(env, t).call()),
    async (env, _ctx, t) => t.log("calls", await counter(env, t).call()),
  ],
  "a put that was answered": [
    async (env, _ctx, t) => counter(env, t).put("a"),
    async (env, _ctx, t) => t.log("keys", await counter(env, t).keys()),
  ],
  "a put that was awaited": [
    async (env, _ctx, t) => counter(env, t).putAwaited("a"),
    async (env, _ctx, t) => t.log("keys", await counter(env, t).keys()),
  ],
  "100 puts that were answered": [
    async (env, _ctx, t) => {
      await Promise.all(Array.from({ length: 100 }, (_, n) => counter(env, t).put(`k${n}`)));
    },
    async (env, _ctx, t) => t.log("keys", (await counter(env, t).keys()).length),
  ],
  "a put in waitUntil": [
    async (env, _ctx, t) => {
      await counter(env, t).waitUntil(20, "late");
      await scheduler.wait(200);
    },
    async (env, _ctx, t) => t.log("keys", await counter(env, t).keys()),
  ],
  "the name and the id": [
    async (env, _ctx, t) => t.log("id", (await counter(env, t).ownId()) === String(env.COUNTER.idFromName(t.name))),
    async (env, _ctx, t) => {
      t.log("id", (await counter(env, t).ownId()) === String(env.COUNTER.idFromName(t.name)));
      t.log("name", await counter(env, t).ownName());
    },
  ],
  "an object of a unique id": [
    async (env, _ctx, t) => {
      const id = env.COUNTER.newUniqueId();
      await env.COUNTER.get(id).put("a");
      await counter(env, t).put(String(id));
    },
    async (env, _ctx, t) => {
      const [id] = await counter(env, t).keys();
      t.log("keys", await env.COUNTER.get(env.COUNTER.idFromString(id)).keys());
    },
  ],
  wakes: [
    async (env, _ctx, t) => t.log("wakes", await env.WAKER.getByName(t.name).woken()),
    async (env, _ctx, t) => t.log("wakes", await env.WAKER.getByName(t.name).woken()),
    async (env, _ctx, t) => t.log("wakes", await env.WAKER.getByName(t.name).woken()),
  ],
  deleteAll: [
    async (env, _ctx, t) => {
      const waker = env.WAKER.getByName(t.name);
      t.log("wakes", await waker.woken());
      await waker.deleteAll();
    },
    async (env, _ctx, t) => t.log("wakes", await env.WAKER.getByName(t.name).woken()),
  ],
  "unique ids do not come again": [
    async (env, _ctx, t) => counter(env, t).put(String(env.COUNTER.newUniqueId())),
    async (env, _ctx, t) => t.log("again", (await counter(env, t).keys()).includes(String(env.COUNTER.newUniqueId()))),
  ],
};

export const keptInside = {
  "what is stored": [
    async ({ storage }) => {
      const circle = { date: new Date(0), map: new Map([["a", new Set([1n])]]), bytes: new Uint8Array([1, 2]) };
      circle.self = circle;
      await storage.put({ circle, error: new TypeError("e"), text: "\u{1F600}", big: "x".repeat(100_000) });
      await storage.put("gone", 1);
      await storage.delete("gone");
    },
    async ({ storage }, t) => {
      t.log("keys", [...(await storage.list()).keys()]);
      t.log("circle", await storage.get("circle"));
      t.log("error", await storage.get("error"));
      t.log("text", await storage.get("text"));
      t.log("big", (await storage.get("big")).length);
    },
  ],
  tables: [
    ({ storage: { sql } }) => {
      sql.exec("CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT, b TEXT, c BLOB); CREATE INDEX i ON t (b)");
      sql.exec("INSERT INTO t (b, c) VALUES ('one', x'01'), ('two', NULL)");
      sql.exec("CREATE VIRTUAL TABLE f USING fts5(x)");
      sql.exec("INSERT INTO f VALUES ('quick fox')");
    },
    ({ storage: { sql } }, t) => {
      t.log("rows", sql.exec("SELECT * FROM t").toArray());
      t.log("full text", sql.exec("SELECT x FROM f WHERE f MATCH 'fox'").toArray());
      t.log("next", sql.exec("INSERT INTO t (b) VALUES ('three') RETURNING a").one());
      t.log("schema", sql.exec("SELECT name FROM sqlite_schema WHERE name IN ('t', 'i', 'f') ORDER BY name").toArray());
    },
    ({ storage: { sql } }, t) => t.log("rows", sql.exec("SELECT count(*) AS n FROM t").one()),
  ],
  "a transaction that threw": [
    async ({ storage }, t) => {
      await storage.put("a", 1);
      await t.try("transaction", () =>
        storage.transaction(async (txn) => {
          await txn.put("a", 2);
          throw new Error("back");
        }),
      );
    },
    async ({ storage }, t) => t.log("a", await storage.get("a")),
  ],
  "1 MiB of rows": [
    ({ storage: { sql } }) => {
      sql.exec("CREATE TABLE t (a INTEGER PRIMARY KEY, b)");
      for (let n = 0; n < 256; n++) sql.exec("INSERT INTO t (b) VALUES (?)", "x".repeat(4096));
    },
    ({ storage: { sql } }, t) => {
      t.log("rows", sql.exec("SELECT count(*) AS n, sum(length(b)) AS bytes FROM t").one());
      sql.exec("DELETE FROM t WHERE a % 2 = 0");
    },
    ({ storage: { sql } }, t) => t.log("rows", sql.exec("SELECT count(*) AS n, sum(length(b)) AS bytes FROM t").one()),
  ],
};
