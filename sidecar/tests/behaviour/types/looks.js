// Ways to look at what there is.

const properties = (value) => Object.getOwnPropertyNames(value).filter((name) => name !== "constructor");

/** The properties of an object and of its prototypes, but for those that every object has. */
export function members(value) {
  const names = new Set();
  for (let at = value; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    properties(at).forEach((name) => names.add(name));
  }
  return [...names].sort();
}

/** The properties of a class itself. */
export function statics(value) {
  return Object.getOwnPropertyNames(value).filter((name) => !["length", "name", "prototype"].includes(name)).sort();
}

/** An object that adds to `names` what is looked at of it. */
export function watched(target, names) {
  const look = (name) => typeof name === "string" && names.add(name);
  return new Proxy(target, {
    get(target, name) {
      look(name);
      return target[name];
    },
    has(target, name) {
      look(name);
      return name in target;
    },
  });
}

/** What `use` looks at of an object of options. */
export async function options(use) {
  const names = new Set();
  await use(watched({}, names));
  return [...names].sort();
}

/** The types of the events that an object has handlers for. */
export function events(value) {
  return members(value).filter((name) => name.startsWith("on")).map((name) => name.slice(2));
}

/** Every global name, with what its value has. */
export function globals() {
  const all = {};
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    const value = globalThis[name];
    if (typeof value === "function" && /^[A-Z]/.test(name)) {
      all[name] = { kind: "interface", statics: statics(value), members: properties(value.prototype ?? {}).sort() };
    } else if (typeof value === "object" && value !== null && value !== globalThis) {
      all[name] = { kind: "object", statics: [], members: members(value) };
    } else {
      all[name] = { kind: "value", statics: [], members: [] };
    }
  }
  return all;
}
