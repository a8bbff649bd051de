// What a list's relay has let out: counts ports and messages. Read once, at the end, by somebody who opens a port as well.
const VERSION = 1;

const stored = await storage.get(["opened", "told"]);
let opened = stored.get("opened") ?? 0;
let told = stored.get("told") ?? 0;

export default {
  connect({ ports: [port] }) {
    opened += 1;
    storage.put("opened", opened);
    port.onmessage = ({ data }) => {
      if (data.operation === "tell") {
        told += 1;
        storage.put("told", told);
        port.postMessage({});
      } else {
        port.postMessage({ id: data.id, opened: opened - 1, told });
      }
    };
  },
};
