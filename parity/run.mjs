#!/usr/bin/env node
// Runs the same programs on workerd and on Portside, and compares what they see: see README.md.

import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { Expected, diff, glob } from "./lib/compare.mjs";
import { runGroup } from "./lib/group.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.dirname(HERE);
const TARGET = path.resolve(process.env.CARGO_TARGET_DIR || path.join(ROOT, "target"));
/** How many groups run at a time, each on two servers: they wait more than they work. */
const AT_A_TIME = 6;
/** Groups with cases that wait for long. They are the first to run. */
const PATIENT = ["gates", "hibernation", "websockets", "lifecycle", "alarms"];

const USAGE = `usage: node parity/run.mjs [OPTIONS]

  --portside FILE      the portside program; target/debug/portside unless given
  --only GLOB          only cases with such full names, as 'sql/*'; may be given more than once
  --compat DATE        this compatibility date instead of the applications' own
  --left, --right KIND what to compare: workerd or portside; workerd with portside unless given
  --pods N             Portside as so many pods that share the objects, with a Postgres of its own for each group
  --slow               also cases that may take more than a minute
  --bless              add unexpected differences to expected.jsonc, for somebody to write the reasons
  --list               print the transcripts of the left server
`;

async function main() {
  const options = readOptions();
  const state = await mkdtemp(path.join(tmpdir(), "portside-parity-"));
  // Portside's pods may be run by somebody else.
  await chmod(state, 0o711);
  process.on("exit", () => rmSync(state, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
  const groups = (await readdir(path.join(HERE, "apps"))).sort((a, b) => PATIENT.includes(b) - PATIENT.includes(a));
  const { left, right, troubles } = await runGroups(groups, options, state);
  await keep("left", left);
  await keep("right", right);
  if (options.list) left.forEach((lines, name) => console.log([name, ...lines].join("\n    ")));
  const files = ["expected.jsonc", ...(options.pods ? ["expected-pods.jsonc"] : [])];
  const expected = await Expected.read(...files.map((file) => path.join(HERE, file)));
  const failed = await report(left, right, expected, troubles, options.bless);
  // Not when nothing is left to do: a server's own children may hold its output open.
  process.exit(failed ? 1 : 0);
}

function readOptions() {
  const text = { type: "string" };
  const flag = { type: "boolean", default: false };
  try {
    const { values } = parseArgs({
      options: {
        portside: { ...text, default: path.join(TARGET, "debug", "portside") },
        only: { ...text, multiple: true, default: ["*"] },
        compat: text,
        left: { ...text, default: "workerd" },
        right: { ...text, default: "portside" },
        pods: text,
        slow: flag,
        bless: flag,
        list: flag,
        help: flag,
      },
    });
    if (values.help) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    for (const kind of [values.left, values.right]) {
      if (!["workerd", "portside"].includes(kind))
        throw new Error(`there is no server ${kind}: choose workerd or portside`);
    }
    values.portside = path.resolve(values.portside);
    return values;
  } catch (error) {
    process.stderr.write(`error: ${error.message}\n${USAGE}`);
    process.exit(2);
  }
}

async function runGroups(groups, { left, right, portside, pods, only, compat, slow }, state) {
  const globs = only.map(glob);
  const wanted = (name) => globs.some((fits) => fits(name));
  const found = { left: new Map(), right: new Map(), troubles: [] };
  const queue = groups.filter((group) => only.some((pattern) => mayBeIn(pattern, group)));
  const runSide = async (side, kind, group) => {
    const options = { portside, pods, compat, slow, folder: path.join(state, side, group) };
    const { transcripts, troubles } = await runGroup(group, wanted, kind, options);
    transcripts.forEach((lines, name) => found[side].set(name, lines));
    found.troubles.push(...troubles);
  };
  const work = async () => {
    for (let group = queue.shift(); group; group = queue.shift()) {
      await Promise.all([runSide("left", left, group), runSide("right", right, group)]);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  return found;
}

/** Whether a glob may fit a case of a group, so that groups that nobody asked for are not started. */
function mayBeIn(pattern, group) {
  const [first, ...rest] = pattern.split("/");
  return rest.length === 0 ? pattern.includes("*") : glob(first)(group);
}

/** Writes the transcripts to target/parity, for whoever wants to read them whole. */
async function keep(side, transcripts) {
  const folder = path.join(TARGET, "parity");
  await mkdir(folder, { recursive: true });
  const names = [...transcripts.keys()].sort();
  const lines = names.map((name) => `${JSON.stringify({ case: name, lines: transcripts.get(name) })}\n`);
  await writeFile(path.join(folder, `${side}.jsonl`), lines.join(""));
}

/** Prints what differs, and how many do; returns whether anything is not as it should be. */
async function report(left, right, expected, troubles, bless) {
  const names = [...new Set([...left.keys(), ...right.keys()])].sort();
  const unexpected = [];
  let same = 0;
  for (const name of names) {
    if (!left.has(name) || !right.has(name)) {
      unexpected.push(name); // a trouble says why
      continue;
    }
    const lines = diff(left.get(name), right.get(name));
    if (lines.length === 0) {
      same += 1;
      expected.same(name);
    } else if (!expected.covers(name)) {
      unexpected.push(name);
      console.log([`${name}:`, ...lines].join("\n    "));
    }
  }
  troubles.forEach((trouble) => console.log(`error: ${trouble}`));
  const gone = expected.gone();
  gone.forEach((pattern) =>
    console.log(`${pattern}: documented as different, but there is no difference any more`),
  );
  if (bless) await expected.bless(unexpected);
  const documented = names.length - same - unexpected.length;
  console.log(
    `${names.length} cases, ${same} the same, ${documented} differ as documented, ${unexpected.length} unexpected`,
  );
  return unexpected.length + troubles.length + gone.length > 0 || names.length === 0;
}

await main();
