// The objects that are called.

import { DurableObject } from "cloudflare:workers";

import { perform } from "./parity/parity.js";
import { inspect } from "./parity/inspect.js";

class Base extends DurableObject {
  inherited() {
    return "from the base class";
  }
  overridden() {
    return "from the base class";
  }
}

export class Target extends Base {
  field = "own field";
  arrow = () => "own function";
  #secret = "private";

  constructor(ctx, env) {
    super(ctx, env);
    this.assigned = 5;
    Object.defineProperty(this, "defined", { get: () => "own getter", enumerable: true });
  }

  echo(value) {
    return value;
  }
  echoAll(...values) {
    return values;
  }
  /** What an argument is over here. */
  describe(...values) {
    return values.map((value) => inspect(value));
  }
  count() {
    return arguments.length;
  }
  withDefault(value = "default") {
    return value;
  }
  async async_() {
    await scheduler.wait(1);
    return "async";
  }
  thenable() {
    return { then: (resolve) => resolve("of a thenable") };
  }
  promiseInside() {
    return { promise: Promise.resolve(1) };
  }
  nothing() {}
  overridden() {
    return `${super.overridden()}, overridden`;
  }
  secret() {
    return this.#secret;
  }
  thisIs() {
    return [this instanceof Target, this.assigned];
  }
  get getter() {
    return "from a getter";
  }
  get promised() {
    return Promise.resolve("promised");
  }
  get objectGetter() {
    return { a: { b: 1 } };
  }
  set setter(value) {
    this.set = value;
  }
  static fixed() {
    return "static";
  }
  async *generator() {
    yield 1;
  }
  _underscore() {
    return "with an underscore";
  }
  $dollar() {
    return "with a dollar";
  }
  "name with spaces"() {
    return "with spaces";
  }
  [Symbol.for("symbol")]() {
    return "by symbol";
  }
  toString() {
    return "my toString";
  }
  toJSON() {
    return "my toJSON";
  }
  then() {
    return "my then";
  }
  dup() {
    return "my dup";
  }
  alarm(info) {
    return `alarm ${info}`;
  }
  webSocketMessage() {
    return "webSocketMessage";
  }
  big(length) {
    return "x".repeat(length);
  }
  mutate(value) {
    value.changed = true;
    return value;
  }
  fetch(request) {
    return new Response(`fetched ${request.url}`);
  }
}

Target.prototype.added = function () {
  return "added to the prototype";
};
Target.prototype.value = "a value on the prototype";

/** Runs cases in an object: calls from one object to another, and to itself. */
const cases = {
  "from an object: another": ({ env }, t) => t.try("call", () => env.TARGET.getByName(t.name).echo({ a: 1 })),
  "from an object: itself": ({ env, ctx }, t) => t.try("call", () => env.LAB.get(ctx.id).hello()),
  "from an object: itself, through another": ({ env }, t) =>
    t.try("call", () => env.LAB.getByName(`${t.name}: other`).callBack(t.name)),
};

export class Lab extends DurableObject {
  static cases = cases;

  fetch(request) {
    return perform(cases, this, request);
  }

  hello() {
    return "hello";
  }

  callBack(name) {
    return this.env.LAB.getByName(name).hello();
  }
}
