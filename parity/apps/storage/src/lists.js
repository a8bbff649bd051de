// list, with each of its options.

const KEYS = ["a", "b", "ba", "bb", "c", "d"];

const options = {
  nothing: {},
  start: { start: "b" },
  "start that is not a key": { start: "aa" },
  "start that is beyond all": { start: "z" },
  startAfter: { startAfter: "b" },
  "startAfter that is not a key": { startAfter: "aa" },
  "start and startAfter": { start: "a", startAfter: "b" },
  end: { end: "c" },
  "end that is not a key": { end: "bbb" },
  "the empty end": { end: "" },
  "start and end": { start: "b", end: "d" },
  "start at end": { start: "b", end: "b" },
  "start after end": { start: "d", end: "b" },
  "startAfter at end": { startAfter: "b", end: "b" },
  prefix: { prefix: "b" },
  "prefix that is a key's whole": { prefix: "bb" },
  "prefix that is nowhere": { prefix: "x" },
  "the empty prefix": { prefix: "" },
  "prefix and start within": { prefix: "b", start: "bb" },
  "prefix and start before": { prefix: "b", start: "a" },
  "prefix and start after": { prefix: "b", start: "c" },
  "prefix and startAfter": { prefix: "b", startAfter: "b" },
  "prefix and end": { prefix: "b", end: "bb" },
  reverse: { reverse: true },
  "reverse false": { reverse: false },
  "reverse and start": { reverse: true, start: "b" },
  "reverse and startAfter": { reverse: true, startAfter: "b" },
  "reverse and end": { reverse: true, end: "c" },
  "reverse and prefix": { reverse: true, prefix: "b" },
  "reverse, start and limit": { reverse: true, start: "b", limit: 2 },
  limit: { limit: 2 },
  "limit beyond all": { limit: 1000 },
  "limit 0": { limit: 0 },
  "limit -1": { limit: -1 },
  "limit NaN": { limit: NaN },
  "limit 1.5": { limit: 1.5 },
  "limit that is text": { limit: "2" },
  "limit undefined": { limit: undefined },
  "limit null": { limit: null },
  "start null": { start: null },
  "start that is a number": { start: 1 },
  "allowConcurrency and noCache": { allowConcurrency: true, noCache: true },
  "all of them": { startAfter: "a", end: "c", prefix: "b", reverse: true, limit: 2 },
  "an option that does not exist": { first: "a" },
  "null as options": null,
  "text as options": "b",
};

export const lists = {
  "list without arguments": async ({ storage }, t) => {
    await storage.put({ b: 2, a: 1 });
    await t.try("list", () => storage.list());
  },
  "list of nothing": ({ storage }, t) => t.try("list", () => storage.list()),
  "list is in the order of UTF-8 bytes": async ({ storage }, t) => {
    for (const key of ["\u{1F600}", "\uFFFD", "é", "z", "aa", "a", "B", ""]) storage.put(key, 1);
    t.log("keys", [...(await storage.list()).keys()]);
    t.log("reverse", [...(await storage.list({ reverse: true })).keys()]);
  },
  "list by a prefix that ends in the last character": async ({ storage }, t) => {
    for (const key of ["\u{10FFFF}", "\u{10FFFF}a", "\uFFFF", "\uFFFFb"]) storage.put(key, 1);
    t.log("U+10FFFF", (await storage.list({ prefix: "\u{10FFFF}" })).size);
    t.log("U+FFFF", (await storage.list({ prefix: "\uFFFF" })).size);
  },
  "list sees puts and deletes that were not awaited": async ({ storage }, t) => {
    await storage.put({ a: 1, b: 2 });
    storage.put("c", 3);
    storage.delete("a");
    t.log("list", await storage.list());
  },
  "list is of its moment": async ({ storage }, t) => {
    await storage.put({ a: 1, b: 2 });
    const listed = storage.list();
    storage.put("c", 3);
    t.log("list", await listed);
  },
  "list of 1000 keys": async ({ storage }, t) => {
    for (let n = 0; n < 1000; n++) storage.put(`key ${n}`, n);
    const keys = [...(await storage.list()).keys()];
    t.log("count", keys.length);
    t.log("ends", keys.slice(0, 3), keys.slice(-3));
    t.log("limit", [...(await storage.list({ start: "key 5", limit: 3 })).keys()]);
  },
  "list by pages": async ({ storage }, t) => {
    await storage.put(Object.fromEntries(KEYS.map((key) => [key, key])));
    const pages = [];
    for (let after; ;) {
      const page = [...(await storage.list({ startAfter: after, limit: 4 })).keys()];
      if (page.length === 0) break;
      pages.push(page);
      after = page.at(-1);
    }
    t.log("pages", pages);
  },
  "prefix is not a pattern": async ({ storage }, t) => {
    await storage.put({ "a%": 1, a_: 2, ab: 3, "a*": 4 });
    for (const prefix of ["a%", "a_", "a*"]) t.log(prefix, await storage.list({ prefix }));
  },
};

for (const [name, option] of Object.entries(options)) {
  lists[`list with ${name}`] = async ({ storage }, t) => {
    await storage.put(Object.fromEntries(KEYS.map((key) => [key, key])));
    await t.try("list", async () => [...(await storage.list(option)).keys()]);
  };
}
