// What values are after they were stored.

class Point {
  constructor(x) {
    this.x = x;
  }
  get double() {
    return 2 * this.x;
  }
}

const withCircle = { name: "circle" };
withCircle.self = withCircle;
const shared = { n: 1 };

const stored = {
  undefined: [undefined],
  booleans: [true, false],
  numbers: [0, -0, 1.5, -1e300, 2 ** 53, 5e-324],
  "not a number and the infinities": [NaN, Infinity, -Infinity],
  bigints: [0n, -1n, 2n ** 64n, -(2n ** 100n)],
  strings: ["", "ascii", "ünïcödé", "\u{1F600}", "a\0b"],
  "lone surrogates": "\uD800 \uDC00",
  dates: [new Date(0), new Date(8.64e15), new Date(NaN)],
  "regular expressions": Object.assign(/a+/giu, { lastIndex: 3 }),
  "boxed values": [new Number(1), new String("s"), new Boolean(false), Object(1n)],
  arrays: [[], [[1], [2, [3]]]],
  "an array with holes": [1, , 3, ,],
  "an array with properties": Object.assign([1], { extra: 2 }),
  objects: [{}, { a: { b: { c: 1 } } }],
  "an object without a prototype": Object.assign(Object.create(null), { a: 1 }),
  "an object with an undefined property": { a: undefined },
  "an object with a symbol as a key": { [Symbol("s")]: 1, a: 2 },
  "an object with a getter": {
    get a() {
      return 7;
    },
  },
  "an object in the order of its keys": { z: 1, a: 2, 10: 3, 9: 4 },
  "an instance of a class": new Point(3),
  "the same object twice": [shared, shared],
  "a circle": withCircle,
  maps: new Map([
    ["b", 1],
    [{ key: 1 }, new Map([[1, 2]])],
  ]),
  sets: new Set([3, "a", new Set([1])]),
  "an array buffer": new Uint8Array([1, 2, 3]).buffer,
  "typed arrays": [new Uint8Array([1]), new Int16Array([-1]), new Float64Array([1.5]), new BigInt64Array([-1n])],
  "a clamped array": new Uint8ClampedArray([255]),
  "a DataView": new DataView(new ArrayBuffer(3), 1),
  "a typed array that is a part of its buffer": new Uint8Array([1, 2, 3, 4]).subarray(1, 3),
  errors: [new Error("e"), new TypeError("t"), new RangeError("r"), new SyntaxError("s")],
  "an error with a cause": new Error("e", { cause: { why: 1 } }),
  "an error with properties": Object.assign(new Error("e"), { code: "E_CODE", retryable: true }),
  "an error of a class of its own": new (class Special extends Error {
    name = "Special";
  })("special"),
  "an AggregateError": new AggregateError([new Error("a")], "all"),
  "deep nesting": Array.from({ length: 200 }).reduce((inner) => [inner], 1),
};

const refused = {
  "a function": () => () => {},
  "a class": () => Map,
  "a symbol": () => Symbol("s"),
  "a WeakMap": () => new WeakMap(),
  "a proxy": () => new Proxy({ a: 1 }, {}),
  "a generator": () => (function* () {})(),
  "a Request": () => new Request("http://a/"),
  "a Response": () => new Response(),
  "a Headers": () => new Headers(),
  "a URL": () => new URL("http://a/"),
  "a Blob": () => new Blob(["a"]),
  "a ReadableStream": () => new ReadableStream(),
  "a DOMException": () => new DOMException("d", "AbortError"),
  "a getter that throws": () => ({
    get a() {
      throw new RangeError("getter");
    },
  }),
  "a CryptoKey": () =>
    crypto.subtle.importKey("raw", new Uint8Array(16), { name: "HMAC", hash: "SHA-256" }, true, ["sign"]),
  "a SharedArrayBuffer": () => new SharedArrayBuffer(1),
  "a WebAssembly module": () => new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])),
};

export const values = {};
for (const [name, value] of Object.entries(stored)) {
  values[`value: ${name}`] = async ({ storage }, t) => {
    await t.try("put", () => storage.put("a", value));
    await t.try("get", () => storage.get("a"));
  };
}
for (const [name, make] of Object.entries(refused)) {
  values[`value: ${name}`] = async ({ storage }, t) => {
    const value = await make();
    await t.try("put", () => storage.put("a", value));
    await t.try("get", () => storage.get("a"));
  };
}
values["value: the same object twice is one again"] = async ({ storage }, t) => {
  await storage.put("a", [shared, shared]);
  const [first, second] = await storage.get("a");
  t.log("one", first === second);
};
values["value: an error's stack"] = async ({ storage }, t) => {
  const error = new Error("e");
  await storage.put("a", error);
  t.log("kept", (await storage.get("a")).stack === error.stack);
};
