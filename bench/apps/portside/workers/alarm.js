// Whether this is the first event since the worker woke.
let woken = true;

export default {
  connect({ ports: [port] }) {
    woken = false;
    port.onmessage = async ({ data: time }) => {
      await Promise.all([storage.put("armed", time), setAlarm(time)]);
      port.postMessage("armed");
    };
  },
  alarm() {
    storage.put("fired", Date.now());
    const { port } = new ServerlessWorker("./tally.js", "tally");
    // It leaves when the write is durable.
    port.postMessage({ name: self.name, woken });
    port.close();
    woken = false;
  },
};
