//! Workers that allocate and recurse without end.

use super::limited;
use crate::app::eventually;

crate::deeds! {
    + the_log_says_which_memory_it_was;
    objects: Error "const all = []; for (;;) all.push({ a: [1, 2, 3] })";
    strings: Error "const all = []; for (let i = 0;; i++) all.push('x'.repeat(1000) + i)";
    maps: Error "const map = new Map(); for (let i = 0;; i++) map.set(i, [i])";
    properties: Error "const all = {}; for (let i = 0;; i++) all['p' + i] = { i }";
    closures: Error "const all = []; for (;;) { const big = new Array(100).fill(all); all.push(() => big); }";
    promises: Error "const all = []; for (;;) all.push(new Promise(() => {}).then(() => {}))";
    objects_in_turns: Error "const all = []; for (;;) { for (let i = 0; i < 10_000; i++) all.push({ i }); await new Promise((resolve) => setTimeout(resolve)); }";
    arrays_of_doubles: Error "const all = []; for (;;) all.push(new Array(3e7).fill(1.5))";
    one_huge_array: Error "const all = []; for (;;) all.push(new Array(5e7).fill(1.5, 0, 1e7))";
    strings_that_double: Error "let s = 'abcdefgh'; for (;;) { s += s; /z$/.test(s); }";
    wide_strings_that_double: Error "let s = '\\u0101'.repeat(1 << 20); for (;;) { s += s; /z$/.test(s); }";
    joined_strings: Error "const all = []; for (;;) all.push(new Array(1e6).join('abc'))";
    array_buffers: Error "const all = []; for (;;) all.push(new ArrayBuffer(1 << 20))";
    typed_arrays: Error "const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1))";
    one_huge_array_buffer: Error "new ArrayBuffer(2 ** 40)";
    a_resizable_array_buffer: Error "const b = new ArrayBuffer(0, { maxByteLength: 2 ** 32 }); b.resize(2 ** 32); new Uint8Array(b).fill(1)";
    resizable_array_buffers: Error "const all = []; for (;;) { const b = new ArrayBuffer(0, { maxByteLength: 2 ** 24 }); b.resize(2 ** 24); new Uint8Array(b).fill(1); all.push(b); }";
    clones_of_resizable_array_buffers: Any "const all = [], b = new ArrayBuffer(1, { maxByteLength: 8192 }); for (;;) all.push(structuredClone(b))";
    a_buffer_of_a_size_that_changes: Error "let n = 0; const b = new ArrayBuffer(0, { get maxByteLength() { return n++ ? 2 ** 32 : 1; } }); b.resize(2 ** 32)";
    a_growable_shared_array_buffer: Error "const b = new SharedArrayBuffer(0, { maxByteLength: 2 ** 32 }); b.grow(2 ** 32); new Uint8Array(b).fill(1)";
    shared_array_buffers: Error "const all = []; for (;;) all.push(new SharedArrayBuffer(1 << 20))";
    web_assembly_memories: Error "const all = []; for (;;) all.push(new WebAssembly.Memory({ initial: 16 }))";
    a_web_assembly_memory_that_grows: Error "const m = new WebAssembly.Memory({ initial: 1 }); for (;;) m.grow(100)";
    a_web_assembly_memory_behind_what_is_replaced: Error "WeakMap.prototype.get = () => ({ bytes: Infinity }); globalThis.FinalizationRegistry = class { register() {} }; const m = new WebAssembly.Memory({ initial: 1 }); m.grow(10_000)";
    web_assembly_tables: Error "const all = []; for (;;) all.push(new WebAssembly.Table({ element: 'anyfunc', initial: 1e7 }))";
    a_web_assembly_table_that_grows: Error "const t = new WebAssembly.Table({ element: 'externref', initial: 1 }); for (;;) t.grow(1e5, {})";
    shared_web_assembly_memories: Error "const all = []; for (;;) all.push(new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true }))";
    blobs: Error "const all = []; for (;;) all.push(new Blob(['x'.repeat(1 << 20)]))";
    encoded_text: Error "const all = [], e = new TextEncoder(); for (;;) all.push(e.encode('x'.repeat(1 << 20)))";
    structured_clones: Error "const all = []; for (;;) all.push(structuredClone({ a: new Array(1000).fill('x') }))";
    weak_references: Error "const all = [], r = new FinalizationRegistry(() => {}); for (;;) { const o = {}; r.register(o, o.constructor); all.push(o); }";
    recursion: Error "const f = () => f() + 1; f()";
    recursion_through_builtins: Error "const f = () => [1].map(f); f()";
    recursion_through_proxies: Error "const p = new Proxy({}, { get: (t, k, r) => r[k] }); p.x";
    recursion_that_catches: Any "let n = 0; const f = () => { try { f(); } catch { if (n++ < 1000) f(); } }; f()";
    recursion_in_a_getter_of_a_message: Error "const o = { get a() { return port.postMessage(o); } }; port.postMessage(o)";
    a_deep_message: Error "let deep = {}; for (let i = 0; i < 3e5; i++) deep = { deep }; port.postMessage(deep)";
    a_deep_value: Error "let deep = []; for (let i = 0; i < 3e5; i++) deep = [deep]; await storage.put('deep', deep)";
    deep_json: Error "JSON.stringify(JSON.parse('['.repeat(1e6) + ']'.repeat(1e6)))";
    a_deep_script: Error "(0, eval)('('.repeat(1e6))";
    a_deep_regexp: Error "new RegExp('('.repeat(1e6) + ')'.repeat(1e6))";
    a_deep_prototype_chain: Any "let o = {}; for (let i = 0; i < 1e6; i++) o = Object.create(o); o.missing";
    bound_functions: Any "let f = () => 1; for (let i = 0; i < 1e6; i++) f = f.bind(); f()";
    a_rope: Any "let s = ''; for (let i = 0; i < 3e5; i++) s = 'ab' + s + 'c'; /z$/.test(s)";
}

async fn the_log_says_which_memory_it_was() {
    let mut setup = limited(
        r#"import { grown } from "./growing.js";
        const kept = Array.from({ length: 8 }, () => grown([[0, 0]]));
        export const jobs = { async deed() {
            for (const { grow } of kept) grow(400);
        } };"#,
    );
    setup.add("growing.js", include_str!("../surface/growing.js"));
    let app = setup.start().await;
    let (status, text) = app.get("/victim/deed").await;
    assert_eq!((status, text.as_str()), (503, "closed: lost"));
    let said = "ArrayBuffers and WebAssembly memories went over its limit";
    let is_said = async || {
        app.log
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.text.contains(said))
    };
    assert!(eventually(is_said).await, "{:?}", app.log.lock().unwrap());
    app.stop().await;
}
