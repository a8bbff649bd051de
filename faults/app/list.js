// A list of values, kept twice, under two keys that are always written in one turn. Each entry says which instance
// appended it.
import { answer, instance } from "./answer.js";

const VERSION = 1;
// What is wrong with this application, for the lab to see whether it notices.
const LIE = "";

const KEYS = ["first", "second", "pending", "sets", "fired"];
const stored = await storage.get(KEYS);
const first = stored.get("first") ?? [];
const second = stored.get("second") ?? [];
// Values that an alarm is to append.
let pending = stored.get("pending") ?? [];
// The times for which the alarm was set, each later than the one before, and those at which it came.
const sets = stored.get("sets") ?? [];
const fired = stored.get("fired") ?? [];
let previous = contents();

function contents() {
  return {
    first: [...first],
    second: [...second],
    pending: pending.map(({ value }) => value),
    sets: [...sets],
    fired: [...fired],
  };
}

function lies(kind, value) {
  return LIE === kind && value % 7 === 3;
}

function append(value) {
  const entry = `${value}~${lies("two-owners", value) ? "another" : instance}`;
  previous = contents();
  if (lies("lost", value)) return first.length;
  first.push(entry);
  if (!lies("torn", value)) second.push(entry);
  if (lies("twice", value)) first.push(entry), second.push(entry);
  storage.put("first", first);
  storage.put("second", second);
  return first.length - 1;
}

/** A turn that writes half of what it should, and then uses up its CPU time, or its memory. */
function half(value, memory) {
  first.push(`${value}~${instance}`);
  storage.put("first", first);
  for (const kept = [];;) {
    if (memory) kept.push(new Array(10_000).fill(value));
  }
}

function later(value, after, spins) {
  pending.push({ value, spins });
  storage.put("pending", pending);
  if (pending.length !== 1 || LIE === "no-alarm") return;
  sets.push(Math.max(Date.now() + after, (sets.at(-1) ?? 0) + 1));
  storage.put("sets", sets);
  setAlarm(sets.at(-1));
}

/** Appends, and tells another worker: first by opening a port alone, then by a message. */
function relay(value) {
  const index = LIE === "leaked" ? first.length : append(value);
  const { port } = new ServerlessWorker("./mirror.js", `${self.name} ${value}`);
  port.onmessage = () => port.close();
  port.start();
  port.postMessage({ operation: "tell" });
  return index;
}

async function read(from) {
  if (LIE === "stale") return previous;
  if (from === "memory") return contents();
  const now = await storage.get(KEYS);
  return {
    first: now.get("first") ?? [],
    second: now.get("second") ?? [],
    pending: (now.get("pending") ?? []).map(({ value }) => value),
    sets: now.get("sets") ?? [],
    fired: now.get("fired") ?? [],
  };
}

async function perform({ operation, value, after, spins, memory, from }) {
  switch (operation) {
    case "append": return { index: append(value) };
    case "relay": return { index: relay(value) };
    case "later": return later(value, after, spins), {};
    case "half": return half(value, memory);
    case "last": {
      const index = append(value);
      self.terminate();
      return { index };
    }
    case "read": return await read(from);
    default: throw new Error(`no operation ${operation}`);
  }
}

export default {
  connect: (event) => answer(event, perform),
  alarm({ isRetry, scheduledTime }) {
    if (!isRetry && pending.some(({ spins }) => spins)) half(pending[0].value);
    fired.push([scheduledTime, isRetry]);
    if (LIE === "alarm-twice") fired.push([scheduledTime, isRetry]);
    storage.put("fired", fired);
    for (const { value } of pending) append(value);
    pending = [];
    storage.put("pending", pending);
  },
};
