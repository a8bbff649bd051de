// One use of each name of Portside's own surface: `shared` in servers and workers, `workers` in workers only.
import { equal, made, next, thrown } from "./check.js";

/** Opens a worker of `other.js`, and asks it to do something. */
function open(name) {
  const { port } = new ServerlessWorker("./other.js", name);
  port.start();
  return {
    port,
    ask(job) {
      port.postMessage(job);
      return next(port, "message").then(({ data }) => data);
    },
  };
}

/** A name that no other use has: workers keep their state. */
let names = 0;
const fresh = () => `${self.name ?? "server"} ${++names} ${crypto.randomUUID()}`;

async function port() {
  const { port, ask } = open(fresh());
  equal(await ask({ echo: [new Map([[1, 2]]).size, "text"] }), { echo: [1, "text"] });
  equal(await thrown(() => port.postMessage(() => {})), "DataCloneError");
  const buffer = new ArrayBuffer(8);
  port.postMessage({ echo: buffer }, [buffer]);
  equal([buffer.byteLength, (await next(port, "message")).data.echo.byteLength], [0, 8]);
  const end = open(fresh());
  const closed = next(end.port, "close");
  end.port.postMessage("terminate");
  equal((await closed).code, "terminated");
  port.close();
}

async function overloaded() {
  const { port } = new ServerlessWorker("./other.js", fresh());
  let error;
  try {
    for (;;) port.postMessage({ ignored: "x".repeat(100_000) });
  } catch (thrown) {
    error = thrown;
  }
  made(error, ServerlessWorkerOverloadedError);
  equal([error.name, error.overloaded, typeof error.retryAfterMs], ["ServerlessWorkerOverloadedError", true, "number"]);
}

async function pair() {
  const { 0: one, 1: two } = new WebSocketPair();
  one.accept();
  two.accept();
  const heard = next(two, "message");
  one.send("text");
  equal((await heard).data, "text");
  for (const code of [999, 1004, 1005, 1006, 1015, 5000]) {
    equal(await thrown(() => two.close(code)), "InvalidAccessError");
  }
  const closed = next(one, "close");
  two.close(4000, "why");
  const { code, reason } = await closed;
  equal([code, reason, one.readyState], [4000, "why", WebSocket.CLOSED]);
}

async function alarm() {
  const { ask } = open(fresh());
  equal(await ask("alarm"), { isRetry: false, retryCount: 0, scheduledTime: "a number" });
}

export const shared = {
  ServerlessWorker: port,
  port,
  ServerlessWorkerOverloadedError: overloaded,
  WebSocketPair: pair,
  async scheduler() {
    const before = performance.now();
    await scheduler.wait(5);
    equal(performance.now() - before >= 4, true);
  },
  async WebSocketRequestResponsePair() {
    const { request, response } = new WebSocketRequestResponsePair("ping", "pong");
    equal([request, response], ["ping", "pong"]);
    equal(await thrown(() => new WebSocketRequestResponsePair("x".repeat(2049), "")), "RangeError");
  },
  async waitUntil() {
    let done;
    const promise = new Promise((resolve) => done = resolve);
    waitUntil(promise);
    done();
    await promise;
  },
  // The handlers that a module exports.
  connect: port,
  alarm,
  async fetch(peer) {
    equal(await (await fetch(`${peer}/context`)).json(), { greeting: "hello", waitUntil: "function" });
  },
};

async function alarms() {
  equal(await getAlarm(), null);
  const time = Date.now() + 3_600_000;
  await setAlarm(time);
  equal([await getAlarm(), await storage.getAlarm()], [time, time]);
  await deleteAlarm();
  equal(await getAlarm(), null);
  await storage.setAlarm(new Date(time));
  await storage.deleteAlarm();
  equal(await storage.getAlarm(), null);
}

async function kept() {
  await storage.deleteAll();
  await storage.put("a", { map: new Map([["k", 1n]]), bytes: new Uint8Array([1]) });
  const value = await storage.get("a");
  equal([value.map.get("k") === 1n, value.bytes[0]], [true, 1]);
  await storage.put({ b: 1, c: 2, d: 3 });
  equal([...(await storage.get(["b", "d", "none"])).entries()], [["b", 1], ["d", 3]]);
  const list = async (options) => [...(await storage.list(options)).keys()].join("");
  equal(await list(), "abcd");
  equal(await list({ start: "b", end: "d", reverse: true, limit: 2 }), "cb");
  equal([await list({ prefix: "a" }), await list({ startAfter: "c" })], ["a", "d"]);
  equal([await storage.delete("a"), await storage.delete("a"), await storage.delete(["b", "none"])], [true, false, 1]);
  await storage.sync();
  equal(await storage.transaction(async (txn) => {
    await txn.put("e", 5);
    return await txn.get("e") + (await txn.list()).size;
  }), 8);
  await storage.transaction(async (txn) => {
    await txn.put("f", 6);
    txn.rollback();
  });
  equal(await list(), "cde");
  await storage.deleteAll();
  equal(await list(), "");
}

export const workers = {
  async fetch(peer) {
    const headers = new Headers({ "x-a": "at the call" });
    const body = new Request(`${peer}/echo`, { method: "POST", body: "text", headers });
    storage.put("before", 1);
    const answer = fetch(body);
    equal(body.bodyUsed, true);
    body.headers.set("x-a", "later");
    equal((await answer).headers.get("x-a"), "at the call");
    storage.put("before", 2);
    equal(await thrown(() => fetch(body)), "TypeError");
    equal([fetch.length, await thrown(() => fetch())], [1, "TypeError"]);
  },
  deleteAlarm: alarms,
  getAlarm: alarms,
  setAlarm: alarms,
  name: () => equal(self.name, "uses"),
  storage: kept,
  get: kept,
  put: kept,
  delete: kept,
  list: kept,
  deleteAll: kept,
  sync: kept,
  transaction: kept,
  // It ends the worker it is called in, so another one does.
  terminate: port,
};
