// What workers do, so that the functions they need are compiled in the snapshot. It is run once, while that is made.
({
  default: {
    async connect(event) {
      const [port] = event.ports;
      port.onmessage = async ({ data }) => {
        switch (data) {
          case "count":
            storage.put("count", ((await storage.get("count")) ?? 0) + 1);
            port.postMessage(`the count of ${name}`);
            break;
          case "many":
            await storage.put({ a: { list: [1, "two"] }, b: new Map([["key", new Date(0)]]) });
            port.postMessage([...await storage.list({ prefix: "a" }), ...await storage.get(["a", "b"])]);
            await storage.delete("b");
            break;
          case "alarm":
            await setAlarm(Date.now() + 60_000);
            port.postMessage(await getAlarm());
            break;
          default:
            waitUntil(storage.transaction(async (transaction) => transaction.put("last", data)));
            port.postMessage({ data });
        }
      };
      port.addEventListener("close", () => {});
      port.postMessage({ welcome: name });
    },
    async alarm() {
      await storage.put("alarmed", true);
    },
  },
})
