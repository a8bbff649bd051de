// Transcripts of two servers, and the differences that are meant to be there.

import { readFile, writeFile } from "node:fs/promises";

import { parseJsonc } from "./wrangler.mjs";

/** A function that tells whether a name fits a glob, in which `*` stands for anything, also for nothing and for slashes. */
export function glob(pattern) {
  const parts = pattern.split("*").map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, "\\$&"));
  const exact = new RegExp(`^${parts.join(".*")}$`, "s");
  return (name) => exact.test(name);
}

/** The lines of a diff of two lists of lines: those of both with two spaces before them, shortened where they go on. */
export function diff(left, right) {
  const common = longestCommon(left, right);
  const lines = [];
  for (let i = 0, j = 0; i < left.length || j < right.length;) {
    if (i < left.length && j < right.length && left[i] === right[j]) {
      lines.push(`  ${left[i]}`);
      i++;
      j++;
    } else if (j >= right.length || (i < left.length && common[i + 1][j] >= common[i][j + 1])) {
      lines.push(`- ${left[i++]}`);
    } else {
      lines.push(`+ ${right[j++]}`);
    }
  }
  const near = (at) => lines.slice(Math.max(0, at - 1), at + 2).some((line) => !line.startsWith("  "));
  return lines.filter((_, at) => near(at)).map((line) => (line.length > 400 ? `${line.slice(0, 400)}…` : line));
}

function longestCommon(left, right) {
  const table = Array.from({ length: left.length + 1 }, () => new Array(right.length + 1).fill(0));
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      table[i][j] = left[i] === right[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  return table;
}

/** So begins the reason of a difference that is not always there. */
const NOW_AND_THEN = "now and then: ";

/** The differences that are documented in files: `{ "GLOB": "reason" }`. */
export class Expected {
  #file;
  #text;
  #entries;

  /** Reads the files. What is blessed goes into the last. */
  static async read(...files) {
    const expected = new Expected();
    const texts = await Promise.all(files.map((file) => readFile(file, "utf8")));
    expected.#file = files.at(-1);
    expected.#text = texts.at(-1);
    const entries = texts.flatMap((text) => Object.entries(parseJsonc(text)));
    expected.#entries = entries.map(([pattern, reason]) => ({
      pattern,
      reason,
      fits: glob(pattern),
      met: false,
      same: [],
    }));
    return expected;
  }

  /** Whether a difference in this case is documented, with a reason. */
  covers(name) {
    const found = this.#entries.filter((entry) => entry.reason && entry.fits(name));
    found.forEach((entry) => (entry.met = true));
    return found.length > 0;
  }

  /** Notes that a case is the same on both. */
  same(name) {
    this.#entries.filter((entry) => entry.fits(name)).forEach((entry) => entry.same.push(name));
  }

  /** Patterns of which the cases that ran show no difference, and should. */
  gone() {
    const isGone = ({ met, same, reason }) => !met && same.length > 0 && !reason.startsWith(NOW_AND_THEN);
    return this.#entries.filter(isGone).map((entry) => entry.pattern);
  }

  /** Adds cases to the file. They are not covered before somebody writes the reasons. */
  async bless(names) {
    const known = new Set(this.#entries.map((entry) => entry.pattern));
    const added = names.filter((name) => !known.has(name)).map((name) => `  ${JSON.stringify(name)}: "",\n`);
    const end = this.#text.lastIndexOf("}");
    await writeFile(this.#file, this.#text.slice(0, end) + added.join("") + this.#text.slice(end));
  }
}
