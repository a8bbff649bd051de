// When an object's instance begins and ends, and what of it is there afterwards: also when the server ends.

import { instances } from "./instances.js";
import { inside, serve } from "./parity/parity.js";
import { kept, keptInside } from "./restarts.js";

export { Counter, Plain, Waker } from "./objects.js";
import { Counter } from "./objects.js";

export class Lab extends Counter {}

const twice = (prefix) => ({
  ...Object.fromEntries(Object.entries(kept).map(([name, steps]) => [`${prefix}: ${name}`, steps])),
  ...inside("LAB", keptInside, `${prefix}: `),
  ...inside("PLAIN", { "what is stored": keptInside["what is stored"] }, `${prefix} without SQLite: `),
});

export default serve(instances, { stopped: twice("stopped"), killed: twice("killed") });
