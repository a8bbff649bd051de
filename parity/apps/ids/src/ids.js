// Ids as values.

const HEX = /^[0-9a-f]{64}$/;

const texts = {
  "an empty text": "",
  "text that is no hex": "x".repeat(64),
  "63 digits": "0".repeat(63),
  "65 digits": "0".repeat(65),
  "64 zeros": "0".repeat(64),
  "64 digits that belong to nobody": "0123456789abcdef".repeat(4),
  "a number": 7,
  undefined,
  null: null,
  "spaces around": ` ${"0".repeat(62)} `,
};

export const ids = {
  "id: as text": (env, _ctx, t) => {
    t.log("unique", HEX.test(env.LAB.newUniqueId().toString()));
    t.log("by name", HEX.test(env.LAB.idFromName(t.name).toString()));
    t.log("template", `${env.LAB.idFromName(t.name)}` === env.LAB.idFromName(t.name).toString());
  },
  "id: every newUniqueId is another": (env, _ctx, t) => {
    const some = new Set(Array.from({ length: 100 }, () => String(env.LAB.newUniqueId())));
    t.log("different", some.size);
  },
  "id: idFromName gives the same for the same name": (env, _ctx, t) => {
    const id = env.LAB.idFromName(t.name);
    t.log("same", id.equals(env.LAB.idFromName(t.name)), String(id) === String(env.LAB.idFromName(t.name)));
    t.log("another name", id.equals(env.LAB.idFromName(`${t.name}!`)));
  },
  "id: of the same name in another namespace": (env, _ctx, t) => {
    const [lab, other] = [env.LAB.idFromName(t.name), env.OTHER.idFromName(t.name)];
    t.log("equal", lab.equals(other), String(lab) === String(other));
  },
  "id: idFromString of a unique id": (env, _ctx, t) => {
    const id = env.LAB.newUniqueId();
    const again = env.LAB.idFromString(String(id));
    t.log("equal", id.equals(again), again.equals(id), String(again) === String(id));
  },
  "id: idFromString of an id by name": (env, _ctx, t) => {
    const id = env.LAB.idFromName(t.name);
    const again = env.LAB.idFromString(String(id));
    t.log("equal", id.equals(again));
    t.log("name", again.name);
  },
  "id: idFromString in upper case": (env, _ctx, t) => {
    const id = env.LAB.idFromName(t.name);
    t.sync("equal", () => env.LAB.idFromString(String(id).toUpperCase()).equals(id));
  },
  "id: idFromString of another namespace's": (env, _ctx, t) => {
    t.sync("by name", () => env.OTHER.idFromString(String(env.LAB.idFromName(t.name))));
    t.sync("unique", () => env.OTHER.idFromString(String(env.LAB.newUniqueId())));
  },
  "id: idFromString with one digit changed": (env, _ctx, t) => {
    const text = String(env.LAB.idFromName(t.name));
    for (const at of [0, 31, 63]) {
      const changed = text.slice(0, at) + (text[at] === "0" ? "1" : "0") + text.slice(at + 1);
      t.sync(`digit ${at}`, () => String(env.LAB.idFromString(changed)) === changed);
    }
  },
  "id: name": (env, _ctx, t) => {
    t.log("by name", env.LAB.idFromName("a name").name);
    t.log("unique", env.LAB.newUniqueId().name);
    t.log("has it", "name" in env.LAB.newUniqueId());
  },
  "id: equals": (env, _ctx, t) => {
    const id = env.LAB.newUniqueId();
    t.sync("itself", () => id.equals(id));
    t.sync("text", () => id.equals(String(id)));
    t.sync("nothing", () => id.equals());
    t.sync("an object", () => id.equals({ toString: () => String(id) }));
  },
  "id: as JSON": (env, _ctx, t) => {
    t.log("by name", JSON.stringify(env.LAB.idFromName("a name")));
    t.log("unique", JSON.stringify(env.LAB.newUniqueId()));
  },
  "id: keys": (env, _ctx, t) => {
    t.log("by name", Object.keys(env.LAB.idFromName("a name")));
    t.log("unique", Object.keys(env.LAB.newUniqueId()));
    t.log("tag", Object.prototype.toString.call(env.LAB.newUniqueId()), env.LAB.newUniqueId().constructor.name);
  },
  "id: cannot be made": (env, _ctx, t) => {
    const { constructor } = env.LAB.newUniqueId();
    t.sync("new", () => new constructor());
  },
  "id: structuredClone": (env, _ctx, t) => t.sync("clone", () => structuredClone(env.LAB.newUniqueId())),
  "id: as an argument of a call": async (env, _ctx, t) => {
    await t.try("call", () => env.LAB.getByName(t.name).echo(env.LAB.newUniqueId()));
  },
  "id: as a result of a call": async (env, _ctx, t) => {
    await t.try("call", () => env.LAB.getByName(t.name).returnId());
  },
  "id: jurisdiction": (env, _ctx, t) => {
    t.sync("newUniqueId", () => env.LAB.newUniqueId({ jurisdiction: "eu" }));
    t.sync("newUniqueId without", () => HEX.test(String(env.LAB.newUniqueId({}))));
    t.sync("newUniqueId with undefined", () => HEX.test(String(env.LAB.newUniqueId({ jurisdiction: undefined }))));
    t.sync("namespace", () => env.LAB.jurisdiction("eu"));
    t.sync("namespace of fedramp", () => env.LAB.jurisdiction("fedramp"));
    t.sync("namespace of nowhere", () => env.LAB.jurisdiction("mars"));
    t.sync("namespace of undefined", () => typeof env.LAB.jurisdiction(undefined));
    t.sync("namespace of null", () => typeof env.LAB.jurisdiction(null));
    t.sync("namespace without an argument", () => typeof env.LAB.jurisdiction());
    t.log("of an id", env.LAB.newUniqueId().jurisdiction);
  },
};

for (const [name, text] of Object.entries(texts)) {
  ids[`id: idFromString of ${name}`] = (env, _ctx, t) => t.sync("id", () => env.LAB.idFromString(text));
}
