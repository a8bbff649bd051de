let count = (await storage.get("count")) ?? 0;
// Whether this is the first question since the worker woke: the benchmark of waking looks at it.
let state = "woken";

export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => {
      if (data === "add") storage.put("count", ++count);
      port.postMessage(`${count} ${state}`);
      state = "awake";
    };
  },
};
