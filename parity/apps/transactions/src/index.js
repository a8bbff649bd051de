// transaction, transactionSync, and what commits together.

import { DurableObject } from "cloudflare:workers";

import { inside, perform, serve } from "./parity/parity.js";
import { sqlite } from "./sqlite.js";

const both = {
  "transaction resolves to what its closure returns": ({ storage }, t) =>
    t.try("result", () => storage.transaction(async () => 7)),
  "transaction with a synchronous closure": ({ storage }, t) => t.try("result", () => storage.transaction(() => 7)),
  "transaction commits": async ({ storage }, t) => {
    await storage.transaction(async (txn) => {
      await txn.put("a", 1);
      await txn.put({ b: 2, c: 3 });
      await txn.delete("b");
    });
    t.log("list", await storage.list());
  },
  "transaction sees its own writes": async ({ storage }, t) => {
    await storage.put({ a: 1, b: 2 });
    await storage.transaction(async (txn) => {
      await txn.put("a", 10);
      t.log("get", await txn.get("a"));
      t.log("get several", await txn.get(["a", "b", "c"]));
      t.log("list", await txn.list({ reverse: true }));
      t.log("delete", await txn.delete("b"));
      t.log("get of the deleted", await txn.get("b"));
      t.log("delete several", await txn.delete(["a", "b"]));
    });
    t.log("list", await storage.list());
  },
  "transaction that throws": async ({ storage }, t) => {
    await storage.put("a", 1);
    await t.try("result", () =>
      storage.transaction(async (txn) => {
        await txn.put("a", 2);
        await txn.put("b", 2);
        await txn.delete("a");
        throw Object.assign(new RangeError("no"), { code: 7 });
      }),
    );
    t.log("list", await storage.list());
  },
  "transaction that throws what is no error": async ({ storage }, t) => {
    await t.try("result", () => storage.transaction(() => Promise.reject("text")));
  },
  "transaction that throws at once": ({ storage }, t) => {
    const promise = t.sync(
      "call",
      () =>
        storage.transaction(() => {
          throw new Error("at once");
        }) instanceof Promise,
    );
    t.log("promise", promise);
  },
  "transaction rolls back": async ({ storage }, t) => {
    await storage.put("a", 1);
    await t.try("result", () =>
      storage.transaction(async (txn) => {
        await txn.put("a", 2);
        t.sync("rollback", () => txn.rollback());
        return "returned";
      }),
    );
    t.log("list", await storage.list());
  },
  "after rollback": async ({ storage }, t) => {
    await storage.transaction(async (txn) => {
      txn.rollback();
      await t.try("get", () => txn.get("a"));
      await t.try("put", () => txn.put("a", 1));
      await t.try("delete", () => txn.delete("a"));
      await t.try("list", () => txn.list());
      await t.try("getAlarm", () => txn.getAlarm());
      await t.try("rollback", () => txn.rollback());
    });
    t.log("list", await storage.list());
  },
  "after the transaction": async ({ storage }, t) => {
    let kept;
    await storage.transaction(async (txn) => {
      kept = txn;
      await txn.put("a", 1);
    });
    await t.try("get", () => kept.get("a"));
    await t.try("put", () => kept.put("a", 2));
    await t.try("list", () => kept.list());
    await t.try("rollback", () => kept.rollback());
    t.log("list", await storage.list());
  },
  "put that is not awaited in a transaction": async ({ storage }, t) => {
    await storage.transaction(async (txn) => {
      txn.put("a", 1);
      txn.put("b", 2);
    });
    t.log("list", await storage.list());
  },
  "put that is refused in a transaction": async ({ storage }, t) => {
    await t.try("result", () =>
      storage.transaction(async (txn) => {
        await txn.put("a", 1);
        await t.try("put", () => txn.put("b", undefined));
        await t.try("put of a function", () => txn.put("b", () => {}));
      }),
    );
    t.log("list", await storage.list());
  },
  "transactions at the same time": async ({ storage }, t) => {
    await storage.put("n", 0);
    const add = () => storage.transaction(async (txn) => txn.put("n", (await txn.get("n")) + 1));
    await Promise.all([add(), add(), add()]);
    t.log("n", await storage.get("n"));
  },
  "transactions at the same time run one after the other": async ({ storage }, t) => {
    const log = [];
    const run = (name) =>
      storage.transaction(async (txn) => {
        log.push(`${name} begins`);
        await txn.get("a");
        await txn.put("a", name);
        log.push(`${name} ends`);
      });
    await Promise.all([run("first"), run("second")]);
    t.log("log", log);
    t.log("a", await storage.get("a"));
  },
  "deleteAll in a transaction": async ({ storage }, t) => {
    await storage.put("a", 1);
    await storage
      .transaction(async (txn) => {
        await t.try("txn.deleteAll", () => txn.deleteAll?.() ?? "none");
        await t.try("storage.deleteAll", () => storage.deleteAll());
      })
      .catch((error) => t.log("transaction throws", error));
    await t.try("list", () => storage.list());
  },
  "sync in a transaction": async ({ storage }, t) => {
    await t.try("result", () => storage.transaction(() => t.try("sync", () => storage.sync())));
  },
  "a transaction across a wait": async ({ storage }, t) => {
    await storage.transaction(async (txn) => {
      await txn.put("a", 1);
      await scheduler.wait(5);
      await txn.put("b", 2);
    });
    t.log("list", await storage.list());
  },
  "transaction with options": ({ storage }, t) =>
    t.try("result", () => storage.transaction(async () => 1, { lowPriority: true })),
  "transaction without a closure": async ({ storage }, t) => {
    await t.try("none", () => storage.transaction());
    await t.try("no function", () => storage.transaction(7));
  },
  "the members of a transaction": ({ storage }, t) =>
    storage.transaction(async (txn) => {
      const names = Object.getOwnPropertyNames(Object.getPrototypeOf(txn));
      t.log("members", names.filter((name) => name !== "constructor").sort());
      t.log("tag", Object.prototype.toString.call(txn));
    }),
  "the members of storage": ({ storage }, t) => {
    const names = new Set();
    for (let at = Object.getPrototypeOf(storage); at !== Object.prototype; at = Object.getPrototypeOf(at)) {
      Object.getOwnPropertyNames(at).forEach((name) => names.add(name));
    }
    const public_ = [
      "delete",
      "deleteAll",
      "deleteAlarm",
      "get",
      "getAlarm",
      "kv",
      "list",
      "put",
      "setAlarm",
      "sql",
      "sync",
      "transaction",
    ];
    t.log(
      "there",
      public_.filter((name) => names.has(name)),
    );
    t.log("transactionSync", names.has("transactionSync"));
  },
  "setAlarm in a transaction that throws": async ({ storage }, t) => {
    const first = Date.now() + 3_600_000;
    await storage.setAlarm(first);
    await t.try("result", () =>
      storage.transaction(async (txn) => {
        await txn.setAlarm(first + 1000);
        t.log("inside", (await txn.getAlarm()) - first);
        throw new Error("back");
      }),
    );
    t.log("after", (await storage.getAlarm()) - first);
  },
  "deleteAlarm in a transaction that rolls back": async ({ storage }, t) => {
    const first = Date.now() + 3_600_000;
    await storage.setAlarm(first);
    await storage.transaction(async (txn) => {
      await txn.deleteAlarm();
      t.log("inside", await txn.getAlarm());
      txn.rollback();
    });
    t.log("after", (await storage.getAlarm()) - first);
  },
};

const withoutSqlite = {
  "transactionSync of a class without SQLite": ({ storage }, t) =>
    t.sync("call", () => storage.transactionSync(() => 1)),
  "storage.put within a transaction": async ({ storage }, t) => {
    await t.try("result", () =>
      storage.transaction(async () => {
        await storage.put("a", 1);
        throw new Error("back");
      }),
    );
    t.log("list", await storage.list());
  },
  "nested transactions": async ({ storage }, t) => {
    await t.try("result", () =>
      storage.transaction(async (outer) => {
        await outer.put("a", 1);
        await t.try("inner", () => storage.transaction(async (inner) => inner.put("b", 2)));
      }),
    );
    t.log("list", await storage.list());
  },
};

export class Lab extends DurableObject {
  fetch(request) {
    return perform({ ...both, ...sqlite }, this, request);
  }
  alarm() {}
}

export class Plain extends DurableObject {
  fetch(request) {
    return perform({ ...both, ...withoutSqlite }, this, request);
  }
  alarm() {}
}

export default serve({
  ...inside("LAB", { ...both, ...sqlite }),
  ...inside("PLAIN", { ...both, ...withoutSqlite }, "without SQLite: "),
});
