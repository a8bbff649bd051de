// setAlarm, getAlarm and deleteAlarm, without an alarm that comes.

const HOUR = 3_600_000;

const times = {
  0: 0,
  "-1": -1,
  NaN,
  Infinity,
  "-Infinity": -Infinity,
  undefined,
  null: null,
  "an empty text": "",
  "text that is no number": "soon",
  true: true,
  "an object": {},
  "an invalid Date": new Date(NaN),
  "a Date before 1970": new Date(-1),
  "a bigint": 5n,
  "a symbol": Symbol("s"),
};

export const setting = {
  "none is set": async ({ storage }, t) => {
    await t.try("getAlarm", () => storage.getAlarm());
    await t.try("deleteAlarm", () => storage.deleteAlarm());
  },
  "set and get": async ({ storage }, t) => {
    const time = Date.now() + HOUR;
    await t.try("setAlarm", () => storage.setAlarm(time));
    t.log("away", (await storage.getAlarm()) - time);
  },
  "set without await, then get": async ({ storage }, t) => {
    const time = Date.now() + HOUR;
    storage.setAlarm(time);
    t.log("away", (await storage.getAlarm()) - time);
  },
  "set by a Date": async ({ storage }, t) => {
    const time = Date.now() + HOUR;
    await t.try("setAlarm", () => storage.setAlarm(new Date(time)));
    t.log("away", (await storage.getAlarm()) - time);
  },
  "set by a text of a number": async ({ storage }, t) => {
    const time = Date.now() + HOUR;
    await t.try("setAlarm", () => storage.setAlarm(String(time)));
    const set = await storage.getAlarm();
    t.log("away", set === null ? null : set - time);
  },
  "set to a fraction of a millisecond": async ({ storage }, t) => {
    const time = Date.now() + HOUR;
    await storage.setAlarm(time + 0.75);
    t.log("away", (await storage.getAlarm()) - time);
  },
  "set far in the future": async ({ storage }, t) => {
    await t.try("setAlarm", () => storage.setAlarm(8.64e15));
    await t.try("getAlarm", () => storage.getAlarm());
  },
  "set beyond what dates can be": async ({ storage }, t) => {
    await t.try("setAlarm", () => storage.setAlarm(1e18));
    await t.try("getAlarm", () => storage.getAlarm());
  },
  "set again": async ({ storage }, t) => {
    const time = Date.now() + HOUR;
    await storage.setAlarm(time);
    await storage.setAlarm(time + 5);
    t.log("later", (await storage.getAlarm()) - time);
    await storage.setAlarm(time - 5);
    t.log("earlier", (await storage.getAlarm()) - time);
  },
  delete: async ({ storage }, t) => {
    await storage.setAlarm(Date.now() + HOUR);
    await t.try("deleteAlarm", () => storage.deleteAlarm());
    await t.try("getAlarm", () => storage.getAlarm());
  },
  "delete keeps it from coming": async ({ object, storage }, t) => {
    await storage.setAlarm(Date.now() + 50);
    await storage.deleteAlarm();
    await scheduler.wait(200);
    t.log("heard", object.heard);
  },
  options: async ({ storage }, t) => {
    await t.try("setAlarm", () =>
      storage.setAlarm(Date.now() + HOUR, { allowUnconfirmed: true, allowConcurrency: true }),
    );
    await t.try("getAlarm", async () => typeof (await storage.getAlarm({ allowConcurrency: true })));
    await t.try("deleteAlarm", () => storage.deleteAlarm({ allowUnconfirmed: true }));
  },
  "without arguments": ({ storage }, t) => t.try("setAlarm", () => storage.setAlarm()),
  "deleteAll drops it": async ({ storage }, t) => {
    await storage.setAlarm(Date.now() + HOUR);
    await storage.put("a", 1);
    await storage.deleteAll();
    t.log("alarm", typeof (await storage.getAlarm()));
  },
  "the past is about now": async ({ object, storage }, t) => {
    object.onAlarm = () => scheduler.wait(1);
    const before = Date.now();
    await storage.setAlarm(1000);
    const [{ scheduledTime }] = await object.alarms(1);
    t.elapsed("scheduled", scheduledTime - before, -10, 5000);
  },
  "it is no key": async ({ storage }, t) => {
    await storage.setAlarm(Date.now() + HOUR);
    t.log("list", await storage.list());
  },
};

for (const [name, time] of Object.entries(times)) {
  setting[`set to ${name}`] = async ({ storage }, t) => {
    await t.try("setAlarm", () => storage.setAlarm(time));
    await t.try("getAlarm", async () => typeof (await storage.getAlarm()));
  };
}
