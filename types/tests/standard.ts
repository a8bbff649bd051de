// What the declarations of the standard let pass, and what not: alone, and beside @cloudflare/workers-types.

const { port, name: asked } = new ServerlessWorker("./worker.ts", "a");
new ServerlessWorker(new URL("./worker.ts", "file:///"), { name: "a", type: "module" });
// @ts-expect-error: there is no other type
new ServerlessWorker("./worker.ts", { type: "classic" });
// @ts-expect-error: a script is needed
new ServerlessWorker();

port.postMessage({ asked }, [new ArrayBuffer(1)]);
port.postMessage(1, { transfer: [new ArrayBuffer(1)] });
// @ts-expect-error: only buffers are transferred
port.postMessage(1, [new MessageChannel().port1]);
port.onmessage = ({ data }) => data.anything;
port.onclose = ({ code }) => code satisfies "closed" | "terminated" | "lost";
port.onerror = ({ error }) => error.code satisfies "overloaded" | "unavailable" | "failed";
port.addEventListener("close", ({ wasClean }) => wasClean satisfies boolean, { once: true });
port.start();
port.close();

const { overloaded, retryAfterMs }: { overloaded: true; retryAfterMs: number } = new ServerlessWorkerOverloadedError("", {
  retryAfterMs: 1,
});
waitUntil(Promise.resolve([overloaded, retryAfterMs]));

(await storage.get<number>("count")) satisfies number | undefined;
(await storage.get<number>(["a", "b"])) satisfies Map<string, number>;
let count = (await storage.get("count")) ?? 0;
count += 1;
await storage.put("count", count);
await storage.put({ a: 1, b: 2 });
// @ts-expect-error: a value is needed
storage.put("a");
(await storage.delete("a")) satisfies boolean;
(await storage.delete(["a", "b"])) satisfies number;
for (const [key, value] of await storage.list<Date>({ prefix: "a", limit: 2 })) key satisfies string, value satisfies Date;
// @ts-expect-error: there is no such option
storage.list({ allowConcurrency: true });
const sum = await storage.transaction(async (transaction) => {
  if (await transaction.delete("a")) transaction.rollback();
  return 1;
});
sum satisfies number;
await Promise.all([storage.sync(), storage.deleteAll(), setAlarm(new Date()), storage.setAlarm(1), deleteAlarm()]);
(await getAlarm()) satisfies number | null;
[self.name, self.storage, self.setAlarm, self.getAlarm, self.deleteAlarm, self.waitUntil, self.terminate];

export const handlers = {
  async connect(event) {
    const [port] = event.ports;
    port.postMessage([event.reconnected, event.type]);
  },
  alarm({ scheduledTime, retryCount, isRetry }) {
    if (isRetry) terminate();
    return scheduledTime + retryCount;
  },
} satisfies WorkerHandlers;

// @ts-expect-error: there is no such handler
({ alarms() {} }) satisfies WorkerHandlers;
