// The transcript of a case: what two runtimes must have in common, line by line.

import { inspect } from "./inspect.js";

/**
 * Records what a case sees. A line is text; whatever differs from run to run must be named, not written. Ids of objects
 * and references of internal errors are taken care of here.
 */
export class Transcript {
  #ids = new Map();

  /** `name` is the case's: objects that it uses have names that begin with it. */
  constructor(name) {
    this.name = name;
    this.lines = [];
  }

  /** Writes a line: a label, and values as `inspect` has them. */
  log(label, ...values) {
    const line = values.length === 0 ? label : `${label}: ${values.map((value) => inspect(value)).join(" | ")}`;
    this.lines.push(this.#withoutRandom(line));
  }

  #withoutRandom(line) {
    return line
      .replace(/internal error; reference = \w+/g, "internal error; reference = …")
      .replace(/\b[0-9a-f]{64}\b/g, (id) => `<${this.id(id)}>`);
  }

  /** Calls `run` and writes what it returns or throws, awaited. Returns what it returned. */
  async try(label, run) {
    try {
      const value = await run();
      this.log(label, value);
      return value;
    } catch (error) {
      this.log(`${label} throws`, error);
    }
  }

  /** As `try`, without awaiting: whether something throws at once or rejects later is a difference. */
  sync(label, run) {
    try {
      const value = run();
      this.log(label, value);
      return value;
    } catch (error) {
      this.log(`${label} throws at once`, error);
    }
  }

  /** A name for what is random: "id 1" for the first that is asked for, and so on. */
  id(random) {
    const key = String(random);
    if (!this.#ids.has(key)) this.#ids.set(key, `id ${this.#ids.size + 1}`);
    return this.#ids.get(key);
  }

  /** Writes whether a time, in ms, is within limits; the time itself only if it is not. */
  elapsed(label, ms, least, most) {
    this.log(label, ms >= least && ms <= most ? `${least} to ${most} ms` : `${ms} ms, not ${least} to ${most}`);
  }

  /** The lines of a transcript that was taken elsewhere. */
  append(lines) {
    this.lines.push(...lines);
  }
}

/** Runs a case and returns its lines; what it throws is the last of them. */
export async function transcribe(name, run) {
  const t = new Transcript(name);
  try {
    await run(t);
  } catch (error) {
    t.log("the case throws", error);
  }
  return t.lines;
}
