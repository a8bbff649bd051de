// One database. Like Redis it runs one command at a time, so each of them is atomic.

import { matches } from "./glob.js";

// Keys of the database carry a prefix, so that "" is a key as good as any.
const PREFIX = "k:";

// Name -> [fewest arguments, most arguments, implementation].
const COMMANDS = {
  PING: [0, 1, (message = "PONG") => message],
  GET: [1, 1, async (key) => (await storage.get(PREFIX + key)) ?? null],
  SET: [2, 3, set],
  DEL: [1, Infinity, (...keys) => storage.delete(unique(keys))],
  EXISTS: [1, Infinity, async (...keys) => (await storage.get(unique(keys))).size],
  INCR: [1, 1, (key) => add(key, 1)],
  DECR: [1, 1, (key) => add(key, -1)],
  INCRBY: [2, 2, (key, amount) => add(key, integer(amount))],
  KEYS: [1, 1, keys],
  FLUSHALL: [0, 0, flush],
};

async function set(key, value, option) {
  if (option !== undefined && option.toUpperCase() !== "NX") {
    throw new CommandError("the only option of SET is NX");
  }
  if (option !== undefined && (await storage.get(PREFIX + key)) !== undefined) return null;
  await storage.put(PREFIX + key, value);
  return "OK";
}

async function add(key, amount) {
  const sum = integer((await storage.get(PREFIX + key)) ?? "0") + amount;
  if (!Number.isSafeInteger(sum)) throw new CommandError("the result is out of range");
  await storage.put(PREFIX + key, String(sum));
  return sum;
}

async function keys(pattern) {
  // What stands before the first wildcard bounds the range to read.
  const prefix = PREFIX + pattern.split(/[*?]/, 1)[0];
  const found = await storage.list({ prefix });
  return Array.from(found.keys(), (key) => key.slice(PREFIX.length)).filter((key) => matches(pattern, key));
}

async function flush() {
  await storage.deleteAll();
  return "OK";
}

function unique(keys) {
  return Array.from(new Set(keys), (key) => PREFIX + key);
}

function integer(text) {
  const number = Number(text);
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(number)) {
    throw new CommandError("the value is not an integer or out of range");
  }
  return number;
}

class CommandError extends Error {}

async function execute([name, ...args]) {
  const upper = name.toUpperCase();
  if (!Object.hasOwn(COMMANDS, upper)) throw new CommandError(`unknown command ${name}`);
  const [fewest, most, run] = COMMANDS[upper];
  if (args.length < fewest || args.length > most) {
    throw new CommandError(`wrong number of arguments for ${upper}`);
  }
  return run(...args);
}

// The end of the queue: each command starts when the one before it has ended, whichever port it came from.
let last = Promise.resolve();

async function answer(port, { id, command }) {
  try {
    port.postMessage({ id, result: await execute(command) });
  } catch (error) {
    // Storage refuses keys and values that are too large with a RangeError the client should read too.
    const theirs = error instanceof CommandError || error instanceof RangeError;
    if (!theirs) console.error(`${command[0]} failed:`, error);
    port.postMessage({ id, error: theirs ? error.message : "internal error" });
  }
}

export default {
  connect(event) {
    const [port] = event.ports;
    port.onmessage = ({ data }) => {
      last = last.then(() => answer(port, data));
      waitUntil(last);
    };
  },
};
