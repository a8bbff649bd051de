// One counter. There is one worker for each name, and its handlers never run in parallel.

let count = (await storage.get("count")) ?? 0; // runs on every wake, before the first message

export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data: { by } }) => {
      count += by;
      if (by !== 0) storage.put("count", count);
      port.postMessage(count); // leaves when the write is durable
    };
  },
};
