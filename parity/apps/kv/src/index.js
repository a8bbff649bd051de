// ctx.storage.kv, the synchronous storage of objects with SQLite.

import { DurableObject } from "cloudflare:workers";

import { inside, perform, serve } from "./parity/parity.js";

const cases = {
  "get of what is not there": ({ storage: { kv } }, t) => t.sync("get", () => kv.get("none")),
  "put returns nothing": ({ storage: { kv } }, t) => t.sync("put", () => kv.put("a", 1)),
  "get gives what was put": ({ storage: { kv } }, t) => {
    kv.put("a", { b: [1, "two", null] });
    t.log("get", kv.get("a"));
  },
  "get gives a new copy each time": ({ storage: { kv } }, t) => {
    const value = { n: 1 };
    kv.put("a", value);
    value.n = 2;
    t.log("unchanged", kv.get("a"));
    t.log("same object", kv.get("a") === kv.get("a"));
  },
  "put copies at the call": ({ storage: { kv } }, t) => {
    const list = [1];
    kv.put("a", list);
    list.push(2);
    t.log("get", kv.get("a"));
  },
  "put of undefined": ({ storage: { kv } }, t) => {
    t.sync("put", () => kv.put("a", undefined));
    t.log("get", kv.get("a"));
    t.log("list", [...kv.list()]);
  },
  "put of null": ({ storage: { kv } }, t) => {
    kv.put("a", null);
    t.log("get", kv.get("a"));
  },
  "put of a function": ({ storage: { kv } }, t) => t.sync("put", () => kv.put("a", () => 1)),
  "put of a symbol": ({ storage: { kv } }, t) => t.sync("put", () => kv.put("a", Symbol("s"))),
  "put replaces": ({ storage: { kv } }, t) => {
    kv.put("a", 1);
    kv.put("a", 2);
    t.log("get", kv.get("a"));
  },
  "put without a value": ({ storage: { kv } }, t) => t.sync("put", () => kv.put("a")),
  "put of an object of entries": ({ storage: { kv } }, t) => {
    t.sync("put", () => kv.put({ a: 1, b: 2 }));
    t.log("list", [...kv.list()]);
  },
  "get of several keys": ({ storage: { kv } }, t) => {
    kv.put("a", 1);
    t.sync("get", () => kv.get(["a", "b"]));
  },
  "delete tells whether it was there": ({ storage: { kv } }, t) => {
    kv.put("a", 1);
    t.log("first", kv.delete("a"));
    t.log("second", kv.delete("a"));
    t.log("get", kv.get("a"));
  },
  "delete of several keys": ({ storage: { kv } }, t) => {
    kv.put("a", 1);
    t.sync("delete", () => kv.delete(["a", "b"]));
    t.log("list", [...kv.list()]);
  },
  "keys are coerced to strings": ({ storage: { kv } }, t) => {
    t.sync("put", () => kv.put(1, "one"));
    t.log("get 1", kv.get("1"));
    t.log("get null", kv.get(null));
    t.sync("put undefined", () => kv.put(undefined, 1));
    t.log("list", [...kv.list()]);
  },
  "the empty key": ({ storage: { kv } }, t) => {
    kv.put("", 1);
    t.log("get", kv.get(""));
    t.log("list", [...kv.list()]);
  },
  "list is in the order of UTF-8 bytes": ({ storage: { kv } }, t) => {
    for (const key of ["\u{1F600}", "\uFFFD", "é", "z", "aa", "a", "B", ""]) kv.put(key, key.length);
    t.log("list", [...kv.list()]);
  },
  "list is an iterator": ({ storage: { kv } }, t) => {
    kv.put("a", 1);
    const list = kv.list();
    t.log("kind", typeof list[Symbol.iterator], typeof list.next, list[Symbol.iterator]() === list);
    t.log("tag", Object.prototype.toString.call(list));
    t.log("first", list.next());
    t.log("end", list.next());
    t.log("after the end", list.next());
  },
  "a new list ends the old one": ({ storage: { kv } }, t) => {
    for (const key of ["a", "b", "c"]) kv.put(key, key);
    const first = kv.list();
    t.log("first", first.next());
    const second = kv.list();
    t.log("second", second.next());
    t.sync("first goes on", () => first.next());
    t.sync("second goes on", () => second.next());
  },
  "put while listing": ({ storage: { kv } }, t) => {
    for (const key of ["a", "b", "c"]) kv.put(key, key);
    const seen = [];
    t.sync("loop", () => {
      for (const [key] of kv.list()) {
        seen.push(key);
        if (key === "a") kv.put("bb", 1);
      }
    });
    t.log("seen", seen);
  },
  "delete while listing": ({ storage: { kv } }, t) => {
    for (const key of ["a", "b", "c"]) kv.put(key, key);
    const seen = [];
    t.sync("loop", () => {
      for (const [key] of kv.list()) {
        seen.push(key);
        if (key === "a") kv.delete("b");
      }
    });
    t.log("seen", seen);
  },
  "kv is the same object": ({ storage }, t) => t.log("same", storage.kv === storage.kv),
  "kv and the asynchronous API share their data": async ({ storage }, t) => {
    storage.kv.put("a", 1);
    t.log("async get", await storage.get("a"));
    await storage.put("b", 2);
    t.log("sync get", storage.kv.get("b"));
    await storage.delete("a");
    t.log("list", [...storage.kv.list()]);
  },
  "kv sees an asynchronous put that was not awaited": ({ storage }, t) => {
    storage.put("a", 1);
    t.log("get", storage.kv.get("a"));
  },
  "deleteAll empties kv": async ({ storage }, t) => {
    storage.kv.put("a", 1);
    await storage.deleteAll();
    t.log("list", [...storage.kv.list()]);
    storage.kv.put("b", 2);
    t.log("list", [...storage.kv.list()]);
  },
  "a value of 1 MiB": ({ storage: { kv } }, t) => {
    kv.put("a", "x".repeat(1 << 20));
    t.log("length", kv.get("a").length);
  },
  "kv in transactionSync": ({ storage }, t) => {
    storage.kv.put("a", 1);
    t.sync("transaction", () =>
      storage.transactionSync(() => {
        storage.kv.put("a", 2);
        throw new Error("back");
      }),
    );
    t.log("get", storage.kv.get("a"));
  },
  "the methods of kv": ({ storage: { kv } }, t) => {
    const names = Object.getOwnPropertyNames(Object.getPrototypeOf(kv)).filter((name) => name !== "constructor");
    t.log("methods", names.sort());
    t.log("tag", Object.prototype.toString.call(kv), kv.constructor.name);
  },
};

const options = {
  start: { start: "b" },
  "start that is not a key": { start: "aa" },
  startAfter: { startAfter: "b" },
  "start and startAfter": { start: "a", startAfter: "b" },
  end: { end: "c" },
  "start and end": { start: "b", end: "d" },
  "start after end": { start: "d", end: "b" },
  prefix: { prefix: "b" },
  "prefix and start": { prefix: "b", start: "bb" },
  "prefix that is nowhere": { prefix: "x" },
  "the empty prefix": { prefix: "" },
  reverse: { reverse: true },
  "reverse and start": { reverse: true, start: "b" },
  "reverse and startAfter": { reverse: true, startAfter: "b" },
  "reverse and end": { reverse: true, end: "c" },
  "reverse and limit": { reverse: true, limit: 2 },
  limit: { limit: 2 },
  "limit 0": { limit: 0 },
  "limit -1": { limit: -1 },
  "limit that is no integer": { limit: 1.5 },
  "limit NaN": { limit: NaN },
  "limit undefined": { limit: undefined },
  "limit beyond all": { limit: 1000 },
  "all of them": { start: "a", end: "c", prefix: "b", reverse: true, limit: 1 },
  null: null,
};

for (const [name, option] of Object.entries(options)) {
  cases[`list with ${name}`] = ({ storage: { kv } }, t) => {
    for (const key of ["a", "b", "ba", "bb", "c", "d"]) kv.put(key, key);
    t.sync("list", () => Array.from(kv.list(option), ([key]) => key));
  };
}

const values = {
  date: new Date(0),
  "invalid date": new Date(NaN),
  map: new Map([["a", new Map()]]),
  set: new Set([1, "a"]),
  bigint: 2n ** 70n,
  "negative zero": -0,
  NaN,
  infinity: -Infinity,
  "array with a hole": [1, , 3],
  bytes: new Uint8Array([1, 2, 3]),
  "array buffer": new ArrayBuffer(2),
  "error with a cause": new TypeError("bad", { cause: 1 }),
  "lone surrogate": "\uD800",
  circle: (() => {
    const circle = {};
    circle.self = circle;
    return circle;
  })(),
};

for (const [name, value] of Object.entries(values)) {
  cases[`value: ${name}`] = ({ storage: { kv } }, t) => {
    kv.put("a", value);
    t.log("get", kv.get("a"));
  };
}

const withoutSqlite = {
  "kv of a class without SQLite": ({ storage }, t) => {
    t.sync("kv", () => typeof storage.kv);
    t.sync("get", () => storage.kv.get("a"));
    t.sync("put", () => storage.kv.put("a", 1));
    t.sync("list", () => [...storage.kv.list()]);
  },
};

export class Lab extends DurableObject {
  fetch(request) {
    return perform(cases, this, request);
  }
}

export class Plain extends DurableObject {
  fetch(request) {
    return perform(withoutSqlite, this, request);
  }
}

export default serve({ ...inside("LAB", cases), ...inside("PLAIN", withoutSqlite) });
