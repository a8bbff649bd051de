// Memory that V8 maps for one object alone, without asking the allocator for it: resizable buffers and WebAssembly memories.
// It counts from here until the object is collected, the more so since a process may have only so many mappings.
import { core, primordials } from "ext:core/mod.js";
import { getterOf, replaceValue } from "ext:portside/properties.js";
const { op_memory_account } = core.ops;
// The application could replace what it finds in prototypes, and so get around the limit.
const {
  ArrayBufferIsView,
  DataViewPrototypeGetBuffer,
  MapPrototypeForEach,
  MathMax,
  MathTrunc,
  NumberIsSafeInteger,
  NumberMAX_SAFE_INTEGER,
  ObjectGetOwnPropertyDescriptor,
  ObjectKeys,
  ObjectPrototypeIsPrototypeOf,
  Proxy,
  ReflectApply,
  ReflectConstruct,
  SafeSet,
  SafeWeakMap,
  SetPrototypeAdd,
  SetPrototypeForEach,
  SetPrototypeHas,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeGetSymbolToStringTag,
  TypedArrayPrototypeIndexOf,
  WeakMapPrototypeDelete,
  WeakMapPrototypeGet,
  WeakMapPrototypeSet,
} = primordials;

/** What a mapping counts as at least, in bytes. */
const MAPPING = 1 << 20;

/** What objects count as, while they live. */
const accounts = new SafeWeakMap();
let haveCounted = false; // an isolate that has made none of these objects has none to clone

/** Takes what so many mappings count as. Throws a RangeError if it is not left. */
export function accountFor(mappings, bytes = 0) {
  haveCounted = true;
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

/** What V8 has made of a resizable buffer that it took the memory of counts as that did. */
export function limitTransfer() {
  const { prototype } = ArrayBuffer;
  const transfer = new Proxy(prototype.transfer, {
    __proto__: null,
    apply(target, buffer, args) {
      const made = ReflectApply(target, buffer, args);
      const account = WeakMapPrototypeGet(accounts, buffer);
      if (account === undefined) return made;
      WeakMapPrototypeDelete(accounts, buffer);
      return charged(account, made);
    },
  });
  replaceValue(prototype, "transfer", transfer);
}

// Clones: V8 makes the buffers in them. They are found afterwards, in what nobody else has seen yet.

const maximumOf = getterOf(ArrayBuffer.prototype, "maxByteLength");
const isResizable = getterOf(ArrayBuffer.prototype, "resizable");

/** What a resizable buffer begins with in the bytes of a clone. */
const RESIZABLE = 0x7e;

// V8 has these in no context that is for a snapshot.
let maximumOfShared, MemoryPrototype;

/** Is told of what can share memory before anybody else is. */
export function knowNatives({ SharedArrayBuffer, WebAssembly }) {
  maximumOfShared = getterOf(SharedArrayBuffer.prototype, "maxByteLength");
  MemoryPrototype = WebAssembly.Memory.prototype;
}

// Lists here have no prototype: there, the application could have setters that are given what is put into the list.

let moving; // what buffers that the clone under way transfers count as: { account, max }

/** Has the buffers count that V8 has made for a clone of these bytes, which it returns. */
export function countedClone(bytes, clone) {
  if (TypedArrayPrototypeIndexOf(bytes, RESIZABLE) !== -1) countIn(clone);
  return clone;
}

/** The same for a clone that may share memory, or have taken it over. */
export function countedHere(clone) {
  if (haveCounted) countIn(clone);
  return clone;
}

/** Runs `clone`: what these buffers count as passes on to those that stand for them in its result. */
export function transferring(items, clone) {
  const outer = moving;
  moving = { __proto__: null };
  for (let i = 0; i < items.length; i++) {
    const account = core.isArrayBuffer(items[i]) ? WeakMapPrototypeGet(accounts, items[i]) : undefined;
    if (account !== undefined) moving[i] = { account, max: ReflectApply(maximumOf, items[i], []) };
  }
  try {
    const result = clone();
    for (let i = 0; i < items.length; i++) if (core.isArrayBuffer(items[i])) WeakMapPrototypeDelete(accounts, items[i]);
    return result;
  } finally {
    moving = outer;
  }
}

/** The account of a transferred buffer of this maximum, once. */
function movedAccount(max) {
  if (moving === undefined) return undefined;
  const keys = ObjectKeys(moving);
  for (let i = 0; i < keys.length; i++) {
    const known = moving[keys[i]];
    if (known.max !== max) continue;
    delete moving[keys[i]];
    return known.account;
  }
  return undefined;
}

function countIn(clone) {
  const seen = new SafeSet(), rest = { __proto__: null };
  let length = 0;
  const add = (value) => {
    if (value === null || typeof value !== "object" || SetPrototypeHas(seen, value)) return;
    SetPrototypeAdd(seen, value);
    rest[length++] = value;
  };
  add(clone);
  while (length > 0) {
    const value = rest[--length];
    if (ArrayBufferIsView(value)) {
      const isTyped = TypedArrayPrototypeGetSymbolToStringTag(value) !== undefined;
      add(isTyped ? TypedArrayPrototypeGetBuffer(value) : DataViewPrototypeGetBuffer(value));
    } else if (core.isAnyArrayBuffer(value)) countBuffer(value);
    else if (core.isMap(value)) {
      MapPrototypeForEach(value, (item, key) => {
        add(key);
        add(item);
      });
    } else if (core.isSet(value)) SetPrototypeForEach(value, add);
    else if (MemoryPrototype !== undefined && ObjectPrototypeIsPrototypeOf(MemoryPrototype, value)) {
      if (WeakMapPrototypeGet(accounts, value) === undefined) charged(accountFor(1), value);
    } else if (core.isNativeError(value)) add(ObjectGetOwnPropertyDescriptor(value, "cause")?.value);
    else {
      // Objects of the platform have setters and getters in their prototypes only.
      const keys = ObjectKeys(value);
      for (let i = 0; i < keys.length; i++) add(value[keys[i]]);
    }
  }
}

function countBuffer(buffer) {
  if (WeakMapPrototypeGet(accounts, buffer) !== undefined) return;
  if (core.isArrayBuffer(buffer)) {
    if (!ReflectApply(isResizable, buffer, [])) return;
    const max = ReflectApply(maximumOf, buffer, []);
    charged(movedAccount(max) ?? accountFor(1, max), buffer);
  } else {
    // Shared memory outlives what it was made by.
    charged(accountFor(1, ReflectApply(maximumOfShared, buffer, [])), buffer);
  }
}
