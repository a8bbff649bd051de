//! Workers that do not give their thread back.

crate::deeds! {
    a_loop_in_a_handler: Error "for (;;) {}";
    a_loop_after_an_await: Error "await 1; for (;;) {}";
    a_loop_in_a_timer: Error "setTimeout(() => { for (;;) {} }, 1); await new Promise(() => {})";
    a_loop_that_catches: Error "for (;;) { try { for (;;) {} } catch {} finally { continue; } }";
    a_loop_of_awaits: Error "for (;;) await null";
    microtasks_without_end: Error "const again = () => { Promise.resolve().then(again); }; again(); await new Promise(() => {})";
    queued_microtasks_without_end: Error "const again = () => queueMicrotask(again); again(); await new Promise(() => {})";
    microtasks_that_multiply: Error "const again = () => { queueMicrotask(again); queueMicrotask(again); }; again(); await new Promise(() => {})";
    an_evil_regexp: Error r#"/^(a+)+$/.test("a".repeat(60) + "b")"#;
    a_loop_in_a_getter_of_a_message: Error "port.postMessage({ get a() { for (;;) {} } })";
    a_loop_in_a_getter_of_a_value: Error r#"await storage.put("k", { get a() { for (;;) {} } })"#;
    a_loop_in_to_string_of_a_key: Error "await storage.get({ toString() { for (;;) {} } })";
    a_loop_in_a_proxy: Error "Object.keys(new Proxy({}, { ownKeys() { for (;;) {} } }))";
    a_loop_in_a_comparator: Error "[3, 2, 1].sort(() => { for (;;) {} })";
    a_loop_in_to_json: Error "JSON.stringify({ toJSON() { for (;;) {} } })";
    a_loop_in_an_iterator: Error "[...{ [Symbol.iterator]: () => ({ next: () => ({ done: false }) }) }].length";
    a_loop_in_an_error_s_stack: Error "const e = new Error(); Object.defineProperty(e, 'stack', { get() { for (;;) {} } }); Promise.reject(e); await new Promise(() => {})";
    a_loop_in_a_then: Error "await { then() { for (;;) {} } }";
    a_loop_in_a_logged_value: Error "console.log({ get [Symbol.toStringTag]() { for (;;) {} } }); for (;;) {}";
    a_loop_in_a_transaction: Error "await storage.transaction(() => { for (;;) {} })";
    a_loop_in_an_abort_listener: Error "const a = new AbortController(); a.signal.onabort = () => { for (;;) {} }; a.abort()";
    a_loop_in_web_assembly: Error r#"
        const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11];
        new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes))).exports.f()"#;
    a_large_power: Any "(7n ** 3_000_000n).toString().length";
    atomics_wait: Error "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)";
    an_interval_of_loops: Error "setInterval(() => { const end = performance.now() + 300; while (performance.now() < end); }, 0); for (;;) {}";
}
