// In which order promises and timers of one event come.

export const turns = {
  "turns: promises before storage": async ({ storage }, t) => {
    const log = [];
    const got = storage.get("a").then(() => log.push("get"));
    const later = Promise.resolve().then(() => log.push("promise"));
    queueMicrotask(() => log.push("microtask"));
    await Promise.all([got, later]);
    t.log("log", log);
  },
  "turns: put before timers": async ({ storage }, t) => {
    const log = [];
    const timer = new Promise((resolve) => setTimeout(() => resolve(log.push("timer")), 20));
    await Promise.all([
      timer,
      storage.put("a", 1).then(() => log.push("put")),
      storage.get("a").then(() => log.push("get")),
    ]);
    t.log("log", log);
  },
  "turns: timers in the order of their times": async (_, t) => {
    const log = [];
    const timer = (ms) => new Promise((resolve) => setTimeout(() => resolve(log.push(ms)), ms));
    await Promise.all([timer(60), timer(10), timer(35)]);
    t.log("log", log);
  },
  "turns: timers of the same time": async (_, t) => {
    const log = [];
    const timer = (name) => new Promise((resolve) => setTimeout(() => resolve(log.push(name)), 5));
    await Promise.all([timer("a"), timer("b"), timer("c")]);
    t.log("log", log);
  },
  "turns: puts and gets in the order of their calls": async ({ storage }, t) => {
    const log = [];
    const note = (name) => () => log.push(name);
    await Promise.all([
      storage.put("a", 1).then(note("put a")),
      storage.get("a").then(note("get a")),
      storage.list().then(note("list")),
      storage.delete("a").then(note("delete a")),
      storage.get("a").then(note("get a again")),
    ]);
    t.log("log", log);
  },
};
