// In an object of a class that extends nothing.

const names = [
  "id",
  "storage",
  "waitUntil",
  "blockConcurrencyWhile",
  "acceptWebSocket",
  "getWebSockets",
  "abort",
  "exports",
  "props",
];

export const inObject = {
  "the state": ({ object, ctx }, t) => {
    t.log(
      "members",
      names.filter((name) => name in ctx),
    );
    t.log("own", Object.keys(object).sort());
    t.log("tag", Object.prototype.toString.call(ctx));
  },
  env: ({ env }, t) => t.log("keys", Object.keys(env).sort()),
  storage: async ({ storage }, t) => {
    await storage.put({ a: 1, b: new Map([[1, 2]]) });
    t.log("list", await storage.list());
    t.log("delete", await storage.delete(["a", "c"]));
    t.log("get", await storage.get("b"));
  },
  transaction: async ({ storage }, t) => {
    await storage.put("a", 1);
    await t.try("transaction", () =>
      storage.transaction(async (txn) => {
        await txn.put("a", 2);
        throw new Error("back");
      }),
    );
    t.log("a", await storage.get("a"));
  },
  "what needs SQLite": ({ storage }, t) => {
    t.sync("exec", () => storage.sql.exec("SELECT 1 AS a").one());
    t.sync("kv", () => storage.kv.get("a"));
  },
  alarm: async ({ storage }, t) => {
    await t.try("setAlarm", () => storage.setAlarm(Date.now() + 20));
    while (!(await storage.get("alarms"))) await scheduler.wait(20);
    t.log("alarms", await storage.get("alarms"));
  },
  blockConcurrencyWhile: async ({ ctx }, t) => t.log("value", await ctx.blockConcurrencyWhile(async () => 7)),
  deleteAll: async ({ storage }, t) => {
    await storage.put("a", 1);
    await storage.deleteAll();
    t.log("list", await storage.list());
  },
};
