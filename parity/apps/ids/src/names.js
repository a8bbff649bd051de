// Names of objects, and what an object knows of its own.

const some = {
  "an empty name": "",
  "a name with spaces": " a  b ",
  "a name with slashes": "a/b/../c",
  "a name with NUL": "a\0b",
  "a name with an emoji": "\u{1F600}",
  "a name in another normal form": "e\u0301",
  "a name of 2000 characters": "n".repeat(2000),
  "a name of 10 000 characters": "n".repeat(10_000),
  "a lone surrogate": "\uD800",
  "a number": 7,
  true: true,
  null: null,
  undefined,
  "an object": { toString: () => "object as name" },
};

export const names = {
  "name: in the object": async (env, _ctx, t) => {
    const { id, name, atFirst } = await env.LAB.getByName(t.name).self();
    t.log("self", { id, name, atFirst });
    t.log("same", id === String(env.LAB.idFromName(t.name)));
  },
  "name: in the object by idFromString": async (env, _ctx, t) => {
    const id = env.LAB.idFromString(String(env.LAB.idFromName(t.name)));
    t.log("self", await env.LAB.get(id).self());
  },
  "name: in the object by idFromString after one by name": async (env, _ctx, t) => {
    await env.LAB.getByName(t.name).self();
    const id = env.LAB.idFromString(String(env.LAB.idFromName(t.name)));
    t.log("self", await env.LAB.get(id).self());
  },
  "name: in the object by name after one by idFromString": async (env, _ctx, t) => {
    await env.LAB.get(env.LAB.idFromString(String(env.LAB.idFromName(t.name)))).self();
    t.log("self", await env.LAB.getByName(t.name).self());
  },
  "name: in an object without": async (env, _ctx, t) => t.log("self", await env.LAB.get(env.LAB.newUniqueId()).self()),
  "name: in an object without SQLite": async (env, _ctx, t) => t.log("self", await env.PLAIN.getByName(t.name).self()),
  "name: id of the object equals": async (env, _ctx, t) => {
    t.log("by name", await env.LAB.getByName(t.name).compare());
    t.log("unique", await env.LAB.get(env.LAB.newUniqueId()).compare());
  },
  "name: an object has the members that are documented": async (env, _ctx, t) =>
    t.log("members", await env.LAB.getByName(t.name).members()),
  "name: two ways to one object": async (env, _ctx, t) => {
    const [first, second] = [env.LAB.getByName(t.name), env.LAB.get(env.LAB.idFromName(t.name))];
    t.log(
      "counts",
      await first.count(),
      await second.count(),
      await env.LAB.get(env.LAB.idFromString(String(first.id))).count(),
    );
  },
  "name: the same in two namespaces is two objects": async (env, _ctx, t) => {
    t.log("counts", await env.LAB.getByName(t.name).count(), await env.OTHER.getByName(t.name).count());
  },
};

for (const [what, name] of Object.entries(some)) {
  names[`name: ${what}`] = async (env, _ctx, t) => {
    t.sync("idFromName", () => env.LAB.idFromName(name).name?.slice(0, 20));
    await t.try("in the object", async () => {
      const self = await env.LAB.getByName(name).self();
      return [self.name?.slice(0, 20), self.name?.length];
    });
  };
}
