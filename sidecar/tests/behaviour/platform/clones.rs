//! Structured clones: `storage`, ports, `structuredClone` and `MessagePort` agree on what can be cloned.

use crate::lab::lab;

/// Keeps values with `put`, and looks at them with `get` after the worker was started anew.
const KEEPER: &str = r#"
import { equal, made } from "./check.js";
const hmac = { name: "HMAC", hash: "SHA-256" };
const ec = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const message = new Uint8Array([1, 2, 3]);

export const jobs = {
  async put() {
    const blob = new Blob(["hello", new Uint8Array([32, 119])], { type: "text/x-mine" });
    const file = new File([blob.slice(1, 3), "!"], "name.txt", { type: "text/plain", lastModified: 5 });
    const secret = await crypto.subtle.importKey("raw", message, hmac, false, ["sign"]);
    const pair = await crypto.subtle.generateKey(ec, false, ["sign", "verify"]);
    await storage.put({ nested: { list: [blob, new Map([["file", file]])], empty: new Blob() }, secret, pair });
    await storage.put("mac", await crypto.subtle.sign("HMAC", secret, message));
    return "put";
  },
  async get() {
    const { list: [blob, map], empty } = await storage.get("nested");
    made(blob, Blob);
    equal([blob.type, blob.size, await blob.text()], ["text/x-mine", 7, "hello w"]);
    const file = map.get("file");
    made(file, File);
    equal([file.name, file.type, file.lastModified, await file.text()], ["name.txt", "text/plain", 5, "el!"]);
    equal([empty.size, await empty.text()], [0, ""]);
    const secret = await storage.get("secret");
    made(secret, CryptoKey);
    equal([secret.type, secret.extractable, secret.usages], ["secret", false, ["sign"]]);
    equal(secret.algorithm, { name: "HMAC", length: 24, hash: { name: "SHA-256" } });
    const [again, once] = [await crypto.subtle.sign("HMAC", secret, message), await storage.get("mac")];
    equal([...new Uint8Array(again)], [...new Uint8Array(once)]);
    const { privateKey, publicKey } = await storage.get("pair");
    equal([privateKey.extractable, publicKey.extractable, publicKey.usages], [false, true, ["verify"]]);
    equal(await crypto.subtle.verify(ec, publicKey, await crypto.subtle.sign(ec, privateKey, message), message), true);
    return "there";
  },
};"#;

crate::truths! {
    + blobs_and_keys_are_stored_with_what_is_in_them;

    blobs_and_keys_arrive_at_another_worker: r#"
        const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
        const { port } = new ServerlessWorker("./worker.js", "another");
        port.start();
        port.postMessage({ job: "send", argument: [new File(["inside"], "f"), key] });
        equal((await next(port, "message")).data.text, "inside f AES-GCM");
        port.close();
        return "held";
    } , async send([file, key]) {
        made(key, CryptoKey);
        const iv = new Uint8Array(12);
        const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, key, new Uint8Array(3));
        equal(sealed.byteLength, 19);
        return `${await file.text()} ${file.name} ${key.algorithm.name}`;
    "#;

    what_cannot_be_cloned_is_refused_everywhere_at_any_depth: r#"
        const { port } = new ServerlessWorker("./worker.js", "another");
        const channel = new MessageChannel();
        const bad = {
            URL: new URL("http://a/"), URLSearchParams: new URLSearchParams("a=b"), Headers: new Headers(),
            Request: new Request("http://a/"), Response: new Response("text"), FormData: new FormData(),
            AbortController: new AbortController(), AbortSignal: AbortSignal.abort(),
            ServerlessWorker: new ServerlessWorker("./worker.js", "x"), port, event: new Event("x"),
            target: new EventTarget(), ReadableStream: new ReadableStream(), WritableStream: new WritableStream(),
            TransformStream: new TransformStream(), TextEncoder: new TextEncoder(), TextDecoder: new TextDecoder(),
            MessagePort: channel.port1, MessageChannel: channel, promise: Promise.resolve(), f() {}, symbol: Symbol(),
            WeakMap: new WeakMap(), WeakRef: new WeakRef({}), pair: new WebSocketPair()[0], crypto,
            subtle: crypto.subtle, performance, storage, URLPattern: new URLPattern(), global: globalThis,
            compression: new CompressionStream("gzip"), decompression: new DecompressionStream("gzip"),
            reader: new ReadableStream().getReader(), proxy: new Proxy({}, {}), mark: performance.mark("a"),
        };
        const ways = {
            put: (value) => storage.put("key", value),
            postMessage: (value) => port.postMessage(value),
            structuredClone,
            MessagePort: (value) => channel.port2.postMessage(value),
        };
        const wrong = [];
        for (const [name, value] of Object.entries(bad)) {
            for (const [way, clone] of Object.entries(ways)) {
                for (const nested of [value, [{ deep: new Map([[1, value]]) }]]) {
                    const error = await thrown(() => clone(nested));
                    if (error !== "DataCloneError") wrong.push(`${way} ${name} ${nested === value}: ${error}`);
                }
            }
        }
        equal(wrong, []);
        equal(await storage.get("key"), undefined);
    "#;

    what_can_be_cloned_is: r#"
        const blob = new Blob(["text"], { type: "a/b" });
        const key = await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-1" }, true, ["sign"]);
        const { port1, port2 } = new MessageChannel();
        port1.postMessage([blob, key]);
        const [heard, heardKey] = (await new Promise((resolve) => port2.onmessage = resolve)).data;
        port1.close();
        for (const [copy, copied] of [[structuredClone(blob), structuredClone(key)], [heard, heardKey]]) {
            equal([copy.type, await copy.text()], ["a/b", "text"]);
            made(copied, CryptoKey);
            equal((await crypto.subtle.exportKey("jwk", copied)).k, (await crypto.subtle.exportKey("jwk", key)).k);
        }
        const error = structuredClone(new DOMException("m", "AbortError"));
        made(error, DOMException);
        equal([error.name, error.message], ["AbortError", "m"]);
        const { port1: moved } = new MessageChannel();
        const module = new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
        made(structuredClone([module])[0], WebAssembly.Module);
        equal(await thrown(() => storage.put("module", module)), "DataCloneError");
        made(structuredClone({ moved }, { transfer: [moved] }).moved, MessagePort);
    "#;

    transfers_and_shared_memory_are_checked: r#"
        equal(await thrown(() => structuredClone(new SharedArrayBuffer(8))), "DataCloneError");
        let error;
        try { structuredClone({ a: new SharedArrayBuffer(8) }); } catch (e) { error = e; }
        made(error, DOMException);
        for (const item of [new URL("http://a/"), new Blob(["a"]), {}, new Headers()]) {
            equal(await thrown(() => structuredClone(1, { transfer: [item] })), "DataCloneError");
            equal(await thrown(() => new MessageChannel().port1.postMessage(1, [item])), "DataCloneError");
        }
        const buffer = new ArrayBuffer(8);
        equal([structuredClone(buffer, { transfer: [buffer] }).byteLength, buffer.byteLength], [8, 0]);
        equal(await thrown(() => structuredClone(1, { transfer: [buffer] })), "DataCloneError");
        const stream = ReadableStream.from(["a"]);
        made(structuredClone(stream, { transfer: [stream] }), ReadableStream);
        equal([structuredClone.length, await thrown(() => structuredClone())], [1, "TypeError"]);
    "#;

    keys_that_are_not_extractable_stay_so: r#"
        const key = await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-1" }, false, ["sign"]);
        equal(Object.getOwnPropertyNames(CryptoKey).sort(), ["length", "name", "prototype"]);
        for (const object of [key, CryptoKey.prototype]) {
            for (const symbol of Object.getOwnPropertySymbols(object)) {
                if (typeof object[symbol] === "function" && /host/.test(symbol.description)) {
                    equal(await thrown(() => object[symbol].call(key)), "DataCloneError");
                }
            }
        }
        const copy = structuredClone(key);
        equal(await thrown(() => crypto.subtle.exportKey("raw", copy)), "InvalidAccessError");
    "#;

    storage_keys_are_well_formed_and_null_means_no_options: r#"
        await storage.put("\ufffd", "kept");
        for (const key of ["\ud800", "a\udc00"]) {
            equal(await thrown(() => storage.put(key, 1)), "TypeError");
            equal(await thrown(() => storage.put({ [key]: 1 })), "TypeError");
            equal([await thrown(() => storage.get(key)), await thrown(() => storage.delete([key]))], ["TypeError", "TypeError"]);
            equal(await thrown(() => storage.list({ prefix: key })), "TypeError");
        }
        equal(await storage.get("\ufffd"), "kept");
        equal([...await storage.list(null)], [["\ufffd", "kept"]]);
        equal(await thrown(() => storage.list(5)), "TypeError");
        await storage.transaction(async (txn) => equal((await txn.list(null)).size, 1));
    "#;
}

async fn blobs_and_keys_are_stored_with_what_is_in_them() {
    let mut setup = lab(KEEPER);
    setup.add("check.js", include_str!("../surface/check.js"));
    let app = setup.start().await;
    assert_eq!(app.text("/w/put").await, "put");
    assert_eq!(app.text("/w/get").await, "there");
    let store = app.stop().await;
    let mut setup = lab(KEEPER);
    setup.add("check.js", include_str!("../surface/check.js"));
    setup.store = Some(store);
    let app = setup.start().await;
    assert_eq!(app.get("/w/get").await, (200, "there".to_owned()));
    app.stop().await;
}
