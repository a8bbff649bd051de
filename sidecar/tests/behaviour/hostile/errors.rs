//! Workers that throw wherever they can, and change what everything stands on.

use crate::app::Setup;
use crate::hostile::limited;
use crate::lab::recovers;

crate::deeds! {
    + every_handler_throws, handlers_that_cannot_be_read;
    null_is_thrown: Error "throw null";
    an_error_that_cannot_be_shown: Survived "Promise.reject({ get stack() { throw 1; }, toString() { throw 2; } })";
    unhandled_rejections: Survived "for (let i = 0; i < 1000; i++) Promise.reject(new Error('x'))";
    a_throwing_timer: Survived "setTimeout(() => { throw new Error('x'); }); await new Promise((resolve) => setTimeout(resolve, 20))";
    a_throwing_microtask: Survived "queueMicrotask(() => { throw new Error('x'); }); await new Promise((resolve) => setTimeout(resolve, 20))";
    a_throwing_listener: Any "addEventListener('error', () => { throw new Error('again'); }); reportError(new Error('x'))";
    a_throwing_rejection_listener: Survived "addEventListener('unhandledrejection', (e) => { e.preventDefault(); throw new Error('again'); }); Promise.reject(1); await new Promise((resolve) => setTimeout(resolve, 20))";
    throwing_prepare_stack_trace: Any "Error.prepareStackTrace = () => { throw new Error('x'); }; Promise.reject(new Error('y')); await new Promise((resolve) => setTimeout(resolve, 20)); throw new Error('z')";
    a_throwing_proxy_as_message: Error "port.postMessage(new Proxy({}, { get() { throw new Error('x'); }, ownKeys() { throw new Error('y'); } }))";
    a_throwing_getter_of_a_value: Error "await storage.put('k', { get a() { throw new Error('x'); } })";
    a_throwing_key: Error "await storage.get({ toString() { throw new Error('x'); } })";
    throwing_options: Error "await storage.list(new Proxy({}, { get() { throw new Error('x'); } }))";
    throwing_entries: Error "await storage.put(new Proxy({}, { ownKeys() { throw new Error('x'); } }))";
    a_revoked_proxy: Error "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); port.postMessage(proxy)";
    a_value_that_writes_while_it_is_read: Survived "await storage.put('k', { get a() { storage.put('k', 1); storage.delete('l'); return 2; } })";
    a_logged_proxy: Survived "console.log(new Proxy({}, { get() { throw new Error('x'); } })); console.log({ get a() { throw new Error('x'); }, toString() { throw 1; } }, Symbol('s'), 1n)";
    a_giant_log: Survived "for (let i = 0; i < 20; i++) console.log('x'.repeat(1e6))";
    a_deep_log: Survived "let deep = {}; for (let i = 0; i < 1e4; i++) deep = { deep }; console.log(deep); const c = {}; c.c = c; console.log(c)";
    a_tampered_then: Any "Promise.prototype.then = () => { throw new Error('x'); }; await storage.put('a', 1)";
    a_tampered_promise: Any "Promise.resolve = Promise.all = Promise.reject = () => { throw new Error('x'); }; globalThis.Promise = undefined; await storage.put('a', 1)";
    tampered_iterators: Any "Array.prototype[Symbol.iterator] = () => { throw new Error('x'); }; Map.prototype[Symbol.iterator] = Set.prototype.add = null; await storage.list(); await storage.get(['a'])";
    tampered_objects: Any "for (const key of ['limit', 'prefix', 'data', 'then', 'text', 'webSocket', 'stack']) Object.defineProperty(Object.prototype, key, { set() { throw new Error('x'); }, get() { return {}; }, configurable: true }); await storage.list(); await storage.put('a', {})";
    tampered_arrays: Any "Array.prototype.map = Array.prototype.push = Array.prototype.filter = null; Object.defineProperty(Array.prototype, 0, { set() { throw new Error('x'); } }); await storage.get(['a', 'b']); await storage.list()";
    tampered_functions: Any "Function.prototype.call = Function.prototype.apply = Reflect.apply = Reflect.construct = () => { throw new Error('x'); }; await storage.put('a', 1)";
    tampered_bytes: Any "Uint8Array.prototype.length = 1; Object.setPrototypeOf(Uint8Array.prototype, null); ArrayBuffer.prototype.slice = null; ArrayBuffer.prototype.transfer = null; await storage.put('a', new Uint8Array(9)); await storage.get('a')";
    tampered_globals: Any "for (const key of Object.getOwnPropertyNames(globalThis)) { try { globalThis[key] = undefined; } catch {} try { delete globalThis[key]; } catch {} }";
    tampered_events: Any "for (const type of [Event, EventTarget, MessageEvent]) for (const key of Reflect.ownKeys(type.prototype)) { try { Object.defineProperty(type.prototype, key, { get() { throw new Error('x'); } }); } catch {} }";
    tampered_ports: Any "const p = Object.getPrototypeOf(port); for (const key of Reflect.ownKeys(p)) { try { p[key] = () => { throw new Error('x'); }; } catch {} } try { new p.constructor(); } catch {}";
    frozen_built_ins: Any "for (const type of [Object, Array, Promise, Map, Error, Function]) { Object.freeze(type.prototype); Object.freeze(type); } await storage.put('a', [1]); await storage.get('a')";
    methods_on_strangers: Error "storage.get.call(undefined, 'k'); Object.getPrototypeOf(port).postMessage.call({}, 1)";
}

/// Every handler throws, and the worker keeps answering on the ports it has.
pub async fn every_handler_throws() {
    let server = r#"
        export default {
          async fetch() {
            const { promise, resolve } = Promise.withResolvers();
            const { port } = new ServerlessWorker("./worker.js");
            port.onmessage = ({ data }) => resolve(new Response(data));
            port.postMessage(1);
            port.postMessage(2);
            return promise;
          },
        };"#;
    let worker = r#"
        let thrown = 0;
        setAlarm(1);
        export default {
          connect({ ports: [port] }) {
            port.onmessage = ({ data }) => {
              if (data === 2) port.postMessage(`${thrown > 0}`);
              thrown++;
              throw new Error("from onmessage");
            };
            port.onclose = () => { throw new Error("from onclose"); };
            throw new Error("from connect");
          },
          get alarm() { throw new Error("from the getter of alarm"); },
        };"#;
    let app = Setup::new(&[("server.js", server), ("worker.js", worker)])
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(app.text("/").await, "true");
    }
    for text in ["connect", "onmessage", "onclose", "the getter of alarm"] {
        app.expect_log(&format!("from {text}")).await;
    }
    assert_eq!(app.text("/").await, "true");
    app.stop().await;
}

/// A default export whose handlers cannot even be looked up.
pub async fn handlers_that_cannot_be_read() {
    let user = "export const jobs = { ping: () => 'pong' };";
    let mut setup = limited(user);
    for (path, _, code) in &mut setup.modules {
        if path == "worker.js" {
            *code = br#"
                import "./user.js";
                let broken = name === "victim";
                export default new Proxy({}, { get(_, key) {
                    if (broken) throw new Error("from a trap");
                    if (key === "connect") return ({ ports: [port] }) => { port.onmessage = () => port.postMessage({ text: "pong" }); };
                } });"#
            .to_vec();
        }
    }
    setup.limits.request = std::time::Duration::from_secs(2);
    let app = setup.start().await;
    let (status, _) = crate::hostile::with_neighbours(&app, app.get("/victim/ping")).await;
    assert_ne!(status, 200);
    app.expect_log("from a trap").await;
    recovers(&app, "/neighbour/ping", "pong").await;
    app.stop().await;
}
