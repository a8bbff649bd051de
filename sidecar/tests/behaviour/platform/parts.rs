//! Parts of the surface that are loaded when they are first used: nobody sees that they were not there before.

crate::truths! {
    + a_clone_may_be_the_first_to_need_a_part, a_global_may_change_while_its_part_is_loaded;
    globals_are_data_properties_before_they_are_looked_at: r#"
        const enumerable = ["atob", "btoa", "fetch", "performance", "structuredClone"];
        for (const name of [...LAZY, ...enumerable]) {
            equal(name in globalThis && Object.hasOwn(globalThis, name), true);
            const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
            equal(Object.keys(descriptor), ["value", "writable", "enumerable", "configurable"]);
            const { writable, configurable } = descriptor;
            equal([name, writable, descriptor.enumerable, configurable], [name, true, enumerable.includes(name), true]);
            equal(descriptor.value === globalThis[name], true);
        }"#;
    globals_can_be_replaced_before_they_are_looked_at: r#"
        globalThis.Headers = "mine";
        equal(Headers, "mine");
        Object.defineProperty(globalThis, "FormData", { get: () => "got" });
        equal(FormData, "got");
        equal(delete globalThis.FileReader, true);
        equal(typeof FileReader, "undefined");
        made(new Response("", { headers: { a: "b" } }).headers, Object);"#;
    parts_use_nothing_that_the_application_replaced: r#"
        const { call } = Function.prototype, { ownKeys, getOwnPropertyDescriptor, defineProperty, apply } = Reflect;
        const names = [...LAZY, "atob", "btoa", "fetch", "performance", "structuredClone"], text = String;
        const ruined = [Object, Reflect, Array, String, Promise, Object.prototype, Array.prototype, String.prototype, RegExp.prototype,
            Map.prototype, Set.prototype, WeakMap.prototype, Function.prototype, Promise.prototype, Symbol.prototype];
        const kept = [];
        for (const object of ruined) {
            for (const name of ownKeys(object)) {
                const descriptor = getOwnPropertyDescriptor(object, name);
                if (name === Symbol.iterator || name === "constructor" || name === "prototype" || !descriptor.configurable || typeof descriptor.value !== "function") continue;
                kept.push([object, name, descriptor]);
            }
        }
        for (const name of ["value", "writable", "enumerable"]) kept.push([Object.prototype, name, undefined]);
        const ruin = (name) => () => { throw name; };
        for (let i = 0; i < kept.length; i++) {
            const value = kept[i][2] === undefined ? "polluted" : ruin(kept[i][1]);
            defineProperty(kept[i][0], kept[i][1], { __proto__: null, value, writable: true, configurable: true });
        }
        let seen = 0, failed;
        for (let i = 0; i < names.length && failed === undefined; i++) {
            try {
                if (globalThis[names[i]] !== undefined) seen++;
            } catch (name) {
                failed = [names[i], name];
            }
        }
        for (let i = kept.length - 1; i >= 0; i--) {
            if (kept[i][2] === undefined) delete kept[i][0][kept[i][1]];
            else defineProperty(kept[i][0], kept[i][1], kept[i][2]);
        }
        equal([failed?.map(text), seen], [undefined, names.length]);
        equal(await new Response(new Blob([new URL("http://a/b").href]).stream()).text(), "http://a/b");"#;
    a_part_that_the_stack_had_no_room_for_is_loaded_later: r#"
        const deepest = () => {
            try { deepest(); } catch { for (const name of LAZY) { try { globalThis[name]; } catch {} } }
        };
        deepest();
        for (const name of LAZY) equal(typeof globalThis[name], name === "console" ? "object" : "function");
        const form = new FormData();
        form.append("file", new File(["text"], "name"));
        equal(await (await new Response(form).formData()).get("file").text(), "text");
        const key = await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, true, ["sign"]);
        made(structuredClone([key, new Blob(["a"])])[0], CryptoKey);
        const { readable } = new CompressionStream("gzip");
        made(structuredClone(readable, { transfer: [readable] }), ReadableStream);"#;
    a_part_is_loaded_however_little_stack_there_was_before: r#"
        for (const name of ["console", "URL", "Blob", "ReadableStream", "CompressionStream", "Crypto", "WebSocket", "Request", "fetch", "WebAssembly"]) {
            let frames = 0, value, failed = "";
            const dive = () => {
                try { dive(); } catch {}
                if (value !== undefined || ++frames > 6000 || frames % 5 !== 0) return;
                try { value = globalThis[name]; } catch (error) { failed = error.message; }
            };
            dive();
            if (failed !== "" && failed !== "Maximum call stack size exceeded") throw new Error(`${name}: ${failed}`);
            equal([name, value !== undefined], [name, true]);
        }
        const url = URL.createObjectURL(new Blob(["text"]));
        equal(await (await fetch(url)).text(), "text");
        const key = await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
        made(structuredClone([key])[0], CryptoKey);
        const { readable } = new CompressionStream("gzip");
        made(structuredClone(readable, { transfer: [readable] }), ReadableStream);
        new WebAssembly.Memory({ initial: 1 }).grow(1);"#;
    a_part_that_the_application_kept_from_being_loaded_is_loaded_later: r#"
        for (const name of [...LAZY, "fetch", "structuredClone"]) {
            const { prototype } = Object, { iterator } = Symbol, { [iterator]: values } = Array.prototype;
            const polluted = ["get", "set", "value", "required", "defaultValue"];
            for (let at = 0; at < 40; at++) {
                let steps = 0;
                const stop = () => { if (steps++ === at) throw new RangeError("stopped"); };
                for (const key of polluted) {
                    Object.defineProperty(prototype, key, {
                        __proto__: null,
                        configurable: true,
                        get() { stop(); },
                        set(value) { Object.defineProperty(this, key, { __proto__: null, value, writable: true, enumerable: true, configurable: true }); },
                    });
                }
                Array.prototype[iterator] = function () { stop(); return values.call(this); };
                try { globalThis[name]; } catch {}
                Array.prototype[iterator] = values;
                for (const key of polluted) delete prototype[key];
                if (steps <= at) break;
            }
            equal([name, globalThis[name] === undefined], [name, false]);
        }
        const url = URL.createObjectURL(new Blob(["text"]));
        equal(await (await fetch(url)).text(), "text");
        const key = await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
        made(structuredClone([key])[0], CryptoKey);
        const { readable } = new CompressionStream("gzip");
        made(structuredClone(readable, { transfer: [readable] }), ReadableStream);"#;
    what_the_application_froze_keeps_no_part_from_being_loaded: r#"
        for (const object of [EventTarget, EventTarget.prototype, Event, Event.prototype, URL, URL.prototype, ArrayBuffer.prototype]) Object.freeze(object);
        for (const name of LAZY) globalThis[name];
        const url = URL.createObjectURL(new Blob(["text"]));
        equal(await (await fetch(url)).text(), "text");
        URL.revokeObjectURL(url);
        equal(await thrown(() => fetch(url)), "TypeError");"#;
    a_part_that_is_looked_at_while_it_is_loaded_is_one: r#"
        let inner, depth = 0;
        Object.defineProperty(Object.prototype, "required", {
            __proto__: null,
            configurable: true,
            get() {
                if (depth++ === 0) inner = [Blob, ReadableStream, Headers, Request, Response, URL, FormData];
            },
        });
        const outer = [Response, Request, Headers, ReadableStream, Blob, URL, FormData];
        delete Object.prototype.required;
        equal(depth > 0, true);
        for (const type of inner) equal([type.name, outer.includes(type)], [type.name, true]);
        equal([Blob, ReadableStream, Headers, Request, Response, URL, FormData].every((type, index) => type === inner[index]), true);
        made(await new Response("text").blob(), Blob);
        made(new Response("text").body, ReadableStream);
        made(new Request("http://a/", { headers: { a: "b" } }).headers, Headers);"#;
    nothing_of_the_platform_passes_by_the_application_as_a_part_is_loaded: r#"
        const seen = new Set(), { defineProperty } = Object;
        const names = ["Console", "inspectArgs", "MessagePort", "ReadableStream", "Blob", "BlobPart", "URLSearchParams", "StructuredSerializeOptions"];
        for (const name of names) {
            defineProperty(Object.prototype, name, {
                __proto__: null,
                configurable: true,
                get() { seen.add(`get ${name}`); },
                set(value) {
                    seen.add(`set ${name}`);
                    defineProperty(this, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
                },
            });
        }
        const [first] = LAZY.map((name) => globalThis[name]);
        for (const name of names) delete Object.prototype[name];
        equal(first === console, true);
        equal([...seen], []);"#;
}

async fn a_clone_may_be_the_first_to_need_a_part() {
    let worker = r#"
        export const jobs = {
            async put() {
                const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "AES-GCM", false, ["encrypt"]);
                await storage.put({ blob: new Blob(["of text"]), key, file: new File(["of a file"], "name") });
                return "stored";
            },
            blob: async () => (await storage.get("blob")).text(),
            file: async () => (await storage.get("file")).name,
            key: async () => { const key = await storage.get("key"); return `${key.algorithm.name} ${key instanceof CryptoKey}`; },
        };"#;
    for (part, wanted) in [
        ("blob", "of text"),
        ("file", "name"),
        ("key", "AES-GCM true"),
    ] {
        let setup = crate::lab::lab(worker);
        let class = setup.class();
        let app = setup.start().await;
        assert_eq!(app.text("/one/put").await, "stored");
        app.replace(class).await.unwrap(); // another isolate
        assert_eq!(app.text(&format!("/one/{part}")).await, wanted);
        app.stop().await;
    }
}

async fn a_global_may_change_while_its_part_is_loaded() {
    let changes = [
        "Blob",
        "delete globalThis.Blob",
        "globalThis.Blob = 5",
        "defineProperty(globalThis, 'Blob', { get: () => 5 })",
        "defineProperty(globalThis, 'Blob', { value: 5, writable: false, configurable: false })",
        "Object.freeze(globalThis)",
    ];
    for change in changes {
        let code = format!(
            r#"const {{ defineProperty }} = Object;
            let depth = 0;
            const change = () => {{ if (depth++ === 0) {{ {change}; }} }};
            for (const key of ["required", "defaultValue"]) {{
                defineProperty(Object.prototype, key, {{ __proto__: null, configurable: true, get: change, set() {{}} }});
            }}
            let seen;
            try {{ seen = typeof globalThis.Blob; }} catch (error) {{ seen = error.name; }}
            for (const key of ["required", "defaultValue"]) delete Object.prototype[key];
            equal([depth > 0, /^function$|^TypeError$/.test(seen)], [true, true]);"#
        );
        crate::platform::holds(&code).await;
    }
}
