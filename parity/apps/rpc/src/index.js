// Calls of objects' methods: what they can take and give, and what is a method.

import { arguments_ } from "./arguments.js";
import { methods } from "./methods.js";
import { serve } from "./parity/parity.js";

export { Lab, Target } from "./target.js";

export default serve({ ...methods, ...arguments_ });
