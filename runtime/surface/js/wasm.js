// WebAssembly memories count against the instance's limit of memory outside of the heap. V8 does not count them.
import { core, primordials } from "ext:core/mod.js";
const { op_memory_give, op_memory_take } = core.ops;
// The application could replace what it finds in prototypes, and so get around the limit.
const {
  MathFloor,
  Number,
  NumberIsInteger,
  ObjectGetOwnPropertyDescriptor,
  ObjectPrototypeIsPrototypeOf,
  ObjectValues,
  PromisePrototypeThen,
  ReflectApply,
  ReflectConstruct,
  SafeFinalizationRegistry,
  SafeWeakMap,
} = primordials;

/** Bytes of a page. */
const PAGE = 65_536;

const counted = new SafeWeakMap(); // Memory -> its account
let freed; // made when first needed: what it is registered for is not part of the snapshot
// Neither is WebAssembly, nor SharedArrayBuffer: these are taken before the application runs.
let MemoryPrototype, InstancePrototype, SharedArrayBufferPrototype, bufferOf, exportsOf, lengthOf, sharedLengthOf;

function bytesOf(memory) {
  const buffer = ReflectApply(bufferOf, memory, []);
  const isShared = ObjectPrototypeIsPrototypeOf(SharedArrayBufferPrototype, buffer);
  return ReflectApply(isShared ? sharedLengthOf : lengthOf, buffer, []);
}

/** Counts what a memory has grown to. Throws a RangeError where that is over the limit. */
function count(memory, bytes) {
  let account = counted.get(memory);
  if (account === undefined) {
    account = { bytes: 0 };
    counted.set(memory, account);
    freed ??= new SafeFinalizationRegistry((gone) => op_memory_give(gone.bytes));
    freed.register(memory, account);
  }
  if (bytes <= account.bytes) return;
  op_memory_take(bytes - account.bytes);
  account.bytes = bytes;
}

/** Counts the memories that an instance exports: they may have grown by their own code. */
function countExports(instance) {
  const exported = ObjectValues(ReflectApply(exportsOf, instance, []));
  for (let i = 0; i < exported.length; i++) {
    if (ObjectPrototypeIsPrototypeOf(MemoryPrototype, exported[i])) count(exported[i], bytesOf(exported[i]));
  }
  return instance;
}

function replaced(target, name, value) {
  const descriptor = Object.getOwnPropertyDescriptor(target, name);
  Object.defineProperty(target, name, { ...descriptor, value });
}

/** Puts the counting before WebAssembly's own functions. */
export function countWebAssembly() {
  const { Instance, Memory, instantiate, instantiateStreaming } = WebAssembly;
  const { grow } = Memory.prototype;
  MemoryPrototype = Memory.prototype;
  InstancePrototype = Instance.prototype;
  exportsOf = ObjectGetOwnPropertyDescriptor(InstancePrototype, "exports").get;
  SharedArrayBufferPrototype = SharedArrayBuffer.prototype;
  lengthOf = ObjectGetOwnPropertyDescriptor(ArrayBuffer.prototype, "byteLength").get;
  sharedLengthOf = ObjectGetOwnPropertyDescriptor(SharedArrayBufferPrototype, "byteLength").get;
  const buffer = Object.getOwnPropertyDescriptor(Memory.prototype, "buffer");
  bufferOf = buffer.get;
  replaced(WebAssembly, "Memory", new Proxy(Memory, {
    construct(target, args, newTarget) {
      const pages = Number(args[0]?.initial ?? args[0]?.minimum);
      // Before it is made, for V8 would collect garbage for long to find room for it.
      const asked = NumberIsInteger(pages) ? pages * PAGE : 0;
      op_memory_take(asked);
      op_memory_give(asked);
      const memory = ReflectConstruct(target, args, newTarget);
      count(memory, bytesOf(memory));
      return memory;
    },
  }));
  Memory.prototype.constructor = WebAssembly.Memory;
  replaced(Memory.prototype, "grow", {
    grow(delta) {
      const before = bytesOf(this);
      const pages = Number(delta);
      if (pages > 0) count(this, before + MathFloor(pages) * PAGE);
      return ReflectApply(grow, this, arguments);
    },
  }.grow);
  Object.defineProperty(Memory.prototype, "buffer", {
    ...buffer,
    get() {
      const seen = ReflectApply(bufferOf, this, []);
      count(this, bytesOf(this)); // its own code may have grown it
      return seen;
    },
  });
  replaced(WebAssembly, "Instance", new Proxy(Instance, {
    construct: (target, args, newTarget) => countExports(ReflectConstruct(target, args, newTarget)),
  }));
  Instance.prototype.constructor = WebAssembly.Instance;
  const counting = (platform) => (...args) =>
    PromisePrototypeThen(ReflectApply(platform, WebAssembly, args), (made) => {
      countExports(ObjectPrototypeIsPrototypeOf(InstancePrototype, made) ? made : made.instance);
      return made;
    });
  replaced(WebAssembly, "instantiate", Object.defineProperties(counting(instantiate), Object.getOwnPropertyDescriptors(instantiate)));
  replaced(WebAssembly, "instantiateStreaming", Object.defineProperties(counting(instantiateStreaming), Object.getOwnPropertyDescriptors(instantiateStreaming)));
}
