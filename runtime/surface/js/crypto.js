// Web Cryptography, where deno_crypto is lenient or leaves something out.
import { core } from "ext:core/mod.js";
import { material, secretKey } from "ext:portside/keys.js";

const { CryptoKey, SubtleCrypto } = core.loadExtScript("ext:deno_crypto/00_crypto.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

/** Making a longer RSA key takes minutes of a core, and nothing can stop it. */
const MAX_MODULUS_BITS = 8192;
/** The tag that the library makes and checks, in bits. */
const WHOLE_TAG = 128;
/** What other tags there are (Web Cryptography, 29.4.2). */
const SHORT_TAGS = [32, 64, 96, 104, 112, 120];

const platform = {};

/** Puts `method`, of the same name and length, before the platform's. */
function replace(method) {
  const descriptor = Object.getOwnPropertyDescriptor(SubtleCrypto.prototype, method.name);
  platform[method.name] = descriptor.value;
  Object.defineProperty(method, "length", { value: descriptor.value.length });
  Object.defineProperty(SubtleCrypto.prototype, method.name, { ...descriptor, value: method });
}

function operationError(message) {
  throw new DOMException(message, "OperationError");
}

function isNamed(algorithm, pattern) {
  return typeof algorithm === "object" && algorithm !== null && pattern.test(algorithm.name);
}

/** A public key that is no point of its curve is refused only when it is used, and by some operations never. */
function checkedPoint(key) {
  if (key instanceof CryptoKey && key.type === "public" && /^EC/.test(key.algorithm.name)) {
    try {
      material(key);
    } catch {
      throw new DOMException("the key is not a point of its curve", "DataError");
    }
  }
  return key;
}

function bytesOf(source) {
  return ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength).slice()
    : new Uint8Array(source).slice();
}

/** AES-GCM with a tag that was cut off: what is sealed again must begin with what was given. */
async function openShortTag(subtle, algorithm, key, data) {
  const { name, iv, additionalData, tagLength } = algorithm;
  const sealed = bytesOf(data), length = sealed.length - tagLength / 8;
  if (length < 0) operationError("the data is shorter than its tag");
  const both = secretKey(material(key), "AES-GCM", ["encrypt"]);
  const seal = async (bytes) => {
    const whole = { name, iv, additionalData, tagLength: WHOLE_TAG };
    return new Uint8Array(await platform.encrypt.call(subtle, whole, both, bytes));
  };
  // Its cipher is a key stream, the same in both directions.
  const opened = (await seal(sealed.subarray(0, length))).slice(0, length);
  const again = await seal(opened);
  let differences = 0;
  for (let i = 0; i < sealed.length; i++) differences |= again[i] ^ sealed[i];
  if (differences !== 0) operationError("decryption failed");
  return opened.buffer;
}

replace(async function encrypt(...given) {
  return await platform.encrypt.apply(this, given);
});

replace(async function decrypt(...given) {
  const [algorithm, key] = given;
  const isShort = given.length >= 3 && isNamed(algorithm, /^aes-gcm$/i) && SHORT_TAGS.includes(algorithm.tagLength);
  const isUsable = key instanceof CryptoKey && key.algorithm.name === "AES-GCM" && key.usages.includes("decrypt");
  if (isShort && isUsable) return await openShortTag(this, ...given);
  return await platform.decrypt.apply(this, given);
});

replace(async function importKey(...given) {
  return checkedPoint(await platform.importKey.apply(this, given));
});

replace(async function unwrapKey(...given) {
  return checkedPoint(await platform.unwrapKey.apply(this, given));
});

replace(async function generateKey(...given) {
  const [algorithm] = given;
  if (isNamed(algorithm, /^rsa/i) && algorithm.modulusLength > MAX_MODULUS_BITS) {
    operationError(`an RSA key may have at most ${MAX_MODULUS_BITS} bits here`);
  }
  return await platform.generateKey.apply(this, given);
});
