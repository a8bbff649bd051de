// The ends of sockets of which an object has both ends.

import { next, pair } from "./pairs.js";

const arguments_ = {
  nothing: [],
  undefined: [undefined],
  1000: [1000],
  "1000 and a reason": [1000, "reason"],
  999: [999],
  1001: [1001],
  1002: [1002],
  1003: [1003],
  1004: [1004],
  1005: [1005],
  1006: [1006],
  1007: [1007],
  1011: [1011],
  1012: [1012],
  1015: [1015],
  1016: [1016],
  2999: [2999],
  3000: [3000],
  4999: [4999],
  5000: [5000],
  0: [0],
  "-1": [-1],
  65536: [65536],
  "a fraction": [3000.5],
  "text that is a code": ["3000"],
  "text that is none": ["code"],
  null: [null],
  "a reason without a code": [undefined, "reason"],
  "a reason of 123 bytes": [3000, "x".repeat(123)],
  "a reason of 124 bytes": [3000, "x".repeat(124)],
  "a reason of 123 bytes in fewer characters": [3000, "é".repeat(61)],
  "a reason of 124 bytes in fewer characters": [3000, "é".repeat(62)],
};

export const closing = {
  "closing: readyState": async (_, t) => {
    const [left, right] = pair();
    t.log("before", left.readyState, right.readyState);
    const closed = next(right, "close");
    left.close(1000);
    t.log("after close()", left.readyState, right.readyState);
    await closed;
    t.log("in its event", left.readyState, right.readyState);
    await scheduler.wait(300);
    t.log("later", left.readyState, right.readyState);
  },
  "closing: both get an event": async (_, t) => {
    const [left, right] = pair();
    const events = [];
    for (const [name, socket] of [
      ["left", left],
      ["right", right],
    ]) {
      socket.addEventListener("close", ({ code, reason, wasClean }) => events.push([name, code, reason, wasClean]));
    }
    left.close(4000, "why");
    await scheduler.wait(300);
    right.close(4001, "answer");
    await scheduler.wait(300);
    t.log("events", events.sort());
  },
  "closing: without an answer": async (_, t) => {
    const [left, right] = pair();
    const events = [];
    left.addEventListener("close", ({ code }) => events.push(["left", code]));
    right.addEventListener("close", ({ code }) => events.push(["right", code]));
    left.close(4000, "why");
    await scheduler.wait(300);
    t.log("events", events, left.readyState, right.readyState);
  },
  "closing: with allowHalfOpen": async (_, t) => {
    const [left, right] = Object.values(new WebSocketPair());
    left.accept({ allowHalfOpen: true });
    right.accept({ allowHalfOpen: true });
    const events = [];
    left.addEventListener("close", ({ code }) => events.push(["left", code]));
    right.addEventListener("close", ({ code }) => events.push(["right", code]));
    left.addEventListener("message", ({ data }) => events.push(["left", data]));
    left.close(4000, "why");
    await scheduler.wait(300);
    t.log("events", events, left.readyState, right.readyState);
    t.sync("send", () => right.send("after"));
    t.sync("close", () => right.close(4001));
    await scheduler.wait(300);
    t.log("events", events, left.readyState, right.readyState);
  },
  "closing: twice": (_, t) => {
    const [left] = pair();
    t.sync("first", () => left.close(4000));
    t.sync("second", () => left.close(4001));
  },
  "closing: send after it": (_, t) => {
    const [left] = pair();
    left.close();
    t.sync("send", () => left.send("a"));
  },
  "closing: send after the other's": async (_, t) => {
    const [left, right] = pair();
    const closed = next(right, "close");
    left.close(4000);
    await closed;
    t.sync("send", () => right.send("a"));
    t.sync("close", () => right.close(4001));
  },
  "closing: messages before it arrive": async (_, t) => {
    const [left, right] = pair();
    const seen = [];
    right.addEventListener("message", ({ data }) => seen.push(data));
    const closed = next(right, "close");
    for (const n of [1, 2, 3]) left.send(String(n));
    left.close(4000);
    await closed;
    t.log("seen", seen);
  },
};

for (const [name, args] of Object.entries(arguments_)) {
  closing[`closing: with ${name}`] = async (_, t) => {
    const [left, right] = pair();
    const closed = next(right, "close");
    if ((await t.try("close", () => left.close(...args) ?? "closed")) !== "closed")
      return t.log("state", left.readyState);
    const { code, reason, wasClean } = await closed;
    t.log("event", code, reason, wasClean);
  };
}
