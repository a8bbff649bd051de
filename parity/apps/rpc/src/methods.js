// Which properties of an object can be called or read.

import { inside } from "./parity/parity.js";
import { Lab } from "./target.js";

const called = [
  "inherited",
  "overridden",
  "secret",
  "thisIs",
  "nothing",
  "async_",
  "thenable",
  "promiseInside",
  "withDefault",
  "added",
  "generator",
  "_underscore",
  "$dollar",
  "name with spaces",
  "toString",
  "toJSON",
  "then",
  "dup",
  "alarm",
  "webSocketMessage",
  "webSocketClose",
  "nowhere",
  "getter",
  "objectGetter",
  "setter",
  "value",
  "field",
  "arrow",
  "assigned",
  "defined",
  "ctx",
  "env",
  "constructor",
  "fixed",
  "__proto__",
  "hasOwnProperty",
  "valueOf",
  "isPrototypeOf",
  "__defineGetter__",
  "connect",
  "",
];

const read = ["getter", "promised", "objectGetter", "value", "field", "assigned", "defined", "ctx", "env", "nowhere"];

export const methods = inside("LAB", Lab.cases);

for (const name of called) {
  methods[`method: ${name || "of no name"}`] = async (env, _ctx, t) => {
    await t.try("call", () => env.TARGET.getByName(t.name)[name]());
  };
}

for (const name of read) {
  methods[`property: ${name}`] = async (env, _ctx, t) => {
    const property = env.TARGET.getByName(t.name)[name];
    t.log("typeof", typeof property);
    await t.try("awaited", () => property);
  };
}

Object.assign(methods, {
  "method: by symbol": (env, _ctx, t) => t.try("call", () => env.TARGET.getByName(t.name)[Symbol.for("symbol")]()),
  "method: a call returns a promise at once": async (env, _ctx, t) => {
    const call = env.TARGET.getByName(t.name).echo(1);
    t.log("then", typeof call.then, typeof call.catch, typeof call.finally);
    t.log("instance of Promise", call instanceof Promise);
    t.log("value", await call);
  },
  "method: a call that nobody awaits": async (env, _ctx, t) => {
    const stub = env.TARGET.getByName(t.name);
    stub.nowhere();
    t.log("next", await stub.echo(1));
  },
  "method: catch and finally of a call": async (env, _ctx, t) => {
    const stub = env.TARGET.getByName(t.name);
    const log = [];
    await stub.echo(1).finally(() => log.push("finally"));
    await stub.nowhere().catch(({ message }) => log.push(message));
    t.log("log", log);
  },
  "method: awaited twice": async (env, _ctx, t) => {
    const call = env.TARGET.getByName(t.name).echo({ a: 1 });
    const [first, second] = [await call, await call];
    t.log("values", first, second);
    t.log("same", first === second);
  },
  "method: the result can be disposed of": async (env, _ctx, t) => {
    const stub = env.TARGET.getByName(t.name);
    const object = await stub.echo({ a: 1 });
    t.log("of an object", typeof object[Symbol.dispose], Object.keys(object));
    t.log("of a number", typeof (await stub.echo(1))[Symbol.dispose]);
    t.log("of an array", typeof (await stub.echo([1]))[Symbol.dispose]);
    t.log("of a Map", typeof (await stub.echo(new Map()))[Symbol.dispose]);
  },
  "method: of the handler fetch": async (env, _ctx, t) => {
    await t.try("fetch", async () => (await env.TARGET.getByName(t.name).fetch("http://object/a")).text());
  },
  "method: how many arguments arrive": async (env, _ctx, t) => {
    const stub = env.TARGET.getByName(t.name);
    t.log("none", await stub.count());
    t.log("undefined", await stub.count(undefined));
    t.log("three", await stub.count(1, undefined, 3));
    t.log("default", await stub.withDefault(undefined));
    t.log("hundred", await stub.count(...Array.from({ length: 100 }, (_, n) => n)));
  },
});
