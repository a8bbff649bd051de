// Values as text, the same on every runtime. What a transcript says of a value is this and nothing else.

/** The properties of errors that Durable Objects give a meaning, in the order in which transcripts have them. */
const FATE = ["remote", "retryable", "overloaded", "durableObjectReset"];

/** `value` as text: its kind and its contents, with everything that structured clones tell apart. */
export function inspect(value, seen = []) {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return Object.is(value, -0) ? "-0" : String(value);
    case "bigint":
      return `${value}n`;
    case "function":
      return "function";
    case "object":
      break;
    default:
      return String(value);
  }
  if (value === null) return "null";
  if (seen.includes(value)) return `<circle ${seen.length - seen.indexOf(value)} up>`;
  return inspectObject(value, [...seen, value]);
}

function inspectObject(value, seen) {
  const list = (items) => Array.from(items, (item) => inspect(item, seen)).join(", ");
  if (value instanceof Error || value instanceof DOMException) return inspectError(value, seen);
  if (value instanceof Date) return `Date(${Number.isNaN(value.getTime()) ? "invalid" : value.toISOString()})`;
  if (value instanceof RegExp) return `RegExp(${value}) at ${value.lastIndex}`;
  if (value instanceof Map) {
    return `Map{${Array.from(value, ([key, item]) => `${inspect(key, seen)} => ${inspect(item, seen)}`).join(", ")}}`;
  }
  if (value instanceof Set) return `Set{${list(value)}}`;
  if (value instanceof ArrayBuffer) return `ArrayBuffer(${hex(new Uint8Array(value))})`;
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return `${value.constructor.name}(${hex(bytes)})`;
  }
  if ([Boolean, Number, String, BigInt].some((kind) => value instanceof kind)) {
    return `${value.constructor.name}(${inspect(value.valueOf())})`;
  }
  if (value instanceof Headers) return `Headers${inspect([...value], seen)}`;
  if (Array.isArray(value)) return inspectArray(value, seen);
  const name = Object.getPrototypeOf(value) === null ? "null-prototype " : ownName(value);
  return `${name}{${entries(value, Object.keys(value), seen)}}`;
}

function inspectArray(array, seen) {
  const items = Array.from(array, (item, at) => (at in array ? inspect(item, seen) : "hole"));
  const others = Object.keys(array).slice(items.filter((item) => item !== "hole").length);
  if (others.length > 0) items.push(entries(array, others, seen));
  return `[${items.join(", ")}]`;
}

function ownName(value) {
  const name = value.constructor?.name;
  return name === "Object" || typeof name !== "string" ? "" : `${name} `;
}

function inspectError(error, seen) {
  // Of a DOMException, some runtimes have its attributes as properties of its own.
  const said = error instanceof DOMException ? ["name", "message", "code", "stack"] : ["stack"];
  const own = Object.keys(error).filter((key) => !FATE.includes(key) && !said.includes(key));
  const fate = FATE.filter((key) => error[key] !== undefined);
  const kind = error.constructor?.name ?? "Error";
  const told = [`${inspect(error.name)}, ${inspect(error.message)}`];
  if (own.length + fate.length > 0) told.push(entries(error, [...own.sort(), ...fate], seen));
  if ("cause" in error && !own.includes("cause")) told.push(`cause: ${inspect(error.cause, seen)}`);
  return `${kind}(${told.join(", ")})`;
}

function entries(value, keys, seen) {
  return keys.map((key) => `${/^\w+$/.test(key) ? key : JSON.stringify(key)}: ${inspect(value[key], seen)}`).join(", ");
}

function hex(bytes) {
  const shown = Array.from(bytes.subarray(0, 32), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return bytes.length > 32 ? `${shown} … ${bytes.length} bytes` : shown;
}
