// One room: who is there, and the last messages.

const KEPT = 100;

// Each message has a key of its own, so saying something costs the same in a new room and in an old one.
// Digits are padded because storage lists keys in the order of their bytes.
const PREFIX = "message:";
const key = (seq) => PREFIX + String(seq).padStart(12, "0");

const newestFirst = await storage.list({ prefix: PREFIX, reverse: true, limit: KEPT });
const history = [...newestFirst.values()].reverse();
const members = new Map();

function broadcast(message) {
  for (const port of members.keys()) {
    try {
      port.postMessage(message);
    } catch {
      // Its queue is full. It can come back and read what it missed; the others need not wait for it.
      leave(port);
      port.close();
    }
  }
}

function presence() {
  broadcast({ type: "presence", names: [...new Set(members.values())].sort() });
}

function join(port, { name }) {
  members.set(port, name);
  // Synchronous, so no message can arrive twice, or not at all, between the history and the broadcasts.
  port.postMessage({ type: "history", messages: history });
  presence();
}

function leave(port) {
  if (members.delete(port)) presence();
}

function say(port, { id, name, text }) {
  // A client that lost its connection before the confirmation says it again, under the same id.
  const said = history.find((message) => message.id === id && message.name === name);
  if (said) {
    port.postMessage({ type: "message", message: said });
    return;
  }
  const seq = (history.at(-1)?.seq ?? 0) + 1;
  const message = { seq, id, name, text, at: Date.now() };
  history.push(message);
  // Not awaited, to keep the order of the messages: while one handler waits, another may run.
  // The platform holds the broadcast back until the writes before it are durable.
  waitUntil(storage.put(key(seq), message));
  if (history.length > KEPT) waitUntil(storage.delete(key(history.shift().seq)));
  broadcast({ type: "message", message });
}

export default {
  connect(event) {
    const [port] = event.ports;
    port.onmessage = ({ data }) => (data.type === "join" ? join(port, data) : say(port, data));
    port.onclose = () => leave(port);
    // The worker moved and the port came along: ask the server side to introduce itself again.
    if (event.reconnected) port.postMessage({ type: "rejoin" });
  },
};
