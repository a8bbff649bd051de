// A list that is never kept in memory. Each entry has two keys of its own, written in a transaction that also deletes the mark of
// the entry before. In the order of keys there are more before them than a wake loads: all of it is read from the store.
import { answer, instance } from "./answer.js";

const VERSION = 1;
// What is wrong with this application, for the lab to see whether it notices.
const LIE = "";
// A wake loads 1024 keys, and as many are written at a time as one call takes.
const PADDING = 1100, KEYS_PER_PUT = 100;

const key = (kind, index) => `${kind}/${String(index).padStart(6, "0")}`;

if ((await storage.get("length")) === undefined) {
  for (let from = 0; from < PADDING; from += KEYS_PER_PUT) {
    const keys = Array.from({ length: KEYS_PER_PUT }, (_, n) => [key("0", from + n), 0]);
    storage.put(Object.fromEntries(keys));
  }
  storage.put("length", 0);
}

async function append(value) {
  let index;
  await storage.transaction(async (txn) => {
    index = await txn.get("length");
    const entry = `${value}~${instance}`;
    txn.put(key("entry", index), entry);
    txn.put(key("mark", index), index);
    if (index > 0 && !(LIE === "undeleted" && value % 7 === 3)) txn.delete(key("mark", index - 1));
    txn.put(key("twin", index), entry);
    txn.put("length", index + 1);
  });
  return index;
}

async function read() {
  const all = [...await storage.list({ start: "entry/", end: "u" })];
  const of = (kind) => all.filter(([key]) => key.startsWith(`${kind}/`)).map(([, value]) => value);
  return { first: of("entry"), second: of("twin"), marks: of("mark"), pending: [], sets: [], fired: [] };
}

async function perform({ operation, value }) {
  switch (operation) {
    case "append": return { index: await append(value) };
    case "read": return await read();
    default: throw new Error(`no operation ${operation}`);
  }
}

export default {
  connect: (event) => answer(event, perform),
};
