// What the Worker sees of such objects.

/** Its constructor takes nothing and keeps nothing. */
export class Strange {
  fetch() {
    return new Response("strange");
  }
}

const get = async (stub, path = "/") => (await stub.fetch(`http://object${path}`)).json();

export const cases = {
  fetch: async (env, _ctx, t) => {
    const stub = env.BARE.getByName(t.name);
    t.log("first", await get(stub));
    t.log("second", await get(stub));
  },
  "fetch of a class without SQLite": async (env, _ctx, t) => t.log("answer", await get(env.BARE_KV.getByName(t.name))),
  "fetch of a class without a constructor": async (env, _ctx, t) => {
    t.log("answer", await (await env.STRANGE.getByName(t.name).fetch("http://object/")).text());
  },
  "fetch that throws": (env, _ctx, t) => t.try("fetch", () => env.BARE.getByName(t.name).fetch("http://object/throw")),
  "fetch that aborts": async (env, _ctx, t) => {
    const stub = env.BARE.getByName(t.name);
    await t.try("fetch", () => stub.fetch("http://object/abort"));
    await t.try("again", () => get(stub));
    await t.try("a new stub", () => get(env.BARE.getByName(t.name)));
  },
  "a method": (env, _ctx, t) => t.try("call", () => env.BARE.getByName(t.name).method()),
  "a method of a class without SQLite": (env, _ctx, t) => t.try("call", () => env.BARE_KV.getByName(t.name).method()),
  "a getter": (env, _ctx, t) => t.try("read", () => env.BARE.getByName(t.name).getter),
  "a method that is not there": (env, _ctx, t) => t.try("call", () => env.BARE.getByName(t.name).nowhere()),
  "alarm as a method": (env, _ctx, t) => t.try("call", () => env.BARE.getByName(t.name).alarm()),
  "after a refused call": async (env, _ctx, t) => {
    const stub = env.BARE.getByName(t.name);
    t.log("before", await get(stub));
    await stub.method().catch(() => {});
    t.log("after", await get(stub));
  },
  "a socket": async (env, _ctx, t) => {
    const response = await env.BARE.getByName(t.name).fetch("http://object/socket", {
      headers: { upgrade: "websocket" },
    });
    const socket = response.webSocket;
    const message = new Promise((resolve) => socket.addEventListener("message", resolve));
    const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
    socket.accept();
    socket.send("hello");
    t.log("message", (await message).data);
    socket.close(4000, "why");
    const { code, reason } = await closed;
    t.log("close", code, reason);
  },
  "a class that extends DurableObject beside it": (env, _ctx, t) =>
    t.try("call", () => env.MODERN.getByName(t.name).method()),
  "the Worker itself is a class": (_env, ctx, t) => t.log("exports", Object.keys(ctx.exports).sort()),
};
