// Memory that V8 maps for one object alone, without asking the allocator for it: resizable buffers and WebAssembly memories.
// It counts from here until the object is collected, the more so since a process may have only so many mappings.
import { core, primordials } from "ext:core/mod.js";
const { op_memory_account } = core.ops;
// The application could replace what it finds in prototypes, and so get around the limit.
const {
  MathMax,
  MathTrunc,
  NumberIsSafeInteger,
  NumberMAX_SAFE_INTEGER,
  Proxy,
  ReflectConstruct,
  SafeWeakMap,
  WeakMapPrototypeSet,
} = primordials;

/** What a mapping counts as at least, in bytes. */
const MAPPING = 1 << 20;

/** What objects count as, while they live. */
const accounts = new SafeWeakMap();

/** Takes what so many mappings count as. Throws a RangeError if it is not left. */
export function accountFor(mappings, bytes = 0) {
  return op_memory_account(MathMax(mappings * MAPPING, bytes));
}

/** Has the account last as long as the object, and returns that. */
export function charged(account, object) {
  WeakMapPrototypeSet(accounts, object, account);
  return object;
}

/** What stands for a constructor of buffers, with the limit before it. A resizable buffer counts as it may become. */
export function limitedBuffer(Buffer) {
  const proxy = new Proxy(Buffer, {
    __proto__: null, // what it does not have is looked up there
    construct(target, args, newTarget) {
      // V8 would make a new map for each buffer that a proxy constructs.
      const made = newTarget === proxy ? target : newTarget;
      const options = args[1];
      if (options === null || (typeof options !== "object" && typeof options !== "function")) {
        return ReflectConstruct(target, args, made);
      }
      // In this order, and each once: an object of the application's may say another number each time that it is asked.
      const length = +args[0];
      const { maxByteLength } = options;
      if (maxByteLength === undefined) return ReflectConstruct(target, [length], made);
      const max = MathTrunc(+maxByteLength) || 0;
      const account = accountFor(1, NumberIsSafeInteger(max) ? max : NumberMAX_SAFE_INTEGER);
      return charged(account, ReflectConstruct(target, [length, { __proto__: null, maxByteLength: max }], made));
    },
  });
  Buffer.prototype.constructor = proxy;
  return proxy;
}
