// Whose alarms were handled.
const heard = new Set();
// Of those, how many had been asleep.
let woken = 0;

// It stays awake, for it remembers this in memory alone.
waitUntil(new Promise(() => {}));

export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => {
      if (data === "read") return port.postMessage(`${heard.size} ${woken}`);
      if (data.woken && !heard.has(data.name)) woken += 1;
      heard.add(data.name);
    };
  },
};
