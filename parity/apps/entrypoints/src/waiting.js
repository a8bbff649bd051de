// waitUntil of the Worker.

import { waitUntil } from "cloudflare:workers";

const put = (env, t) => env.LAB.getByName(t.name).put("late");

async function later(env, t) {
  await scheduler.wait(300);
  t.log("keys", await env.LAB.getByName(t.name).keys());
}

export const waiting = {
  "waitUntil: returns nothing": (_env, ctx, t) => t.sync("call", () => ctx.waitUntil(Promise.resolve(7))),
  "waitUntil: of what is no promise": (_env, ctx, t) => {
    t.sync("a value", () => ctx.waitUntil(7));
    t.sync("nothing", () => ctx.waitUntil());
  },
  "waitUntil: a rejection": async (_env, ctx, t) => {
    t.sync("call", () => ctx.waitUntil(Promise.reject(new Error("nobody sees it"))));
    await scheduler.wait(10);
    t.log("goes on");
  },
  "waitUntil: in an entrypoint": async (env, ctx, t) => {
    t.log("answer", await ctx.exports.Waits.later(t.name));
    await later(env, t);
  },
  "waitUntil: imported": async (env, _ctx, t) => {
    t.sync("call", () => waitUntil(scheduler.wait(20).then(() => put(env, t))));
    await later(env, t);
  },
};
