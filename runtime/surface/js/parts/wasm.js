// V8 counts WebAssembly memories as memory outside of the heap, but never refuses one. What JavaScript asks for is checked
// here beforehand, so that it fails with an error; what their own code grows is met when V8's count is looked at.
(function () {
const { core, primordials } = __bootstrap;
const { accountFor, charged } = core.loadExtScript("ext:portside/buffers.js");
const { getterOf, replaceValue } = core.loadExtScript("ext:portside/properties.js");
const { op_memory_check, op_wasm_memories } = core.ops;
// The application could replace what it finds in prototypes, and so get around the limit.
const {
  MathFloor,
  Number,
  NumberIsInteger,
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptors,
  ObjectKeys,
  ObjectPrototypeIsPrototypeOf,
  Promise,
  PromisePrototypeThen,
  Proxy,
  RangeError,
  ReflectApply,
  ReflectConstruct,
  TypeError,
} = primordials;

/** Bytes of a page. */
const PAGE = 65_536;

/**
 * How many memories a module may have: code without a loop or a call cannot be interrupted, and could grow and fill as many
 * as it has, each to the limit of the instance.
 */
const MAX_MEMORIES = 4;

/** Throws a RangeError if there is no room for that many pages more. */
function checkRoom(pages) {
  const more = MathFloor(Number(pages));
  if (NumberIsInteger(more) && more > 0) op_memory_check(more * PAGE);
}

/** For a function: what replaces it looks like it. */
function replacedFunction(target, name, value) {
  const { length, name: own } = ObjectGetOwnPropertyDescriptors(target[name]);
  ObjectDefineProperty(value, "length", { __proto__: null, ...length });
  ObjectDefineProperty(value, "name", { __proto__: null, ...own });
  replaceValue(target, name, value);
}

/** Puts the checks before WebAssembly's own functions. */
function limitWebAssembly(WebAssembly) {
  const { compile, compileStreaming, instantiate, Instance, Memory, Module } = WebAssembly;
  const { imports: importsOf } = Module;
  const MemoryPrototype = Memory.prototype;
  const { grow } = MemoryPrototype;
  const exportsOf = getterOf(Instance.prototype, "exports");

  /**
   * An account for a module's memories. Throws a RangeError if there is no room for them, and a TypeError for what is no
   * module: V8 would compile and instantiate bytes as they are.
   */
  function accountForMemories(module) {
    const declared = op_wasm_memories(module);
    if (declared === null) throw new TypeError("not a WebAssembly.Module");
    let pages = 0;
    let memories = declared.length;
    for (let i = 0; i < declared.length; i++) pages += declared[i];
    const imports = importsOf(module);
    for (let i = 0; i < imports.length; i++) memories += imports[i].kind === "memory" ? 1 : 0;
    if (memories > MAX_MEMORIES) throw new RangeError(`a WebAssembly module may have at most ${MAX_MEMORIES} memories`);
    checkRoom(pages);
    return accountFor(declared.length);
  }

  /** Has the account last as long as an instance, and as the memories that it exports: they outlive it. */
  function chargedInstance(account, instance) {
    const exported = ReflectApply(exportsOf, instance, []);
    const names = ObjectKeys(exported);
    for (let i = 0; i < names.length; i++) {
      const value = exported[names[i]];
      if (ObjectPrototypeIsPrototypeOf(MemoryPrototype, value)) charged(account, value);
    }
    return charged(account, instance);
  }

  // Neither is an async function: `await` asks a promise for its constructor and for then().

  function instantiateModule(module, imports) {
    return new Promise((resolve) => {
      const account = accountForMemories(module);
      resolve(PromisePrototypeThen(instantiate(module, imports), (instance) => chargedInstance(account, instance)));
    });
  }

  function instantiateCompiled(compiling, imports) {
    return new Promise((resolve, reject) => {
      PromisePrototypeThen(compiling, (module) => {
        const made = (instance) => resolve({ module, instance });
        // A module that has a then() was asked for what it stands for, which is checked as it comes.
        PromisePrototypeThen(instantiateModule(module, imports), made, reject);
      }, reject);
    });
  }

  // What handlers of proxies do not have is looked up in their prototypes: there, it would be given the originals.

  replaceValue(WebAssembly, "Memory", new Proxy(Memory, {
    __proto__: null,
    construct(target, args, newTarget) {
      // Before it is made, for V8 would collect garbage for long to find room for it.
      checkRoom(args[0]?.initial ?? args[0]?.minimum);
      const memory = charged(accountFor(1), ReflectConstruct(target, args, newTarget));
      op_memory_check(0); // what the application says of its size may have changed since
      return memory;
    },
  }));
  MemoryPrototype.constructor = WebAssembly.Memory;
  replacedFunction(MemoryPrototype, "grow", {
    grow(delta) {
      // An object of the application's may say another number each time that it is asked.
      const pages = delta !== null && (typeof delta === "object" || typeof delta === "function") ? Number(delta) : delta;
      checkRoom(pages);
      return ReflectApply(grow, this, [pages]);
    },
  }.grow);
  replaceValue(WebAssembly, "Instance", new Proxy(Instance, {
    __proto__: null,
    construct(target, args, newTarget) {
      return chargedInstance(accountForMemories(args[0]), ReflectConstruct(target, args, newTarget));
    },
  }));
  Instance.prototype.constructor = WebAssembly.Instance;
  replacedFunction(WebAssembly, "instantiate", (source, imports, options) => {
    if (op_wasm_memories(source) !== null) return instantiateModule(source, imports);
    return instantiateCompiled(compile(source, options), imports);
  });
  replacedFunction(WebAssembly, "instantiateStreaming", (source, imports, options) =>
    instantiateCompiled(compileStreaming(source, options), imports));
}

return { limitWebAssembly };
})();
