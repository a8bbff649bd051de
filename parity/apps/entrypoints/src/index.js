// What is exported and imported: entrypoints, ctx.exports, and the module cloudflare:workers.

import { bindings } from "./bindings.js";
import { exported } from "./exported.js";
import { inside, serve } from "./parity/parity.js";
import { insideObject } from "./inside.js";
import { waiting } from "./waiting.js";

export { Lab, Other } from "./inside.js";
export { Entry, NoFetch, Waits } from "./exported.js";

export const handler = { fetch: () => new Response("of another handler") };

export default serve({ ...bindings, ...exported, ...waiting, ...inside("LAB", insideObject) });
