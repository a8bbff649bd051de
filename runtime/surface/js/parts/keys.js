// CryptoKeys in structured clones, in the formats of the standard's own importKey and exportKey.
(function () {
const { core, primordials } = __bootstrap;
// What the application could put into prototypes would see the material of keys that are not extractable.
const { MapPrototypeGet, ObjectDefineProperty, ReflectApply, SafeMap, SafeWeakMap } = primordials;

const { getterOf } = core.loadExtScript("ext:portside/properties.js");
const { CryptoKey } = core.loadUnmended("ext:deno_crypto/00_crypto.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

// Made for Node.js' compatibility, and a way around `extractable`: nobody else may have them.
const { exportNodeMaterial, importSync } = CryptoKey;
delete CryptoKey.exportNodeMaterial;
delete CryptoKey.fromCloneData;
delete CryptoKey.importSync;

const FORMATS = { __proto__: null, secret: "raw", public: "spki", private: "pkcs8" };

/** The material of a key: raw bytes, SPKI or PKCS #8. Throws for a key that is none, like a point off its curve. */
function material(key) {
  return ReflectApply(exportNodeMaterial, CryptoKey, [key]).data;
}

/** The secret key with this material, for one algorithm by name. */
function secretKey(bytes, algorithm, usages) {
  return ReflectApply(importSync, CryptoKey, ["raw", bytes, algorithm, false, usages]);
}

// The application can run in the course of a clone, in a getter, and ask keys what V8 asks them. So they answer with a
// number only, and what it stands for is passed on beside the clone.

/** What clones in this isolate have in place of keys: number -> key. */
const inIsolate = { numbers: new SafeWeakMap(), keys: new SafeMap() };
let cloning; // gives a key's number in the clone under way
let reviving; // number -> what a key is made of, in the clone that is read

function run(numberOf, clone) {
  const outer = cloning;
  cloning = numberOf;
  try {
    return clone();
  } finally {
    cloning = outer;
  }
}

/** Runs `clone`, whose result stays in this isolate. */
function cloneWithinIsolate(clone) {
  return run((key, parts) => {
    let number = inIsolate.numbers.get(key);
    if (number === undefined) {
      number = inIsolate.keys.size;
      inIsolate.numbers.set(key, number);
      inIsolate.keys.set(number, parts);
    }
    return number;
  }, clone);
}

/** Runs `clone`; returns its result, and what [`revive`] needs beside it: undefined if there is no key in it. */
function cloneWithKeys(clone) {
  let keys;
  const body = run((_, parts) => {
    keys ??= new SafeMap();
    keys.set(keys.size, parts);
    return keys.size - 1;
  }, clone);
  return { body, keys };
}

/** Runs `read`, which reads a clone that had `keys` beside it. */
function revive(keys, read) {
  const outer = reviving;
  reviving = keys ?? NO_KEYS;
  try {
    return read();
  } finally {
    reviving = outer;
  }
}
const NO_KEYS = new SafeMap();

const getter = (name) => getterOf(CryptoKey.prototype, name);
const getters = {
  __proto__: null,
  keyType: getter("type"),
  extractable: getter("extractable"),
  usages: getter("usages"),
  algorithm: getter("algorithm"),
};

function refuse(message) {
  throw new DOMException(message, "DataCloneError");
}

function partsOf(key) {
  const algorithm = ReflectApply(getters.algorithm, key, []);
  let bytes;
  try {
    bytes = material(key);
  } catch (error) {
    refuse(`this ${algorithm.name} key cannot be cloned: ${error.message}`);
  }
  return {
    keyType: ReflectApply(getters.keyType, key, []),
    extractable: ReflectApply(getters.extractable, key, []),
    usages: ReflectApply(getters.usages, key, []),
    algorithm,
    material: bytes,
  };
}

ObjectDefineProperty(CryptoKey.prototype, core.hostObjectBrand, {
  __proto__: null,
  value() {
    if (cloning === undefined) refuse("a key can be cloned by structured clones only");
    return { type: "CryptoKey", number: cloning(this, partsOf(this)) };
  },
});

core.getCloneableDeserializers().CryptoKey = (clone) => {
  // Earlier versions stored the parts themselves.
  const parts = clone.number === undefined ? clone : MapPrototypeGet(reviving ?? inIsolate.keys, clone.number);
  if (parts === undefined) refuse("there is no such key");
  const { keyType, extractable, usages, algorithm, material: bytes } = parts;
  return ReflectApply(importSync, CryptoKey, [FORMATS[keyType], bytes, algorithm, extractable, usages]);
};

return { material, secretKey, cloneWithinIsolate, cloneWithKeys, revive };
})();
