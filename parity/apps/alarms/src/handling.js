// What the handler gets, and what it can do.

export const handling = {
  "it comes": async ({ object, storage }, t) => {
    const time = Date.now() + 100;
    await storage.setAlarm(time);
    await object.alarms(1);
    t.elapsed("late", Date.now() - time, 0, 5000);
  },
  "it comes once": async ({ object, storage }, t) => {
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(1);
    await scheduler.wait(100);
    t.log("heard", object.heard);
  },
  "what the handler is told": async ({ object, storage }, t) => {
    const time = Date.now() + 10;
    await storage.setAlarm(time);
    const [info] = await object.alarms(1);
    t.log("info", Object.keys(info).sort(), info.isRetry, info.retryCount);
    t.log("scheduledTime", typeof info.scheduledTime, info.scheduledTime - time);
  },
  "get in the handler": async ({ object, storage }, t) => {
    object.onAlarm = () => t.try("getAlarm", () => storage.getAlarm());
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(1);
    t.log("after", await storage.getAlarm());
  },
  "get from elsewhere while the handler runs": async ({ object, storage }, t) => {
    let begun;
    const running = new Promise((resolve) => (begun = resolve));
    object.onAlarm = () => (begun(), scheduler.wait(100));
    await storage.setAlarm(Date.now() + 10);
    await running;
    t.log("getAlarm", await storage.getAlarm());
    await object.alarms(1);
  },
  "set in the handler": async ({ object, storage }, t) => {
    object.onAlarm = async (_info, nth) => {
      if (nth < 2) await storage.setAlarm(Date.now() + 10);
    };
    await storage.setAlarm(Date.now() + 10);
    const infos = await object.alarms(3);
    t.log(
      "retries",
      infos.map(({ isRetry, retryCount }) => [isRetry, retryCount]),
    );
    t.log("after", await storage.getAlarm());
  },
  "set in the handler, which then throws": async ({ object, storage }, t) => {
    object.onAlarm = async (_info, nth) => {
      if (nth > 0) return;
      await storage.setAlarm(Date.now() + 10);
      throw new Error("after setAlarm");
    };
    await storage.setAlarm(Date.now() + 10);
    const infos = await object.alarms(2);
    t.log(
      "retries",
      infos.map(({ isRetry, retryCount }) => [isRetry, retryCount]),
    );
  },
  "set from elsewhere while the handler runs": async ({ object, storage }, t) => {
    let begun;
    const running = new Promise((resolve) => (begun = resolve));
    object.onAlarm = async (_info, nth) => {
      if (nth > 0) return;
      begun();
      await scheduler.wait(100);
    };
    await storage.setAlarm(Date.now() + 10);
    await running;
    await storage.setAlarm(Date.now() + 10);
    const infos = await object.alarms(2);
    t.log(
      "retries",
      infos.map(({ isRetry, retryCount }) => [isRetry, retryCount]),
    );
  },
  "handlers do not overlap": async ({ object, storage }, t) => {
    let inside = 0;
    let most = 0;
    object.onAlarm = async (_info, nth) => {
      most = Math.max(most, ++inside);
      // Not the very millisecond for which this one was set: workerd could take it for the same.
      if (nth === 0) await storage.setAlarm(Date.now() + 1);
      await scheduler.wait(50);
      inside -= 1;
    };
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(2);
    t.log("at a time", most);
  },
  "delete in the handler": async ({ object, storage }, t) => {
    object.onAlarm = () => t.try("deleteAlarm", () => storage.deleteAlarm());
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(1);
    t.log("after", await storage.getAlarm());
  },
  "deleteAll in the handler": async ({ object, storage }, t) => {
    await storage.put("a", 1);
    object.onAlarm = () => t.try("deleteAll", () => storage.deleteAll());
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(1);
    t.log("list", await storage.list());
  },
  "what the handler returns is of no interest": async ({ object, storage }, t) => {
    object.onAlarm = () => () => "a function";
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(1);
    await scheduler.wait(50);
    t.log("heard", object.heard);
  },
  "waitUntil in the handler": async ({ object, ctx, storage }, t) => {
    object.onAlarm = () => ctx.waitUntil(Promise.reject(new Error("later")));
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(1);
    await scheduler.wait(50);
    t.log("heard", object.heard);
  },
  "writes of the handler": async ({ object, storage }, t) => {
    object.onAlarm = async () => {
      await storage.put("a", 1);
      storage.put("b", 2);
    };
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(1);
    t.log("list", await storage.list());
  },
  "the object is the same": async ({ object, storage }, t) => {
    object.mark = "mine";
    object.onAlarm = function () {
      t.log("mark", this.mark);
    };
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(1);
  },
  "name of the id in the handler": async ({ object, ctx, storage }, t) => {
    object.onAlarm = () => t.log("name", ctx.id.name);
    await storage.setAlarm(Date.now() + 10);
    await object.alarms(1);
  },
  "requests are served while the handler waits": async ({ object, ctx, env, storage }, t) => {
    const log = [];
    object.onAlarm = async () => {
      log.push("begins");
      await scheduler.wait(200);
      log.push("ends");
    };
    await storage.setAlarm(Date.now() + 10);
    while (log.length === 0) await scheduler.wait(5);
    log.push("another event");
    await object.alarms(1);
    t.log("log", log);
  },
  "blockConcurrencyWhile holds it back": async ({ object, ctx, storage }, t) => {
    const log = [];
    object.onAlarm = () => log.push("alarm");
    await storage.setAlarm(Date.now() + 20);
    await ctx.blockConcurrencyWhile(async () => {
      await scheduler.wait(200);
      log.push("unblocked");
    });
    await object.alarms(1);
    t.log("log", log);
  },
  "setting it earlier makes it come earlier": async ({ object, storage }, t) => {
    await storage.setAlarm(Date.now() + 3_600_000);
    await storage.setAlarm(Date.now() + 20);
    await object.alarms(1);
    t.log("heard", object.heard);
  },
  "setting it later makes it come later": async ({ object, storage }, t) => {
    const begin = Date.now();
    await storage.setAlarm(begin + 50);
    await storage.setAlarm(begin + 400);
    await object.alarms(1);
    t.elapsed("after", Date.now() - begin, 400, 5000);
    t.log("heard", object.heard);
  },
};
