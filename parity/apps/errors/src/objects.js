// Objects that fail as they are asked to.

import { DurableObject } from "cloudflare:workers";

class Special extends Error {
  constructor(message) {
    super(message);
    this.name = "Special";
    this.own = { deep: [1] };
  }
}

/** What can be thrown. */
export const thrown = {
  "an Error": () => new Error("plain"),
  "an Error without a message": () => new Error(),
  "a TypeError": () => new TypeError("type"),
  "a RangeError": () => new RangeError("range"),
  "a SyntaxError": () => new SyntaxError("syntax"),
  "a ReferenceError": () => new ReferenceError("reference"),
  "a URIError": () => new URIError("uri"),
  "an EvalError": () => new EvalError("eval"),
  "an AggregateError": () => new AggregateError([new Error("inner")], "all"),
  "a DOMException": () => new DOMException("gone", "AbortError"),
  "an Error with properties": () =>
    Object.assign(new Error("with"), { code: "E_CODE", status: 418, nested: { a: [1] } }),
  "an Error with forged fate": () =>
    Object.assign(new Error("forged"), { retryable: true, overloaded: true, remote: "mine" }),
  "an Error with a forged reset": () => Object.assign(new Error("forged"), { durableObjectReset: true }),
  "an Error with a function as a property": () => Object.assign(new Error("with"), { f() {} }),
  "an Error with a cause": () => new Error("outer", { cause: new TypeError("inner") }),
  "an Error with a cause that is no error": () => new Error("outer", { cause: { why: 1 } }),
  "an Error of a class": () => new Special("special"),
  "an Error with a name": () => Object.assign(new Error("named"), { name: "Other" }),
  "an Error with an empty name": () => Object.assign(new Error("nameless"), { name: "" }),
  "an Error with a colon": () => new Error("TypeError: not one"),
  "an Error of many lines": () => new Error("first\nsecond"),
  "an Error of 10 000 characters": () => new Error("x".repeat(10_000)),
  text: () => "only text",
  "a number": () => 7,
  null: () => null,
  undefined: () => undefined,
  "an object": () => ({ a: 1 }),
  "an object with a message": () => ({ name: "Fake", message: "fake" }),
  "a symbol": () => Symbol("s"),
  "a function": () => () => {},
  "a Response": () => new Response("thrown", { status: 404 }),
};

export class Thrower extends DurableObject {
  #calls = 0;

  /** Which call this is, for this instance. */
  calls() {
    return ++this.#calls;
  }

  throw(what) {
    this.#calls += 1;
    throw thrown[what]();
  }

  async reject(what) {
    await scheduler.wait(1);
    throw thrown[what]();
  }

  returnError() {
    return Object.assign(new TypeError("returned"), { code: 1 });
  }

  get getter() {
    throw new RangeError("getter");
  }

  fetch(request) {
    const { searchParams } = new URL(request.url);
    throw thrown[searchParams.get("what")]();
  }

  notFunction() {
    return this.nowhere.x;
  }

  leaveRejection() {
    Promise.reject(new Error("nobody waits"));
    return "answer";
  }

  leaveLateRejection() {
    setTimeout(() => Promise.reject(new Error("nobody waits")), 5);
    return "answer";
  }

  throwInTimer() {
    setTimeout(() => {
      throw new Error("in a timer");
    }, 5);
    return "answer";
  }

  rejectInWaitUntil() {
    this.ctx.waitUntil(Promise.reject(new Error("waitUntil")));
    return "answer";
  }

  abort(...args) {
    this.ctx.abort(...args);
  }

  abortWithError() {
    this.ctx.abort(Object.assign(new TypeError("an error"), { code: 1 }));
  }

  abortAndCatch() {
    try {
      this.ctx.abort("caught?");
    } catch {
      return "caught";
    }
    return "went on";
  }

  async abortLater(ms) {
    this.ctx.waitUntil(scheduler.wait(ms).then(() => this.ctx.abort("later")));
    return "answer";
  }

  abortInTimer(ms) {
    setTimeout(() => this.ctx.abort("in a timer"), ms);
    return "answer";
  }

  wait(ms) {
    return scheduler.wait(ms).then(() => "waited");
  }

  async putAndWait(ms) {
    await this.ctx.storage.put("begun", true);
    await scheduler.wait(ms);
    await this.ctx.storage.put("ended", true);
    return "waited";
  }

  async stored() {
    return [...(await this.ctx.storage.list()).keys()];
  }

  blockAndThrow() {
    return this.ctx.blockConcurrencyWhile(() => {
      throw Object.assign(new RangeError("in the block"), { code: 2 });
    });
  }

  blockAndThrowText() {
    return this.ctx.blockConcurrencyWhile(async () => {
      throw "text";
    });
  }

  async blockThrowAndCatch() {
    try {
      await this.ctx.blockConcurrencyWhile(() => Promise.reject(new Error("in the block")));
    } catch {
      return "caught";
    }
  }

  blockWithoutAwait() {
    this.ctx.blockConcurrencyWhile(() => Promise.reject(new Error("in the block")));
    return "answer";
  }

  blockWithoutAwaitLater() {
    this.ctx.blockConcurrencyWhile(async () => {
      await scheduler.wait(20);
      throw new Error("in the block");
    });
    return "answer";
  }

  async nestedBlockThrows() {
    return this.ctx.blockConcurrencyWhile(async () => {
      try {
        await this.ctx.blockConcurrencyWhile(() => Promise.reject(new Error("inner")));
      } catch (error) {
        return `caught ${error.message}`;
      }
    });
  }
}

export class ThrowerPlain extends Thrower {}

/** Calls a Thrower, and hands on what it throws. */
export class Caller extends DurableObject {
  call(name, method, ...args) {
    return this.env.THROWER.getByName(name)[method](...args);
  }

  async catch(name, method, ...args) {
    try {
      return await this.env.THROWER.getByName(name)[method](...args);
    } catch ({ name, message, remote, durableObjectReset, retryable, code }) {
      return { name, message, remote, durableObjectReset, retryable, code };
    }
  }
}
