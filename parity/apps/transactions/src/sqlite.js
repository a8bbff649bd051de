// What only objects with SQLite have: transactionSync, and SQL in transactions.

const table = (storage) => storage.sql.exec("CREATE TABLE t (a UNIQUE)");
const rows = (storage) => [...storage.sql.exec("SELECT a FROM t ORDER BY a").raw()].flat();
const add = (storage, a) => void storage.sql.exec("INSERT INTO t VALUES (?)", a);

export const sqlite = {
  "transactionSync returns what its closure returns": ({ storage }, t) =>
    t.sync("result", () => storage.transactionSync(() => 7)),
  "transactionSync commits": ({ storage }, t) => {
    table(storage);
    storage.transactionSync(() => add(storage, 1));
    t.log("rows", rows(storage));
  },
  "transactionSync that throws": ({ storage }, t) => {
    table(storage);
    t.sync("result", () =>
      storage.transactionSync(() => {
        add(storage, 1);
        throw Object.assign(new TypeError("back"), { code: 1 });
      }),
    );
    t.log("rows", rows(storage));
  },
  "transactionSync that throws what is no error": ({ storage }, t) =>
    t.sync("result", () =>
      storage.transactionSync(() => {
        throw "text";
      }),
    ),
  "transactionSync undoes DDL": ({ storage }, t) => {
    t.sync("result", () =>
      storage.transactionSync(() => {
        table(storage);
        throw new Error("back");
      }),
    );
    t.sync("select", () => rows(storage));
  },
  "transactionSync undoes asynchronous puts": async ({ storage }, t) => {
    await storage.put("a", 1);
    t.sync("result", () =>
      storage.transactionSync(() => {
        storage.put("a", 2);
        storage.kv.put("b", 2);
        throw new Error("back");
      }),
    );
    t.log("list", await storage.list());
  },
  "transactionSync nested": ({ storage }, t) => {
    table(storage);
    storage.transactionSync(() => {
      add(storage, 1);
      storage.transactionSync(() => add(storage, 2));
    });
    t.log("rows", rows(storage));
  },
  "transactionSync nested, the inner throws": ({ storage }, t) => {
    table(storage);
    storage.transactionSync(() => {
      add(storage, 1);
      t.sync("inner", () =>
        storage.transactionSync(() => {
          add(storage, 2);
          throw new Error("back");
        }),
      );
      add(storage, 3);
    });
    t.log("rows", rows(storage));
  },
  "transactionSync nested, the outer throws": ({ storage }, t) => {
    table(storage);
    t.sync("outer", () =>
      storage.transactionSync(() => {
        storage.transactionSync(() => add(storage, 1));
        throw new Error("back");
      }),
    );
    t.log("rows", rows(storage));
  },
  "transactionSync with a statement that fails and is caught": ({ storage }, t) => {
    table(storage);
    storage.transactionSync(() => {
      add(storage, 1);
      t.sync("again", () => add(storage, 1));
      add(storage, 2);
    });
    t.log("rows", rows(storage));
  },
  "transactionSync with an async closure": async ({ storage }, t) => {
    table(storage);
    const promise = storage.transactionSync(async () => {
      add(storage, 1);
      await null;
      add(storage, 2);
      return "end";
    });
    t.log("kind", promise instanceof Promise);
    await t.try("promise", () => promise);
    t.log("rows", rows(storage));
  },
  "transactionSync with an async closure that rejects": async ({ storage }, t) => {
    table(storage);
    await t.try("promise", () =>
      storage.transactionSync(async () => {
        add(storage, 1);
        throw new Error("rejected");
      }),
    );
    t.log("rows", rows(storage));
  },
  "transactionSync with an open cursor": ({ storage }, t) => {
    table(storage);
    [1, 2, 3].forEach((a) => add(storage, a));
    const cursor = storage.sql.exec("SELECT a FROM t ORDER BY a");
    cursor.next();
    t.sync("commit", () => storage.transactionSync(() => add(storage, 4)));
    t.sync("next", () => cursor.next());
  },
  "transactionSync with a cursor from inside": ({ storage }, t) => {
    table(storage);
    add(storage, 1);
    const cursor = t.sync("commit", () => storage.transactionSync(() => storage.sql.exec("SELECT a FROM t")) && 1);
    t.log("cursor", cursor);
  },
  "transactionSync that throws with a cursor open": ({ storage }, t) => {
    table(storage);
    [1, 2].forEach((a) => add(storage, a));
    let cursor;
    t.sync("result", () =>
      storage.transactionSync(() => {
        cursor = storage.sql.exec("SELECT a FROM t ORDER BY a");
        cursor.next();
        add(storage, 3);
        throw new Error("back");
      }),
    );
    t.sync("next", () => cursor.next());
    t.sync("rows", () => rows(storage));
  },
  "transactionSync without a closure": ({ storage }, t) => {
    t.sync("none", () => storage.transactionSync());
    t.sync("no function", () => storage.transactionSync("x"));
  },
  "transactionSync of deleteAll": async ({ storage }, t) => {
    await t.try("result", () => storage.transactionSync(() => storage.deleteAll()));
  },
  "transactionSync in a transaction": async ({ storage }, t) => {
    table(storage);
    await t.try("result", () =>
      storage.transaction(async () => {
        t.sync("inner", () => storage.transactionSync(() => add(storage, 1)));
        throw new Error("back");
      }),
    );
    t.log("rows", rows(storage));
  },
  "transaction in transactionSync": async ({ storage }, t) => {
    table(storage);
    await t.try("inner", () => storage.transactionSync(() => storage.transaction(async () => add(storage, 1))));
    t.log("rows", rows(storage));
  },
  "SQL in a transaction that throws": async ({ storage }, t) => {
    table(storage);
    await t.try("result", () =>
      storage.transaction(async (txn) => {
        add(storage, 1);
        await txn.put("a", 1);
        add(storage, 2);
        throw new Error("back");
      }),
    );
    t.log("rows", rows(storage));
  },
  "SQL in a transaction that rolls back": async ({ storage }, t) => {
    table(storage);
    await t.try("result", () =>
      storage.transaction(async (txn) => {
        add(storage, 1);
        txn.rollback();
        t.sync("after", () => add(storage, 2));
      }),
    );
    t.log("rows", rows(storage));
  },
  "SQL in a transaction across an await": async ({ storage }, t) => {
    table(storage);
    await t.try("result", () =>
      storage.transaction(async () => {
        add(storage, 1);
        await scheduler.wait(5);
        add(storage, 2);
        throw new Error("back");
      }),
    );
    t.log("rows", rows(storage));
  },
  "storage.put in a transaction that throws": async ({ storage }, t) => {
    await t.try("result", () =>
      storage.transaction(async () => {
        await storage.put("a", 1);
        t.log("inside", await storage.get("a"));
        throw new Error("back");
      }),
    );
    t.log("list", await storage.list());
  },
  "storage.setAlarm in a transaction that throws": async ({ storage }, t) => {
    await t.try("result", () =>
      storage.transaction(async () => {
        await storage.setAlarm(Date.now() + 3_600_000);
        throw new Error("back");
      }),
    );
    t.log("alarm", await storage.getAlarm());
  },
  "transaction nested": async ({ storage }, t) => {
    await t.try("result", () =>
      storage.transaction(async (outer) => {
        await outer.put("a", 1);
        await t.try("inner", () =>
          storage.transaction(async (inner) => {
            await inner.put("b", 2);
            throw new Error("back");
          }),
        );
        await outer.put("c", 3);
      }),
    );
    t.log("list", await storage.list());
  },
  "transaction nested, used out of turn": async ({ storage }, t) => {
    await t.try("result", () =>
      storage.transaction(async (outer) => {
        await storage.transaction(async (inner) => {
          await t.try("outer put", () => outer.put("a", 1));
          await t.try("inner put", () => inner.put("b", 2));
        });
      }),
    );
    t.log("list", await storage.list());
  },
  "the size of the database after a rollback": ({ storage }, t) => {
    table(storage);
    const before = storage.sql.databaseSize;
    t.sync("result", () =>
      storage.transactionSync(() => {
        add(storage, "x".repeat(100_000));
        throw new Error("back");
      }),
    );
    t.log("grown", storage.sql.databaseSize - before);
  },
};
