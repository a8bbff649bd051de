//! Section 5: module scope and globals.

use portside_exchange::Message;

use super::kit::{check, setup, start};
use crate::app::Setup;
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r037_top_level_await_loads_state,
    r037_top_level_await_may_wait_for_a_worker,
    r038_a_worker_has_its_globals,
    r039_the_web_platform_is_there,
    r040_websocket_pairs_answer_upgrades,
    r040_a_websocket_may_reconnect_if_it_is_accepted,
    r041_promises_have_resolvers,
    r042_callers_hear_that_a_module_fails,
    r042_failing_modules_are_tried_again_ever_more_slowly,
    r042_ending_while_loading_is_a_failure_to_load,
];

async fn r037_top_level_await_loads_state() {
    let worker = r#"
        let count = await storage.get("count") ?? 0;
        export default { connect({ ports: [port] }) { port.onmessage = async ({ data }) => {
            await storage.put("count", ++count);
            port.postMessage(count);
            if (data === "end") self.terminate();
        }; } };
    "#;
    let routes = r#" hit: () => open().ask("hit"), end: () => open().ask("end"), "#;
    let app = start(routes, worker).await;
    assert_eq!(app.text("/hit").await, "1");
    assert_eq!(app.text("/end").await, "2");
    assert_eq!(app.text("/hit").await, "3");
    app.stop().await;
}

async fn r037_top_level_await_may_wait_for_a_worker() {
    let asks = r#"
        const answer = await new Promise((resolve) => {
            const { port } = new ServerlessWorker("./NEXT.js", "once");
            port.onmessage = (event) => resolve(event.data);
            port.postMessage("?");
        });
    "#;
    let server = "export default { fetch: () => new Response(answer) };";
    let middle =
        "export default { connect({ ports: [port] }) { port.postMessage(`${answer}!`); } };";
    let last = "export default { connect({ ports: [port] }) { port.postMessage('hello'); } };";
    let server = asks.replace("NEXT", "middle") + server;
    let middle = asks.replace("NEXT", "last") + middle;
    let modules = [
        ("server.js", server.as_str()),
        ("middle.js", &middle),
        ("last.js", last),
    ];
    let app = Setup::new(&modules).start().await;
    assert_eq!(app.text("/").await, "hello!");
    app.stop().await;
}

async fn r038_a_worker_has_its_globals() {
    let worker = r#"
        const types = [typeof storage.get, typeof setAlarm, typeof waitUntil, typeof self.name, typeof self.terminate];
        const same = [self === globalThis, self.storage === storage, typeof Deno, typeof process, typeof require];
        export default { connect({ ports: [port] }) { port.onmessage = () => port.postMessage([types, same]); } };
    "#;
    let routes = r#"
        test: async () => [await open().ask("?"), typeof storage, typeof setAlarm, typeof terminate, typeof waitUntil],
    "#;
    check(
        routes,
        worker,
        r#"[[["function","function","function","string","function"],[true,true,"undefined","undefined","undefined"]],"undefined","undefined","undefined","function"]"#,
    )
    .await;
}

/// The minimum common API of WinterTC (ECMA-429), but for what `r038` and `r041` look at.
const PLATFORM: &str = "AbortController AbortSignal Blob ByteLengthQueuingStrategy CompressionStream CountQueuingStrategy \
    Crypto CryptoKey CustomEvent DecompressionStream DOMException ErrorEvent Event EventTarget File FormData Headers \
    MessageChannel MessageEvent MessagePort Performance PromiseRejectionEvent ReadableByteStreamController ReadableStream \
    ReadableStreamBYOBReader ReadableStreamBYOBRequest ReadableStreamDefaultController ReadableStreamDefaultReader Request \
    Response SubtleCrypto TextDecoder TextDecoderStream TextEncoder TextEncoderStream TransformStream \
    TransformStreamDefaultController URL URLPattern URLSearchParams WebAssembly WritableStream \
    WritableStreamDefaultController WritableStreamDefaultWriter atob btoa clearInterval clearTimeout console crypto fetch \
    navigator performance queueMicrotask reportError self setInterval setTimeout structuredClone onerror \
    onunhandledrejection onrejectionhandled";

async fn r039_the_web_platform_is_there() {
    let worker = r#"
        const lacking = () => PLATFORM.split(/\s+/).filter((name) => !(name in globalThis));
        async function works() {
            const zipped = new Blob(["hello "]).stream().pipeThrough(new CompressionStream("gzip"));
            const text = await new Response(zipped.pipeThrough(new DecompressionStream("gzip"))).text();
            const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
            return [text + btoa(String.fromCharCode(new Uint8Array(digest)[0])), new URL("../b?c=d", "http://x/a/a").href,
                new Request("http://x", { method: "POST", body: "b" }).method, AbortSignal.abort().aborted,
                structuredClone(new Map([[1, 2]])).get(1), navigator.userAgent, typeof performance.now()].join();
        }
        export default { connect({ ports: [port] }) {
            port.onmessage = async () => port.postMessage([lacking().join(), await works()].join(" "));
        } };
    "#
    .replace("PLATFORM", &format!("{PLATFORM:?}"));
    let routes = r#"
        test: () => open().ask("?"),
        server: () => PLATFORM.split(/\s+/).filter((name) => !(name in globalThis)).join(),
    "#
    .replace("PLATFORM", &format!("{PLATFORM:?}"));
    let app = start(&routes, &worker).await;
    assert_eq!(app.text("/server").await, "");
    assert_eq!(
        app.text("/test").await,
        " hello Xg==,http://x/b?c=d,POST,true,2,Portside,number"
    );
    app.stop().await;
}

async fn r040_websocket_pairs_answer_upgrades() {
    let routes = r#"
        socket() {
            const [client, server] = Object.values(new WebSocketPair());
            server.accept();
            server.onmessage = ({ data }) => {
                if (data === "end") server.close(4001, "as asked");
                else server.send(`echo ${data}`);
            };
            server.onclose = (event) => console.log(`closed ${event.code}`);
            return new Response(null, { status: 101, webSocket: client });
        },
        wrong: async () => [
            await thrown(() => new Response(null, { status: 101 })),
            await thrown(() => new Response(null, { webSocket: new WebSocketPair()[0] })),
            await thrown(() => new Response(null, { status: 101, webSocket: {} })),
        ].join(),
    "#;
    let app = start(routes, "").await;
    assert_eq!(app.text("/wrong").await, "RangeError,RangeError,TypeError");
    for ends_itself in [true, false] {
        let mut socket = app.upgrade("/socket").await.socket.unwrap();
        socket.incoming.send(Message::Text("hi".into())).await;
        let mut next = async || std::future::poll_fn(|cx| socket.outgoing.poll_recv(cx)).await;
        assert_eq!(next().await, Some(Message::Text("echo hi".into())));
        let close = |code, reason: &str| Message::Close {
            code,
            reason: reason.to_owned(),
        };
        if ends_itself {
            socket.incoming.send(Message::Text("end".into())).await;
            assert_eq!(next().await, Some(close(4001, "as asked")));
        } else {
            socket.incoming.send(close(4002, "")).await;
            app.expect_log("closed 4002").await;
        }
    }
    app.stop().await;
}

async fn r040_a_websocket_may_reconnect_if_it_is_accepted() {
    let server = r#"
        export default { fetch(request) {
            const [client, server] = Object.values(new WebSocketPair());
            if (!request.url.endsWith("/late")) server.accept();
            server.onmessage = ({ data }) => server.send(`${data} ${request.reconnected}`);
            return new Response(null, { status: 101, webSocket: client, reconnects: true });
        } };
    "#;
    let app = Setup::new(&[("server.js", server)]).start().await;
    let mut socket = app.upgrade("/").await.socket.unwrap();
    socket.incoming.send(Message::Text("hi".into())).await;
    let heard = std::future::poll_fn(|cx| socket.outgoing.poll_recv(cx)).await;
    assert_eq!(heard, Some(Message::Text("hi false".into())));
    let refused = app.try_upgrade("/late").await.err().unwrap().to_string();
    assert!(refused.contains("has to be accepted"), "{refused}");
    app.stop().await;
}

async fn r041_promises_have_resolvers() {
    let worker = r#"
        export default { connect({ ports: [port] }) { port.onmessage = async () => {
            const { promise, resolve } = Promise.withResolvers();
            resolve("in the worker");
            port.postMessage(await promise);
        }; } };
    "#;
    let routes = r#"
        test() {
            const { promise, resolve } = Promise.withResolvers();
            open().ask("?").then((answer) => resolve(`in the server, ${answer}`));
            return promise;
        },
    "#;
    check(routes, worker, "in the server, in the worker").await;
}

async fn r042_callers_hear_that_a_module_fails() {
    let routes = r#"
        async test(query) {
            const worker = open("", `./${query.get("script")}.js`);
            worker.send("anybody?");
            return [await worker.next(), await worker.next()].join(" | ");
        },
    "#;
    let mut setup = setup(routes, "");
    setup.add("throws.js", "throw new Error('thrown at load');");
    setup.add(
        "rejects.js",
        "await Promise.reject(new Error('rejected at load'));",
    );
    setup.add(
        "late.js",
        "await new Promise((resolve) => setTimeout(resolve, 20)); throw new Error('late at load');",
    );
    setup.add(
        "syntax.js",
        "function save() { await storage.put('a', 1); }\nexport default {};",
    );
    setup.add("imports.js", "import './absent.js';");
    setup.add("hangs.js", "await new Promise(() => {});");
    setup.limits.start = std::time::Duration::from_secs(2);
    let app = setup.start().await;
    for (script, reason) in [
        ("throws", "thrown at load"),
        ("rejects", "rejected at load"),
        ("late", "late at load"),
        ("syntax", "SyntaxError"),
        ("imports", "absent.js"),
        ("hangs", "never resolved"),
    ] {
        let heard = app.text(&format!("/test?script={script}")).await;
        assert!(heard.starts_with("error: "), "{heard}");
        assert!(heard.contains(reason), "{script}: {heard}");
        assert!(heard.ends_with(" | close: lost"), "{heard}");
        app.expect_log(reason).await;
    }
    app.stop().await;
}

async fn r042_failing_modules_are_tried_again_ever_more_slowly() {
    let worker = r#"
        console.log("evaluated");
        throw new Error("never loads");
    "#;
    let routes = r#"
        async test() { const worker = open(); const first = await worker.ask("anybody?"); return [first, await worker.next()].join(); },
    "#;
    let app = start(routes, worker).await;
    for _ in 0..2 {
        let heard = app.text("/test").await;
        assert!(heard.contains("never loads"), "tried at once: {heard}");
    }
    let refused = crate::app::eventually(async || {
        let heard = app.text("/test").await;
        assert!(heard.ends_with("close: lost"), "{heard}");
        heard.contains("failed repeatedly")
    });
    assert!(refused.await, "not tried again yet");
    assert!(app.count_logged("evaluated") < 4);
    let again = crate::app::eventually(async || app.text("/test").await.contains("never loads"));
    assert!(again.await, "tried again after a second");
    app.stop().await;
}

async fn r042_ending_while_loading_is_a_failure_to_load() {
    let worker = "console.log('evaluated'); self.terminate(); export default {};";
    let routes = r#"
        async test() { const worker = open(); return [await worker.ask("anybody?"), await worker.next()].join(); },
        async code() {
            const { port } = new ServerlessWorker("./worker.js");
            const failed = new Promise((resolve) => port.onerror = resolve);
            port.start();
            return (await failed).error.code;
        },
    "#;
    let app = start(routes, worker).await;
    let heard = app.text("/test").await;
    assert!(heard.contains("terminate"), "{heard}");
    assert!(app.count_logged("evaluated") <= 2, "no endless restarts");
    assert_eq!(app.text("/code").await, "failed");
    app.stop().await;
}
