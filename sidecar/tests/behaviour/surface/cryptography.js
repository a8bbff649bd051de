// One use of each name of the Web Cryptography API, and of each of its algorithms.
import { equal, made, thrown, utf8 } from "./check.js";

const { subtle } = crypto;
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

async function signed(algorithm, keys = algorithm) {
  const made = await subtle.generateKey(keys, true, ["sign", "verify"]);
  const { privateKey = made, publicKey = made } = made;
  const signature = await subtle.sign(algorithm, privateKey, utf8("text"));
  equal(await subtle.verify(algorithm, publicKey, signature, utf8("text")), true);
  equal(await subtle.verify(algorithm, publicKey, signature, utf8("Text")), false);
}

async function encrypted(algorithm, keys) {
  const made = await subtle.generateKey(keys, true, ["encrypt", "decrypt"]);
  const { privateKey = made, publicKey = made } = made;
  const secret = await subtle.encrypt(algorithm, publicKey, utf8("text"));
  equal(hex(await subtle.decrypt(algorithm, privateKey, secret)), hex(utf8("text")));
}

async function agreed(algorithm, curve) {
  const [a, b] = await Promise.all([0, 1].map(() => subtle.generateKey(curve, false, ["deriveBits"])));
  const bits = (mine, theirs) => subtle.deriveBits({ name: algorithm, public: theirs.publicKey }, mine.privateKey, 128);
  equal(hex(await bits(a, b)), hex(await bits(b, a)));
}

async function derived(algorithm, wanted) {
  const key = await subtle.importKey("raw", utf8("password"), algorithm.name, false, ["deriveBits", "deriveKey"]);
  equal(hex(await subtle.deriveBits(algorithm, key, 64)), wanted);
  const aes = await subtle.deriveKey(algorithm, key, { name: "AES-GCM", length: 128 }, true, ["encrypt"]);
  equal(hex(await subtle.exportKey("raw", aes)).slice(0, 16), wanted);
}

export const uses = {
  Crypto() {
    made(crypto, Crypto);
    equal(crypto.subtle === subtle, true);
  },
  async crypto() {
    equal(await thrown(() => crypto.getRandomValues(new Float32Array(6))), "TypeMismatchError");
    const bytes = crypto.getRandomValues(new Uint8Array(32));
    equal(bytes.some((byte) => byte !== 0), true);
    equal(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()), true);
  },
  async CryptoKey() {
    const aes = { name: "AES-GCM", length: 256 };
    const key = await subtle.generateKey(aes, true, ["encrypt"]);
    made(key, CryptoKey);
    equal(await thrown(() => subtle.generateKey(aes, true, ["sign"])), "SyntaxError");
    equal(await thrown(() => subtle.decrypt({ name: "AES-GCM", iv: new Uint8Array(12) }, key, utf8("x"))), "InvalidAccessError");
    equal([key.type, key.extractable, key.algorithm.length, key.usages], ["secret", true, 256, ["encrypt"]]);
    const jwk = await subtle.exportKey("jwk", key);
    const again = await subtle.importKey("jwk", jwk, "AES-GCM", true, ["encrypt"]);
    equal(hex(await subtle.exportKey("raw", again)), hex(await subtle.exportKey("raw", key)));
  },
  async SubtleCrypto() {
    made(subtle, SubtleCrypto);
    for (const [name, beginning] of [["SHA-1", "aaf4c61d"], ["SHA-256", "2cf24dba"], ["SHA-384", "59e17487"], ["SHA-512", "9b71d224"]]) {
      equal(hex(await subtle.digest(name, utf8("hello"))).slice(0, 8), beginning);
    }
    const rsa = { modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
    await signed("HMAC", { name: "HMAC", hash: "SHA-256" });
    await signed({ name: "ECDSA", hash: "SHA-256" }, { name: "ECDSA", namedCurve: "P-256" });
    await signed("Ed25519");
    await signed("RSASSA-PKCS1-v1_5", { name: "RSASSA-PKCS1-v1_5", ...rsa });
    await signed({ name: "RSA-PSS", saltLength: 32 }, { name: "RSA-PSS", ...rsa });
    await encrypted({ name: "RSA-OAEP" }, { name: "RSA-OAEP", ...rsa });
    await encrypted({ name: "AES-GCM", iv: new Uint8Array(12) }, { name: "AES-GCM", length: 256 });
    await encrypted({ name: "AES-CBC", iv: new Uint8Array(16) }, { name: "AES-CBC", length: 128 });
    await encrypted({ name: "AES-CTR", counter: new Uint8Array(16), length: 64 }, { name: "AES-CTR", length: 256 });
    await agreed("ECDH", { name: "ECDH", namedCurve: "P-384" });
    await agreed("X25519", "X25519");
    const salt = utf8("salt"), hash = "SHA-256";
    await derived({ name: "PBKDF2", salt, hash, iterations: 1 }, "120fb6cffcf8b32c");
    const key = await subtle.importKey("raw", utf8("password"), "HKDF", false, ["deriveBits"]);
    equal((await subtle.deriveBits({ name: "HKDF", salt, hash, info: utf8("") }, key, 256)).byteLength, 32);
    const kek = await subtle.generateKey({ name: "AES-KW", length: 128 }, false, ["wrapKey", "unwrapKey"]);
    const aes = await subtle.generateKey({ name: "AES-GCM", length: 128 }, true, ["encrypt"]);
    const wrapped = await subtle.wrapKey("raw", aes, kek, "AES-KW");
    const back = await subtle.unwrapKey("raw", wrapped, kek, "AES-KW", "AES-GCM", true, ["encrypt"]);
    equal(hex(await subtle.exportKey("raw", back)), hex(await subtle.exportKey("raw", aes)));
  },
};
