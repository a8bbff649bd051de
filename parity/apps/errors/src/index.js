// What callers see of errors, and what becomes of the object.

import { aborts } from "./aborts.js";
import { serve } from "./parity/parity.js";
import { resets } from "./resets.js";
import { throws } from "./throws.js";

export { Caller, Thrower, ThrowerPlain } from "./objects.js";
export { Blocks, Constructed, Forgetful } from "./resets.js";

export default serve({ ...throws, ...aborts, ...resets });
