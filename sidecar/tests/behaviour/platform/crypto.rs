//! Web Cryptography where the library behind it is lenient.

crate::truths! {
    keys_that_are_not_extractable_keep_their_material: r#"
        const raw = utf8("0123456789abcdef");
        const hmac = { name: "HMAC", hash: "SHA-256" };
        const key = await crypto.subtle.importKey("raw", raw, hmac, false, ["sign"]);
        const signature = async (by) => [...new Uint8Array(await crypto.subtle.sign("HMAC", by, raw))];
        const brand = Object.getOwnPropertySymbols(CryptoKey.prototype).find((s) => s.description === "Deno.core.hostObject");
        // Whatever a key shows to code that runs within a clone, and to what was put into prototypes.
        const shown = [];
        const shows = (value) => { shown.push(value); return value; };
        const { call, apply } = Function.prototype;
        const descriptors = Object.getOwnPropertyDescriptors(CryptoKey.prototype);
        Function.prototype.call = function (...given) { shows(given); return Reflect.apply(this, given[0], given.slice(1)); };
        Object.defineProperty(CryptoKey.prototype, "extractable", { get: () => true, configurable: true });
        let clones;
        try {
            const value = { key, get again() { return shows(key[brand]()); }, short: 1 };
            clones = [structuredClone(key), structuredClone(value).key, structuredClone(value, { transfer: [] }).key];
            await storage.put("key", value);
            clones.push((await storage.get("key")).key);
        } finally {
            Function.prototype.call = call;
            Object.defineProperty(CryptoKey.prototype, "extractable", descriptors.extractable);
        }
        const { port1, port2 } = new MessageChannel();
        const heard = next(port2, "message");
        port2.start();
        port1.postMessage([key, key]);
        clones.push(...(await heard).data);
        port1.close();
        const all = (value, depth = 0) => depth > 5 ? [] : value instanceof Uint8Array || value instanceof ArrayBuffer ? [value]
            : typeof value === "object" && value !== null ? Reflect.ownKeys(value).flatMap((name) => all(value[name], depth + 1)) : [];
        equal(all(shown).length, 0);
        equal(clones.length, 6);
        for (const clone of clones) {
            equal([clone.extractable, clone.type, clone.algorithm.name, clone.usages], [false, "secret", "HMAC", ["sign"]]);
            equal(await signature(clone), await signature(key));
            equal(await thrown(() => crypto.subtle.exportKey("raw", clone)), "InvalidAccessError");
        }
    "#;

    points_off_the_curve_are_no_keys: r#"
        for (const name of ["ECDSA", "ECDH"]) {
            for (const [namedCurve, size] of [["P-256", 32], ["P-384", 48], ["P-521", 66]]) {
                const usages = name === "ECDSA" ? ["verify"] : [];
                const pair = await crypto.subtle.generateKey({ name, namedCurve }, true, name === "ECDSA" ? ["sign", "verify"] : ["deriveBits"]);
                const raw = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
                const take = (format, data) => crypto.subtle.importKey(format, data, { name, namedCurve }, true, usages);
                await take("raw", raw);
                const off = raw.slice();
                off[2 * size] ^= 1;
                equal(await thrown(() => take("raw", off)), "DataError");
                const spki = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
                await take("spki", spki);
                spki[spki.length - 1] ^= 1;
                equal(await thrown(() => take("spki", spki)), "DataError");
                const jwk = await crypto.subtle.exportKey("jwk", pair.publicKey);
                await take("jwk", jwk);
                equal(await thrown(() => take("jwk", { ...jwk, x: jwk.y })), "DataError");
            }
        }
    "#;

    aes_gcm_opens_every_length_of_tag: r#"
        const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, true, ["encrypt", "decrypt"]);
        const only = (usage) => crypto.subtle.exportKey("raw", key).then((raw) => crypto.subtle.importKey("raw", raw, "AES-GCM", false, [usage]));
        const data = utf8("some text that is longer than a block");
        for (const tagLength of [32, 64, 96, 104, 112, 120, 128, undefined]) {
            const algorithm = { name: "AES-GCM", iv: new Uint8Array(12), additionalData: utf8("more"), tagLength };
            const sealed = new Uint8Array(await crypto.subtle.encrypt(algorithm, key, data));
            equal(sealed.length, data.length + (tagLength ?? 128) / 8);
            equal([...new Uint8Array(await crypto.subtle.decrypt(algorithm, await only("decrypt"), sealed))], [...data]);
            equal(await thrown(async () => crypto.subtle.decrypt(algorithm, await only("encrypt"), sealed)), "InvalidAccessError");
            for (const at of [0, sealed.length - 1]) {
                const changed = sealed.slice();
                changed[at] ^= 1;
                equal(await thrown(() => crypto.subtle.decrypt(algorithm, key, changed)), "OperationError");
            }
            equal(await thrown(() => crypto.subtle.decrypt({ ...algorithm, additionalData: utf8("less") }, key, sealed)), "OperationError");
            equal(await thrown(() => crypto.subtle.decrypt(algorithm, key, new Uint8Array(3))), "OperationError");
        }
        for (const tagLength of [0, 8, 31, 136]) {
            const algorithm = { name: "AES-GCM", iv: new Uint8Array(12), tagLength };
            equal(await thrown(() => crypto.subtle.encrypt(algorithm, key, data)), "OperationError");
            equal(await thrown(() => crypto.subtle.decrypt(algorithm, key, data)), "OperationError");
        }
    "#;

    huge_rsa_keys_are_not_made: r#"
        const began = performance.now();
        for (const name of ["RSA-OAEP", "rsa-pss", "RSASSA-PKCS1-v1_5"]) {
            const algorithm = { name, modulusLength: 1_000_000, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
            const usages = name === "RSA-OAEP" ? ["encrypt", "decrypt"] : ["sign", "verify"];
            equal(await thrown(() => crypto.subtle.generateKey(algorithm, true, usages)), "OperationError");
        }
        equal(performance.now() - began < 2000, true);
        const nameless = await crypto.subtle.generateKey({}, false, ["sign"]).catch((error) => error.name);
        equal(nameless, "TypeError");
        const made = await crypto.subtle.generateKey({ name: "RSA-PSS", modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" }, true, ["sign", "verify"]);
        equal(made.publicKey.algorithm.modulusLength, 1024);
    "#;
}
