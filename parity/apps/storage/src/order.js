// Many operations at a time: the order they come in, and what they see of each other.

export const order = {
  "promises of puts resolve in order": async ({ storage }, t) => {
    const done = [];
    await Promise.all([1, 2, 3].map((n) => storage.put("a", n).then(() => done.push(n))));
    t.log("done", done);
    t.log("get", await storage.get("a"));
  },
  "promises of gets resolve in order": async ({ storage }, t) => {
    await storage.put({ a: 1, b: 2 });
    const done = [];
    await Promise.all(["b", "none", "a"].map((key) => storage.get(key).then(() => done.push(key))));
    t.log("done", done);
  },
  "gets between puts see what was put before them": async ({ storage }, t) => {
    storage.put("a", 1);
    const first = storage.get("a");
    storage.put("a", 2);
    const second = storage.get("a");
    storage.delete("a");
    const third = storage.get("a");
    t.log("seen", await Promise.all([first, second, third]));
  },
  "delete counts what is there at its turn": async ({ storage }, t) => {
    const put = storage.put({ a: 1, b: 2 });
    const first = storage.delete(["a", "b", "c"]);
    const second = storage.delete("a");
    await put;
    t.log("deleted", await Promise.all([first, second]));
  },
  "a read-modify-write without await between": async ({ storage }, t) => {
    const add = async () => storage.put("n", ((await storage.get("n")) ?? 0) + 1);
    await add();
    await add();
    t.log("n", await storage.get("n"));
  },
  "concurrent read-modify-writes of one event": async ({ storage }, t) => {
    const add = async () => storage.put("n", ((await storage.get("n")) ?? 0) + 1);
    await Promise.all([add(), add(), add()]);
    t.log("n", await storage.get("n"));
  },
};
