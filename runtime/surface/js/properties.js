// Properties, looked at and defined by what the application has not replaced.
import { primordials } from "ext:core/mod.js";
const { ObjectDefineProperty, ObjectGetOwnPropertyDescriptor } = primordials;

/** The getter of an own property. */
export function getterOf(object, name) {
  return ObjectGetOwnPropertyDescriptor(object, name).get;
}

/** Puts a value in the place of an own property's, with the attributes that this has. */
export function replaceValue(object, name, value) {
  ObjectDefineProperty(object, name, { __proto__: null, ...ObjectGetOwnPropertyDescriptor(object, name), value });
}

/** Defines a constant of an interface, as Web IDL has it. */
export function defineConstant(constructor, name, value) {
  const constant = { __proto__: null, value, enumerable: true };
  ObjectDefineProperty(constructor, name, constant);
  ObjectDefineProperty(constructor.prototype, name, constant);
}
