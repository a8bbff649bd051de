// One group's cases on one server.

import { access } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { transcribe } from "../worker/transcript.js";
import { request } from "./client.mjs";
import { Server, within } from "./server.mjs";

const CASES = fileURLToPath(new URL("../cases", import.meta.url));
/** How long a step of a case may take unless it says otherwise. */
const STEP_SECONDS = 15;
/** How many cases of a group run at a time. */
const AT_A_TIME = 24;
/** What a case may take unless `--slow` asks for those that take longer, too. */
const SLOW_SECONDS = 60;

/**
 * Runs the cases of a group that `wanted` picks by their full names, GROUP/NAME. Returns their transcripts, lists of lines
 * by full name, and what else went wrong.
 */
export async function runGroup(group, wanted, kind, options) {
  const server = await Server.create(kind, { ...options, group });
  const transcripts = new Map();
  const troubles = [];
  try {
    await server.start();
    const plan = await planOf(server, group, wanted, options.slow);
    await runSteps(plan.cases, 0, transcripts);
    for (const [manner, signal] of [
      ["stopped", "SIGTERM"],
      ["killed", "SIGKILL"],
    ]) {
      const steps = Math.max(0, ...plan[manner].map((each) => each.steps.length));
      for (let step = 0; step < steps; step++) {
        if (step > 0) await server.restart(signal);
        await runSteps(plan[manner], step, transcripts);
      }
    }
    if (!server.alive) troubles.push(`${kind} ended by itself in ${group}:\n${await server.lastWords()}`);
  } catch (error) {
    troubles.push(`${group} on ${kind}: ${error.message}`);
  } finally {
    await server.stop("SIGKILL");
  }
  return { transcripts, troubles };
}

/** All cases of the group: those of its application, and those that drive it from outside. */
async function planOf(server, group, wanted, slow) {
  const { status, body } = await server.fetch("/cases");
  if (status !== 200) throw new Error(`/cases is answered with ${status}: ${body}`);
  const listed = JSON.parse(body);
  const file = path.join(CASES, `${group}.mjs`);
  const outside = await access(file).then(
    () => import(pathToFileURL(file)),
    () => ({}),
  );
  const plan = {};
  for (const manner of ["cases", "stopped", "killed"]) {
    const inside = Object.entries(listed[manner]).map(([name, steps]) => ({
      name,
      steps: steps.map((seconds, step) => ({ seconds, run: (t, signal) => runInside(server, name, step, t, signal) })),
    }));
    const driven = Object.entries(outside[manner] ?? {}).map(([name, run]) => ({
      name,
      steps: [run].flat().map((each) => ({ seconds: each.seconds, run: (t) => each(server, t) })),
    }));
    const all = [...inside, ...driven].map((each) => ({ ...each, full: `${group}/${each.name}` }));
    const quick = ({ steps }) => steps.every(({ seconds }) => !(seconds > SLOW_SECONDS));
    plan[manner] = all.filter((each) => wanted(each.full) && (slow || quick(each)));
  }
  return plan;
}

async function runInside(server, name, step, t, signal) {
  const url = `${server.url}/case/${encodeURIComponent(name)}?step=${step}`;
  const { status, body } = await request(url, { signal });
  if (status !== 200) return t.log("the answer", status, body);
  t.append(
    body
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
  );
}

/** Runs the step `step` of each case that has it, several cases at a time, those with most time first. */
async function runSteps(cases, step, transcripts) {
  const queue = cases.filter(({ steps }) => step < steps.length);
  queue.sort((a, b) => (b.steps[step].seconds ?? 0) - (a.steps[step].seconds ?? 0));
  const work = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const lines = await runStep(next, step);
      transcripts.set(next.full, [...(transcripts.get(next.full) ?? []), ...lines]);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
}

async function runStep({ name, steps }, step) {
  const { seconds, run } = steps[step];
  const limit = (seconds ?? STEP_SECONDS) * 1000;
  const abort = new AbortController();
  // In `transcribe`, so that what was written until then is in the transcript.
  const lines = await transcribe(name, (t) => within(limit, run(t, abort.signal)).finally(() => abort.abort()));
  return steps.length > 1 ? [`step ${step + 1}`, ...lines] : lines;
}
