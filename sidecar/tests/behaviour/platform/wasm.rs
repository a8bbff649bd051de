//! WebAssembly within an instance's limit of memory, which its memories and their growth count against: 128 MiB, 2048 pages.

crate::truths! {
    a_memory_grows_as_far_as_the_limit: r#"
        const { grow } = grown([[0, 1]]);
        grow(1000);
        equal(await thrown(() => grow(1048)), "RuntimeError");
        grow(1000);
        const wide = new WebAssembly.Memory({ address: "i64", initial: 1n, maximum: 100_000n });
        equal(await thrown(() => wide.grow(2048n)), "RangeError");"#;
    memories_of_instances_that_are_gone_are_not_counted: r#"
        for (let i = 0; i < 20; i++) grown([[0, 0]]).grow(160);
        for (let i = 0; i < 20; i++) grown([[0, 0xa0, 1]]).grow(0);"#;
    memories_that_begin_too_large_are_refused: r#"
        const [fits, more] = [[0, 0x84, 7], [0, 0x80, 9]]; // 900 and 1152 pages
        grown([fits, fits]);
        for (const declared of [[fits, more], [[1, 0x81, 0x10, 0x81, 0x10]]]) {
            const code = growing(declared);
            const module = await WebAssembly.compile(code);
            equal(await thrown(() => new WebAssembly.Instance(module)), "RangeError");
            equal(await thrown(() => WebAssembly.instantiate(module)), "RangeError");
            equal(await thrown(() => WebAssembly.instantiate(code)), "RangeError");
        }"#;
    a_module_has_few_memories: r#"
        const small = [0, 1];
        const memory = new WebAssembly.Memory({ initial: 1 });
        grown([small, small, small, small]).grow(1);
        const headers = { "content-type": "application/wasm" };
        for (const [declared, imported] of [[Array(5).fill(small), 0], [[], 5], [[small], 4]]) {
            const code = growing(declared, imported);
            const module = new WebAssembly.Module(code);
            Object.setPrototypeOf(module, null); // it is a module all the same
            const m = { m: { m: memory } };
            equal(await thrown(() => new WebAssembly.Instance(module, m)), "RangeError");
            equal(await thrown(() => WebAssembly.instantiate(module, m)), "RangeError");
            equal(await thrown(() => WebAssembly.instantiate(code, m)), "RangeError");
            const streamed = () => WebAssembly.instantiateStreaming(new Response(code, { headers }), m);
            equal(await thrown(streamed), "RangeError");
        }"#;
    a_module_cannot_become_another_on_its_way: r#"
        const code = growing(Array(5).fill([0, 1])), harmless = growing([[0, 1]]);
        const { then, constructor: Original } = Promise.prototype;
        const outcome = (promise) => new Original((resolve) => {
            Reflect.apply(then, promise, [() => resolve("made"), ({ name }) => resolve(name)]);
        });
        const swapped = (value) => value instanceof WebAssembly.Module ? code.slice() : value;
        const headers = { "content-type": "application/wasm" };
        const instantiated = [
            () => WebAssembly.instantiate(code.slice()),
            () => WebAssembly.instantiateStreaming(new Response(code, { headers })),
        ];
        for (const instantiate of instantiated) {
            Promise.prototype.constructor = Object;
            Promise.prototype.then = function (done, failed) {
                return Reflect.apply(then, this, [(value) => done(swapped(value)), failed]);
            };
            const seen = await outcome(instantiate());
            Promise.prototype.constructor = Original;
            Promise.prototype.then = then;
            equal(seen, "RangeError");
        }
        // A module with a then() is asked for what it stands for.
        WebAssembly.Module.prototype.then = (done) => done(code.slice());
        const seen = await outcome(WebAssembly.instantiate(harmless.slice()));
        delete WebAssembly.Module.prototype.then;
        equal(seen, "TypeError");"#;
    what_is_replaced_does_not_lead_around_the_limit: r#"
        const originals = [];
        Object.prototype.get = (target, key) => { originals.push(target); return target[key]; };
        WebAssembly.Instance.prototype;
        WebAssembly.Memory.prototype;
        delete Object.prototype.get;
        equal(originals.length, 0);
        const kept = new WebAssembly.Memory({ initial: 1500 });
        let asked = 0;
        const initial = { valueOf: () => asked++ === 0 ? 0 : 1500 };
        equal(await thrown(() => new WebAssembly.Memory({ initial })), "RangeError");
        asked = 0;
        kept.grow(initial);
        equal(kept.buffer.byteLength, 1500 * 65536);"#;
    nothing_of_it_is_seen: r#"
        const memory = new WebAssembly.Memory({ initial: 1 });
        const code = growing([[0, 1]], 1);
        const { module, instance } = await WebAssembly.instantiate(code, { m: { m: memory } });
        made(module, WebAssembly.Module);
        made(instance, WebAssembly.Instance);
        equal(WebAssembly.Module.imports(module), [{ module: "m", name: "m", kind: "memory" }]);
        equal(WebAssembly.Module.exports(module), [{ name: "grow", kind: "function" }]);
        equal(Object.keys(instance.exports), ["grow"]);
        equal(instance.exports.grow.name, "0");
        instance.exports.grow(1);
        equal(memory.buffer.byteLength, 2 << 16);
        made(await WebAssembly.instantiate(structuredClone(module), { m: { m: memory } }), WebAssembly.Instance);
        for (const [name, length] of [["instantiate", 1], ["instantiateStreaming", 1], ["Instance", 1], ["Memory", 1]]) {
            equal([WebAssembly[name].name, WebAssembly[name].length], [name, length]);
        }
        equal(await thrown(() => WebAssembly.instantiate(code, {})), "TypeError");
        equal(await thrown(() => WebAssembly.instantiate(code)), "TypeError");
        equal(await thrown(() => WebAssembly.instantiate(new Uint8Array(8))), "CompileError");
        equal(await thrown(() => WebAssembly.instantiate()), "TypeError");
        equal(await thrown(() => new WebAssembly.Instance({})), "TypeError");"#;
}
