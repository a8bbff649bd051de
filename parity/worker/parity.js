// What every application of the suite is made of. The runner puts this folder's files into its `src` as `parity/`.

import { transcribe } from "./transcript.js";

/** Gives a case, or a step of one, more or less time than the 15 s that others have. */
export function within(seconds, run) {
  return Object.assign(run, { seconds });
}

/**
 * Cases that run in an object instead of the Worker, each in one of its own: `run({ object, ctx, storage, env }, t)`.
 * The class of `binding` passes its requests to `perform`. An array is a case of several steps.
 */
export function inside(binding, cases, prefix = "") {
  const asked = (name, step) => async (env, _ctx, t) => {
    const url = `http://object/?${new URLSearchParams({ name, step })}`;
    const namespace = env[binding];
    const response = await namespace.get(namespace.idFromName(prefix + name)).fetch(url);
    t.append(await response.json());
  };
  const ask = (name, step, run) => within(run.seconds, asked(name, step));
  return Object.fromEntries(
    Object.entries(cases).map(([name, run]) => {
      const steps = Array.isArray(run) ? run.map((each, step) => ask(name, step, each)) : ask(name, 0, run);
      return [prefix + name, steps];
    }),
  );
}

/** Runs the case that a request from `inside` asks for in `object`, and answers with its lines. */
export async function perform(cases, object, request) {
  const query = new URL(request.url).searchParams;
  const name = query.get("name");
  const run = [cases[name]].flat()[Number(query.get("step"))];
  const { ctx, env } = object;
  return Response.json(await transcribe(name, (t) => run({ object, ctx, storage: ctx.storage, env }, t)));
}

/**
 * The handler that runs cases, `run(env, ctx, t)`: `/cases` lists them, `/case/NAME?step=N` runs one and answers with its
 * transcript, a JSON string on each line. `stopped` and `killed` are cases of several steps: between them the server
 * gets a SIGTERM, or a SIGKILL, and starts anew. All else goes to `fetch`.
 */
export function serve(cases, { stopped = {}, killed = {}, fetch } = {}) {
  const all = { ...cases, ...stopped, ...killed };
  return {
    async fetch(request, env, ctx) {
      const { pathname, searchParams } = new URL(request.url);
      if (pathname === "/cases")
        return Response.json({ cases: plan(cases), stopped: plan(stopped), killed: plan(killed) });
      if (!pathname.startsWith("/case/")) return fetch ? fetch(request, env, ctx) : new Response("ready");
      const name = decodeURIComponent(pathname.slice("/case/".length));
      const run = [all[name]].flat()[Number(searchParams.get("step") ?? 0)];
      if (!run) return new Response(`there is no case ${name}\n`, { status: 404 });
      const lines = await transcribe(name, (t) => run(env, ctx, t));
      return new Response(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    },
  };
}

/** For each case, the seconds that each of its steps may take, null for the usual ones. */
function plan(cases) {
  return Object.fromEntries(
    Object.entries(cases).map(([name, run]) => [name, [run].flat().map(({ seconds = null }) => seconds)]),
  );
}
