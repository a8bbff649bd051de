import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import { inspect } from "../worker/inspect.js";
import { Transcript } from "../worker/transcript.js";
import { Expected, diff, glob } from "./compare.mjs";
import { parseJsonc } from "./wrangler.mjs";

test("globs", () => {
  assert(glob("kv/*")("kv/a/b"));
  assert(glob("*a*b")("xaab"));
  assert(!glob("kv/*")("sql/a"));
  assert(!glob("a.c")("abc"));
});

test("a diff has the lines around differences", () => {
  assert.deepEqual(diff(["a", "b"], ["a", "b"]), []);
  assert.deepEqual(diff(["a", "b", "c", "d", "e"], ["a", "b", "x", "d", "e"]), ["  b", "- c", "+ x", "  d"]);
  assert.deepEqual(diff([], ["a"]), ["+ a"]);
});

test("JSON with comments", () => {
  assert.deepEqual(parseJsonc('{ // "a": 0,\n "a": "//no, }", /* , */ "b": [1, 2, ], }'), { a: "//no, }", b: [1, 2] });
});

test("values that a comparison must tell apart", () => {
  const values = [
    undefined,
    null,
    0,
    -0,
    0n,
    "0",
    NaN,
    [],
    {},
    [undefined],
    [,],
    new Map(),
    new Set(),
    new Date(0),
    new Error("a"),
    new TypeError("a"),
    Object.assign(new Error("a"), { remote: true }),
    Object.assign(new Error("a"), { code: 1 }),
    new Error("a", { cause: 1 }),
    new Uint8Array([1]),
    new Uint8Array([1]).buffer,
    new Int8Array([1]),
    new Number(0),
    Object.create(null),
  ];
  assert.equal(new Set(values.map((value) => inspect(value))).size, values.length);
  const circle = { a: {} };
  circle.a.b = circle;
  assert.equal(inspect(circle), "{a: {b: <circle 2 up>}}");
});

test("ids have names in transcripts", () => {
  const t = new Transcript("case");
  const [first, second] = ["a".repeat(64), "b".repeat(64)];
  t.log("ids", second, first, second);
  assert.deepEqual(t.lines, ['ids: "<id 1>" | "<id 2>" | "<id 1>"']);
});

test("documented differences", async (context) => {
  const folder = await mkdtemp(path.join(tmpdir(), "portside-parity-test-"));
  context.after(() => rm(folder, { recursive: true }));
  const file = path.join(folder, "expected.jsonc");
  await writeFile(file, '// why\n{\n  "a/*": "by design",\n  "b/gone": "was so",\n  "c/new": "",\n}\n');
  const general = path.join(folder, "general.jsonc");
  await writeFile(general, '{ "e/*": "everywhere", "f/*": "now and then: by chance" }');
  const expected = await Expected.read(general, file);
  assert(expected.covers("a/one") && expected.covers("e/one"));
  assert(!expected.covers("c/new"), "without a reason it is not covered");
  assert(!expected.covers("d/other"));
  expected.same("a/two");
  expected.same("b/gone");
  expected.same("f/chance");
  assert.deepEqual(expected.gone(), ["b/gone"]);
  await expected.bless(["c/new", "d/other"]);
  const blessed = parseJsonc(await readFile(file, "utf8"));
  assert.deepEqual(blessed, { "a/*": "by design", "b/gone": "was so", "c/new": "", "d/other": "" });
});
