// CryptoKeys in structured clones, in the formats of the standard's own importKey and exportKey.
import { core } from "ext:core/mod.js";

const { CryptoKey } = core.loadExtScript("ext:deno_crypto/00_crypto.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

// Made for Node.js' compatibility, and a way around `extractable`: nobody else may have them.
const { exportNodeMaterial, importSync } = CryptoKey;
for (const name of ["exportNodeMaterial", "fromCloneData", "importSync"]) delete CryptoKey[name];

const FORMATS = { secret: "raw", public: "spki", private: "pkcs8" };

/** The material of a key: raw bytes, SPKI or PKCS #8. Throws for a key that is none, like a point off its curve. */
export function material(key) {
  return exportNodeMaterial.call(CryptoKey, key).data;
}

/** The secret key with this material, for one algorithm by name. */
export function secretKey(bytes, algorithm, usages) {
  return importSync.call(CryptoKey, "raw", bytes, algorithm, false, usages);
}

let cloning = 0;

/** Runs `clone`, in which keys give their material away. */
export function cloneableKeys(clone) {
  cloning++;
  try {
    return clone();
  } finally {
    cloning--;
  }
}

Object.defineProperty(CryptoKey.prototype, core.hostObjectBrand, {
  value() {
    const refuse = (message) => {
      throw new DOMException(message, "DataCloneError");
    };
    if (cloning === 0) refuse("a key shows its material to structured clones only");
    const { type: keyType, extractable, usages, algorithm } = this;
    let bytes;
    try {
      bytes = material(this);
    } catch (error) {
      refuse(`this ${algorithm.name} key cannot be cloned: ${error.message}`);
    }
    return { type: "CryptoKey", keyType, extractable, usages, algorithm, material: bytes };
  },
});

core.getCloneableDeserializers().CryptoKey = ({ keyType, extractable, usages, algorithm, material: bytes }) =>
  importSync.call(CryptoKey, FORMATS[keyType], bytes, algorithm, extractable, usages);
