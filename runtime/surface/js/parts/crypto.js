// Web Cryptography, where deno_crypto is lenient or leaves something out.
(function () {
const { core, primordials } = __bootstrap;
const { ArrayBuffer, DataView, ObjectDefineProperty, ObjectGetPrototypeOf, Uint8Array } = primordials;
const { getterOf, replaceValue } = core.loadExtScript("ext:portside/properties.js");
const { op_memory_account, op_memory_close } = core.ops;
const { material, secretKey } = core.loadExtScript("ext:portside/parts/keys.js");

const crypto = core.loadUnmended("ext:deno_crypto/00_crypto.js");
const { CryptoKey, SubtleCrypto } = crypto;
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

/** Making a longer RSA key takes minutes of a core, and nothing can stop it. */
const MAX_MODULUS_BITS = 8192;
/** The tag that the library makes and checks, in bits. */
const WHOLE_TAG = 128;
/** What other tags there are (Web Cryptography, 29.4.2). */
const SHORT_TAGS = [32, 64, 96, 104, 112, 120];

/** PBKDF2's iterations, times the blocks to derive: some seconds of a core, which nothing can stop. */
const MAX_PBKDF2_ROUNDS = 10_000_000;
/** Argon2's memory times its passes, in KiB: some seconds, too. */
const MAX_ARGON2_WORK = 4 << 20;
/** Of what takes long, so much goes on at once; the rest waits. */
const MAX_SLOW_JOBS = 4;
/** Data of more bytes count while they are worked on: the platform copies them. */
const SMALL = 1 << 16;

const platform = { __proto__: null };

let slowJobs = 0;
const waiting = [];

/** Does what takes long, with few others at a time. */
async function slowly(work) {
  if (slowJobs === MAX_SLOW_JOBS) await new Promise((resolve) => waiting.push(resolve));
  else slowJobs++;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next === undefined) slowJobs--;
    else next();
  }
}

/** Puts `method`, of the same name and length, before the platform's. */
function replace(method) {
  const { name } = method, { prototype } = SubtleCrypto;
  platform[name] = prototype[name];
  ObjectDefineProperty(method, "length", { __proto__: null, value: platform[name].length });
  replaceValue(prototype, name, method);
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

const byteLengthOf = (prototype) => getterOf(prototype, "byteLength");
const lengthOf = [byteLengthOf(ObjectGetPrototypeOf(Uint8Array.prototype)), byteLengthOf(DataView.prototype)];
const lengthOfBuffer = [byteLengthOf(ArrayBuffer.prototype)];

/** Bytes of a BufferSource, whatever it says of itself; 0 for all else. */
function sizeOf(data) {
  for (const length of ArrayBuffer.isView(data) ? lengthOf : lengthOfBuffer) {
    try {
      return Reflect.apply(length, data, []);
    } catch {
      // it is of another kind
    }
  }
  return 0;
}

/** Counts `bytes` of memory outside of the heap as long as the work goes on. */
async function counted(bytes, work) {
  if (bytes <= SMALL) return await work();
  const account = op_memory_account(bytes);
  try {
    return await work();
  } finally {
    op_memory_close(account);
  }
}

/** Counts the data that a method is given last. */
function countData(name) {
  const method = SubtleCrypto.prototype[name];
  replace({
    async [name](...given) {
      return await counted(sizeOf(given[method.length - 1]), () => platform[name].apply(this, given));
    },
  }[name]);
}

countData("digest");
countData("encrypt");
countData("sign");
countData("verify");

/** The members that an algorithm has, each read once: a getter could give the platform others. */
function members(algorithm, ...names) {
  const { name } = algorithm;
  const copy = name === undefined ? {} : { name: String(name) };
  for (const name of names) {
    const value = algorithm[name];
    if (value === undefined) continue;
    copy[name] = typeof value === "object" && sizeOf(value) > 0 ? bytesOf(value) : value;
  }
  return copy;
}

function asNumbers(copy, ...names) {
  for (const name of names) if (name in copy) copy[name] = +copy[name];
}

/** What an algorithm of deriving can have. */
const OF_DERIVATION = [
  ...["hash", "salt", "info", "iterations", "public"],
  ...["memory", "passes", "parallelism", "version", "nonce", "secretValue", "associatedData"],
];

function isObject(value) {
  return typeof value === "object" && value !== null;
}

/** How much memory a derivation of `bits` needs; undefined if it takes no time. */
function costOfDeriving(copy, bits) {
  if (/^pbkdf2$/i.test(copy.name)) {
    asNumbers(copy, "iterations");
    if (copy.iterations * Math.ceil(bits / 160) > MAX_PBKDF2_ROUNDS) {
      operationError(`PBKDF2 may have at most ${MAX_PBKDF2_ROUNDS} iterations for all blocks of 160 bits together here`);
    }
    return bits / 8;
  }
  if (/^argon2/i.test(copy.name)) {
    asNumbers(copy, "memory", "passes", "parallelism", "version");
    if (copy.memory * copy.passes > MAX_ARGON2_WORK) {
      operationError(`Argon2's memory times its passes may be at most ${MAX_ARGON2_WORK} KiB here`);
    }
    return copy.memory * 1024 + bits / 8;
  }
  return undefined;
}

/** Derives with an algorithm that nobody can change meanwhile. */
async function derive(given, bits, work) {
  if (!isObject(given)) return await work(given);
  const algorithm = members(given, ...OF_DERIVATION);
  const bytes = costOfDeriving(algorithm, bits);
  if (bytes === undefined) return await work(algorithm);
  return await slowly(async () => {
    let account;
    try {
      account = op_memory_account(bytes > 0 ? Math.ceil(bytes) : 0);
    } catch ({ message }) {
      operationError(message);
    }
    try {
      return await work(algorithm);
    } finally {
      op_memory_close(account);
    }
  });
}

replace(async function deriveBits(...given) {
  const [algorithm, , length] = given;
  if (length !== null && length !== undefined) given[2] = +length;
  return await derive(algorithm, given[2] ?? 0, (read) => platform.deriveBits.apply(this, given.with(0, read)));
});

replace(async function deriveKey(...given) {
  const [algorithm, , type] = given;
  let bits = 1024; // the longest block of a hash, for HMAC
  if (isObject(type)) {
    given[2] = members(type, "hash", "length");
    asNumbers(given[2], "length");
    bits = given[2].length ?? bits;
  }
  return await derive(algorithm, bits, (read) => platform.deriveKey.apply(this, given.with(0, read)));
});

replace(async function decrypt(...given) {
  const [algorithm, key] = given;
  const isShort = given.length >= 3 && isNamed(algorithm, /^aes-gcm$/i) && SHORT_TAGS.includes(algorithm.tagLength);
  const isUsable = key instanceof CryptoKey && key.algorithm.name === "AES-GCM" && key.usages.includes("decrypt");
  if (isShort && isUsable) return await openShortTag(this, ...given);
  return await counted(sizeOf(given[2]), () => platform.decrypt.apply(this, given));
});

replace(async function importKey(...given) {
  return checkedPoint(await platform.importKey.apply(this, given));
});

replace(async function unwrapKey(...given) {
  return checkedPoint(await platform.unwrapKey.apply(this, given));
});

replace(async function generateKey(...given) {
  if (!isObject(given[0])) return await platform.generateKey.apply(this, given);
  const algorithm = members(given[0], "modulusLength", "publicExponent", "hash", "namedCurve", "length");
  given[0] = algorithm;
  if (!isNamed(algorithm, /^rsa/i)) return await platform.generateKey.apply(this, given);
  asNumbers(algorithm, "modulusLength");
  if (algorithm.modulusLength > MAX_MODULUS_BITS) {
    operationError(`an RSA key may have at most ${MAX_MODULUS_BITS} bits here`);
  }
  return await slowly(() => platform.generateKey.apply(this, given));
});

return crypto;
})();
