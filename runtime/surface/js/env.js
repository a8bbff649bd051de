// The application's variables and bindings, `env`, and its own classes, `exports`: each is one object for the life of the
// isolate. Modules can have them before the isolate is any instance's; then they are filled when it begins to be one's.
import { core, primordials } from "ext:core/mod.js";
import { load } from "ext:portside/parts.js";
const { op_env, op_object_classes } = core.ops;
const { JSONParse } = primordials;

let known, areFilled, areWanted;

/** An isolate begins. */
export function startEnv() {
  known = { env: {}, exports: {} };
  areFilled = areWanted = false;
}

/** Both objects, for a module that is loaded. */
export function wanted() {
  areWanted = true;
  return known;
}

/** An instance begins. */
export function beginEnv() {
  if (areWanted) fill();
}

const namespaceOf = (objectClass) => load("ext:portside/parts/objects.js").namespaceOf(objectClass);

/** Variables that are no strings come as JSON, and bindings as classes' numbers. */
function fill() {
  areFilled = true;
  const { text, json, objects } = op_env(), { env, exports } = known;
  for (const name in text) env[name] = text[name];
  for (const name in json) env[name] = JSONParse(json[name]);
  for (const name in objects) env[name] = namespaceOf(objects[name]);
  const classes = op_object_classes();
  for (let i = 0; i < classes.length; i++) exports[classes[i]] = namespaceOf(i);
}

/** `env`. */
export function env() {
  if (!areFilled) fill();
  return known.env;
}

/** `ctx.exports`. */
export function loopback() {
  if (!areFilled) fill();
  return known.exports;
}
