// All uses there are, by name; a worker has more than a server.
import { uses as cryptography } from "./cryptography.js";
import { uses as network } from "./network.js";
import { uses as platform } from "./platform.js";
import { shared, workers } from "./portside.js";
import { uses as streams } from "./streams.js";

const all = [platform, streams, cryptography, network, shared];
if ("storage" in globalThis) all.push(workers);

/** The names that are used, and the names of the globals that are not the language's own. */
export function names() {
  return { used: all.flatMap(Object.keys), globals: Object.getOwnPropertyNames(globalThis) };
}

/** Runs the uses of a name; resolves to what went wrong. */
export async function use(name, peer) {
  try {
    for (const uses of all) await uses[name]?.(peer);
    return "";
  } catch (error) {
    return String(error?.stack ?? error);
  }
}
