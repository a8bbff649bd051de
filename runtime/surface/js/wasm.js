// WebAssembly memories count against the instance's limit of memory outside of the heap. V8 does not count them.
import { core } from "ext:core/mod.js";
const { op_memory_give, op_memory_take } = core.ops;

/** Bytes of a page. */
const PAGE = 65_536;

const counted = new WeakMap(); // Memory -> its account
let freed; // made when first needed: what it is registered for is not part of the snapshot

/** Counts what a memory has grown to. Throws a RangeError where that is over the limit. */
function count(memory, bytes = memory.buffer.byteLength) {
  let account = counted.get(memory);
  if (account === undefined) {
    account = { bytes: 0 };
    counted.set(memory, account);
    freed ??= new FinalizationRegistry((gone) => op_memory_give(gone.bytes));
    freed.register(memory, account);
  }
  if (bytes <= account.bytes) return;
  op_memory_take(bytes - account.bytes);
  account.bytes = bytes;
}

/** Counts the memories that an instance exports: they may have grown by their own code. */
function countExports(instance) {
  for (const exported of Object.values(instance.exports)) {
    if (exported instanceof WebAssembly.Memory) count(exported);
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
  const buffer = Object.getOwnPropertyDescriptor(Memory.prototype, "buffer");
  replaced(WebAssembly, "Memory", new Proxy(Memory, {
    construct(target, args, newTarget) {
      const pages = Number(args[0]?.initial ?? args[0]?.minimum);
      // Before it is made, for V8 would collect garbage for long to find room for it.
      const asked = Number.isInteger(pages) ? pages * PAGE : 0;
      op_memory_take(asked);
      op_memory_give(asked);
      const memory = Reflect.construct(target, args, newTarget);
      count(memory);
      return memory;
    },
  }));
  Memory.prototype.constructor = WebAssembly.Memory;
  replaced(Memory.prototype, "grow", {
    grow(delta) {
      const before = buffer.get.call(this).byteLength;
      const pages = Number(delta);
      if (pages > 0) count(this, before + Math.floor(pages) * PAGE);
      return Reflect.apply(grow, this, arguments);
    },
  }.grow);
  Object.defineProperty(Memory.prototype, "buffer", {
    ...buffer,
    get() {
      const seen = buffer.get.call(this);
      count(this, seen.byteLength); // its own code may have grown it
      return seen;
    },
  });
  replaced(WebAssembly, "Instance", new Proxy(Instance, {
    construct: (target, args, newTarget) => countExports(Reflect.construct(target, args, newTarget)),
  }));
  Instance.prototype.constructor = WebAssembly.Instance;
  const counting = (platform) => async (...args) => {
    const made = await platform(...args);
    countExports(made instanceof Instance ? made : made.instance);
    return made;
  };
  replaced(WebAssembly, "instantiate", Object.defineProperties(counting(instantiate), Object.getOwnPropertyDescriptors(instantiate)));
  replaced(WebAssembly, "instantiateStreaming", Object.defineProperties(counting(instantiateStreaming), Object.getOwnPropertyDescriptors(instantiateStreaming)));
}
