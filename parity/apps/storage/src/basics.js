// get, put and delete, of one key and of several; deleteAll and sync.

export const basics = {
  "get of what is not there": ({ storage }, t) => t.try("get", () => storage.get("none")),
  "get returns a promise": ({ storage }, t) => t.log("kind", storage.get("a") instanceof Promise),
  "put resolves to undefined": ({ storage }, t) => t.try("put", () => storage.put("a", 1)),
  "get gives what was put": async ({ storage }, t) => {
    await storage.put("a", { b: [1, "two", null] });
    t.log("get", await storage.get("a"));
  },
  "get sees a put that was not awaited": async ({ storage }, t) => {
    storage.put("a", 1);
    t.log("get", await storage.get("a"));
  },
  "get gives a new copy each time": async ({ storage }, t) => {
    await storage.put("a", { n: 1 });
    const [first, second] = [await storage.get("a"), await storage.get("a")];
    first.n = 2;
    t.log("second", second);
    t.log("same", first === second);
  },
  "put copies at the call": async ({ storage }, t) => {
    const list = [1];
    const done = storage.put("a", list);
    list.push(2);
    await done;
    t.log("get", await storage.get("a"));
  },
  "put replaces": async ({ storage }, t) => {
    storage.put("a", 1);
    storage.put("a", 2);
    t.log("get", await storage.get("a"));
  },
  "put of undefined": async ({ storage }, t) => {
    await t.try("put", () => storage.put("a", undefined));
    t.log("list", await storage.list());
  },
  "put of undefined throws at once or rejects": async ({ storage }, t) => {
    const put = t.sync("put", () => typeof storage.put("a", undefined).catch(() => {}));
    t.log("returned", put);
  },
  "put without arguments": ({ storage }, t) => t.try("put", () => storage.put()),
  "put without a value": ({ storage }, t) => t.try("put", () => storage.put("a")),
  "put of null": async ({ storage }, t) => {
    await storage.put("a", null);
    t.log("get", await storage.get("a"));
    t.log("list", await storage.list());
  },
  "put of a function": ({ storage }, t) => t.try("put", () => storage.put("a", () => 1)),
  "put of a symbol": ({ storage }, t) => t.try("put", () => storage.put("a", Symbol("s"))),
  "put of a promise": ({ storage }, t) => t.try("put", () => storage.put("a", Promise.resolve(1))),
  "put of an object with a function in it": ({ storage }, t) => t.try("put", () => storage.put("a", { f() {} })),
  "a put that fails leaves the old value": async ({ storage }, t) => {
    await storage.put("a", 1);
    await t.try("put", () => storage.put("a", () => 1));
    t.log("get", await storage.get("a"));
  },
  "put of several": async ({ storage }, t) => {
    await t.try("put", () => storage.put({ b: 2, a: 1 }));
    t.log("list", await storage.list());
  },
  "put of no entries": async ({ storage }, t) => {
    await t.try("put", () => storage.put({}));
    t.log("list", await storage.list());
  },
  "put of several skips undefined": async ({ storage }, t) => {
    await storage.put("b", 0);
    await t.try("put", () => storage.put({ a: 1, b: undefined }));
    t.log("list", await storage.list());
  },
  "put of several, one of which cannot be cloned": async ({ storage }, t) => {
    await t.try("put", () => storage.put({ a: 1, b: () => 1, c: 3 }));
    t.log("list", await storage.list());
  },
  "put of a Map as entries": async ({ storage }, t) => {
    await t.try("put", () => storage.put(new Map([["a", 1]])));
    t.log("list", await storage.list());
  },
  "put of an array as entries": async ({ storage }, t) => {
    await t.try("put", () => storage.put(["x", "y"]));
    t.log("list", await storage.list());
  },
  "put of null as entries": ({ storage }, t) => t.try("put", () => storage.put(null)),
  "put of entries with options": async ({ storage }, t) => {
    await t.try("put", () => storage.put({ a: 1 }, { allowUnconfirmed: true, noCache: true }));
    t.log("list", await storage.list());
  },
  "put with options": async ({ storage }, t) => {
    await t.try("put", () => storage.put("a", 1, { allowUnconfirmed: true, allowConcurrency: true, noCache: true }));
    t.log("get", await storage.get("a", { allowConcurrency: true, noCache: true }));
  },
  "put with null as options": ({ storage }, t) => t.try("put", () => storage.put("a", 1, null)),
  "put with options that are no object": ({ storage }, t) => t.try("put", () => storage.put("a", 1, 7)),
  "put of 200 entries": async ({ storage }, t) => {
    const entries = Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`k${n}`, n]));
    await t.try("put", () => storage.put(entries));
    t.log("count", (await storage.list()).size);
  },
  "get of several": async ({ storage }, t) => {
    await storage.put({ a: 1, b: 2 });
    await t.try("get", () => storage.get(["b", "none", "a"]));
  },
  "get of several, with one twice": async ({ storage }, t) => {
    await storage.put({ a: 1, b: 2 });
    await t.try("get", () => storage.get(["b", "a", "b"]));
  },
  "get of several in the order of UTF-8 bytes": async ({ storage }, t) => {
    const keys = ["\u{1F600}", "\uFFFD", "é", "z", "a", "B", ""];
    for (const key of keys) storage.put(key, 1);
    t.log("keys", [...(await storage.get(keys)).keys()]);
  },
  "get of no keys": ({ storage }, t) => t.try("get", () => storage.get([])),
  "get of 200 keys": async ({ storage }, t) => {
    const keys = Array.from({ length: 200 }, (_, n) => `k${n}`);
    await storage.put("k7", 1);
    await t.try("get", () => storage.get(keys));
  },
  "get without arguments": ({ storage }, t) => t.try("get", () => storage.get()),
  "get of a number": async ({ storage }, t) => {
    await storage.put("1", "one");
    await t.try("get", () => storage.get(1));
    await t.try("get several", () => storage.get([1, null, undefined]));
  },
  "get of a Set of keys": async ({ storage }, t) => {
    await storage.put("a", 1);
    await t.try("get", () => storage.get(new Set(["a"])));
  },
  "get of an object": async ({ storage }, t) => {
    await storage.put("[object Object]", 1);
    await t.try("get", () => storage.get({}));
  },
  "get of a symbol": ({ storage }, t) => t.try("get", () => storage.get(Symbol("s"))),
  "keys are coerced to strings": async ({ storage }, t) => {
    await t.try("number", () => storage.put(1.5, 1));
    await t.try("boolean", () => storage.put(true, 1));
    await t.try("undefined", () => storage.put(undefined, 1));
    await t.try("null", () => storage.put(null, 1));
    t.log("list", await storage.list());
  },
  "the empty key": async ({ storage }, t) => {
    await t.try("put", () => storage.put("", 1));
    await t.try("get", () => storage.get(""));
    await t.try("list", () => storage.list());
    await t.try("delete", () => storage.delete(""));
  },
  "a key with NUL": async ({ storage }, t) => {
    await t.try("put", () => storage.put("a\0b", 1));
    await t.try("put a", () => storage.put("a", 2));
    t.log("list", await storage.list());
  },
  "a key with a lone surrogate": async ({ storage }, t) => {
    await t.try("put", () => storage.put("\uD800", 1));
    t.log(
      "keys",
      Array.from(await storage.list(), ([key]) => key.charCodeAt(0).toString(16)),
    );
    await t.try("get", () => storage.get("\uD800"));
    await t.try("get of the replacement", () => storage.get("\uFFFD"));
  },
  "a key of 2048 bytes": ({ storage }, t) => t.try("put", () => storage.put("k".repeat(2048), 1)),
  "a key of 2049 bytes": ({ storage }, t) => t.try("put", () => storage.put("k".repeat(2049), 1)),
  "a value of 128 KiB": async ({ storage }, t) => {
    await t.try("put", () => storage.put("a", "x".repeat(128 * 1024 - 10)));
    t.log("length", (await storage.get("a"))?.length);
  },
  "a value of 1 MiB": async ({ storage }, t) => {
    await t.try("put", () => storage.put("a", "x".repeat(1 << 20)));
    t.log("length", (await storage.get("a"))?.length);
  },
  "delete tells whether it was there": async ({ storage }, t) => {
    await storage.put("a", 1);
    await t.try("first", () => storage.delete("a"));
    await t.try("second", () => storage.delete("a"));
    await t.try("get", () => storage.get("a"));
  },
  "delete of a value of null": async ({ storage }, t) => {
    await storage.put("a", null);
    await t.try("delete", () => storage.delete("a"));
  },
  "delete of several tells how many were there": async ({ storage }, t) => {
    await storage.put({ a: 1, b: 2, c: 3 });
    await t.try("delete", () => storage.delete(["a", "none", "c"]));
    t.log("list", await storage.list());
  },
  "delete of several, with one twice": async ({ storage }, t) => {
    await storage.put({ a: 1 });
    await t.try("delete", () => storage.delete(["a", "a"]));
  },
  "delete of no keys": ({ storage }, t) => t.try("delete", () => storage.delete([])),
  "delete of 200 keys": async ({ storage }, t) => {
    const keys = Array.from({ length: 200 }, (_, n) => `k${n}`);
    await storage.put("k7", 1);
    await t.try("delete", () => storage.delete(keys));
  },
  "delete without arguments": ({ storage }, t) => t.try("delete", () => storage.delete()),
  "delete with options": async ({ storage }, t) => {
    await storage.put("a", 1);
    await t.try("delete", () => storage.delete("a", { allowUnconfirmed: true, noCache: true }));
  },
  "delete that is not awaited, then get": async ({ storage }, t) => {
    await storage.put("a", 1);
    storage.delete("a");
    await t.try("get", () => storage.get("a"));
  },
  deleteAll: async ({ storage }, t) => {
    await storage.put({ a: 1, b: 2 });
    await t.try("deleteAll", () => storage.deleteAll());
    t.log("list", await storage.list());
    await storage.put("c", 3);
    t.log("list", await storage.list());
  },
  "deleteAll of nothing": ({ storage }, t) => t.try("deleteAll", () => storage.deleteAll()),
  "deleteAll with options": ({ storage }, t) => t.try("deleteAll", () => storage.deleteAll({ allowUnconfirmed: true })),
  "deleteAll drops puts before it, not those after it": async ({ storage }, t) => {
    storage.put("a", 1);
    const deleted = storage.deleteAll();
    storage.put("b", 2);
    await deleted;
    t.log("list", await storage.list());
  },
  sync: async ({ storage }, t) => {
    storage.put("a", 1);
    await t.try("sync", () => storage.sync());
    t.log("get", await storage.get("a"));
  },
  "sync of nothing": ({ storage }, t) => t.try("sync", () => storage.sync()),
  getCurrentBookmark: async ({ storage }, t) => {
    const bookmark = await t.try("kind", async () => typeof (await storage.getCurrentBookmark()));
    t.log("bookmark", bookmark);
  },
  getBookmarkForTime: ({ storage }, t) => t.try("get", () => storage.getBookmarkForTime(Date.now())),
  onNextSessionRestoreBookmark: ({ storage }, t) =>
    t.try("restore", () => storage.onNextSessionRestoreBookmark("00000000-00000000-00000000-0")),
  "sql and kv of storage": ({ storage }, t) => {
    t.sync("sql", () => typeof storage.sql);
    t.sync("kv", () => typeof storage.kv);
    t.sync("exec", () => storage.sql.exec("SELECT 1 AS one").one());
    t.sync("kv get", () => storage.kv.get("a"));
    t.sync("transactionSync", () => storage.transactionSync(() => 1));
  },
  "ctx.storage is the same object": ({ ctx }, t) => t.log("same", ctx.storage === ctx.storage),
  "a method of storage without its this": ({ storage }, t) => {
    const { get } = storage;
    return t.try("get", () => get("a"));
  },
};
