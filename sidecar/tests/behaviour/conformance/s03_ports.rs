//! Section 3: ports and messages.

use std::time::Duration;

use portside_exchange::{FetchError, Message};

use super::kit::{check, setup, start};
use crate::app::{Setup, TestApp};
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r021_a_port_is_like_a_message_port,
    r022_messages_are_structured_clones,
    r022_what_cannot_be_cloned_throws_in_the_sender,
    r023_messages_arrive_once_in_order,
    r024_messages_wait_for_a_listener,
    r025_posting_to_a_closed_port_does_nothing,
    r026_messages_have_a_largest_size,
    r027_array_buffers_are_transferred,
    r028_r029_close_follows_the_messages_before_it,
    r028_r030_ports_close_with_their_request,
    r030_a_request_lasts_as_long_as_its_stream_and_its_waituntil,
    r028_r030_ports_close_with_their_websocket,
    r030_ports_close_when_the_client_gives_up,
    r030_a_request_that_is_over_opens_no_port,
    r031_an_open_port_prevents_sleep,
    r031_the_end_of_the_worker_closes_the_port,
];

const ECHO: &str = r#"
    export default { connect({ ports: [port] }) { port.onmessage = ({ data }) => port.postMessage(data); } };
"#;

/// A worker that counts its live ports, and tells what it heard on those that are gone. The one who asks does not count.
const WITNESS: &str = r#"
    let live = 0;
    const heard = [];
    export default { connect({ ports: [port] }) {
        let joined = false;
        port.onmessage = ({ data }) => {
            if (data === "witness") port.postMessage(`${live} ${heard.join()}`);
            else {
                const joins = data === "join";
                if (joins) live++;
                else heard.push(data);
                port.onclose = () => { heard.push("close"); if (joined) live--; };
                joined ||= joins;
                port.postMessage(data);
            }
        };
    } };
"#;

async fn r021_a_port_is_like_a_message_port() {
    let routes = r#"
        async test() {
            const { port } = new ServerlessWorker("./worker.js", "shape");
            const methods = ["postMessage", "start", "close", "addEventListener"].map((name) => typeof port[name]);
            const shape = [...methods, port.onmessage, port instanceof EventTarget, port === port];
            const heard = [];
            port.addEventListener("message", (event) => heard.push(event.data, event instanceof MessageEvent));
            port.postMessage("early");
            await open("another").ask("takes a while");
            await open("another").ask("takes a while");
            shape.push(heard.length);
            const started = new Promise((resolve) => port.addEventListener("message", resolve));
            port.start();
            await started;
            const implicit = await open("shape").ask("implicit");
            return [shape, heard, implicit, await thrown(() => port.postMessage())];
        },
    "#;
    check(
        routes,
        ECHO,
        r#"[["function","function","function","function",null,true,true,0],["early",true],"implicit","TypeError"]"#,
    )
    .await;
}

async fn r022_messages_are_structured_clones() {
    let routes = r#"
        async test() {
            const { port, ask } = open();
            const echo = (value) => { port.postMessage(value); return caller.next(); };
            const caller = { next: () => new Promise((resolve) => port.onmessage = (event) => resolve(event.data)) };
            const wrong = [];
            const is = (what, right) => right || wrong.push(what);
            const map = await echo(new Map([["a", new Set([1])]]));
            is("map", map instanceof Map && map.get("a") instanceof Set && map.get("a").has(1));
            is("date", (await echo(new Date(5))).getTime() === 5);
            const regexp = await echo(/a+/gi);
            is("regexp", regexp instanceof RegExp && regexp.source === "a+" && regexp.flags === "gi");
            is("bigint", await echo(2n ** 70n) === 2n ** 70n);
            const typed = await echo(new Float32Array([1.5, -2]));
            is("typed array", typed instanceof Float32Array && typed[0] === 1.5 && typed.length === 2);
            const view = await echo(new DataView(new ArrayBuffer(8), 2, 3));
            is("view", view.byteLength === 3 && view.byteOffset === 2);
            const error = await echo(new RangeError("too far", { cause: "x" }));
            is("error", error instanceof RangeError && error.message === "too far");
            const cyclic = { list: [] };
            cyclic.list.push(cyclic);
            const back = await echo(cyclic);
            is("cycle", back.list[0] === back && back !== cyclic);
            const sparse = [1, , 3];
            is("sparse", !(1 in await echo(sparse)) && (await echo(sparse)).length === 3);
            is("-0", Object.is(await echo(-0), -0));
            is("NaN", Object.is(await echo(NaN), NaN));
            is("undefined", await echo(undefined) === undefined && await echo(null) === null);
            is("surrogate", await echo("\uD800 ü") === "\uD800 ü");
            is("boxed", (await echo(new Number(3))).valueOf() === 3);
            class Point { x = 1; get y() { return 2; } }
            const plain = await echo(new Point());
            is("class", plain.x === 1 && !("y" in plain) && plain.constructor === Object);
            const original = { deep: { n: 1 } };
            port.postMessage(original);
            original.deep.n = 2;
            is("a copy", (await caller.next()).deep.n === 1);
            return wrong;
        },
    "#;
    check(routes, ECHO, "[]").await;
}

async fn r022_what_cannot_be_cloned_throws_in_the_sender() {
    let routes = r#"
        async test() {
            const { port, ask } = open();
            const values = [() => {}, Symbol("s"), new WeakMap(), new WeakSet(), { deep: [() => {}] }, Promise.resolve(),
                new SharedArrayBuffer(1), new MessageChannel().port1, new ReadableStream(), port];
            const names = [];
            for (const value of values) names.push(await thrown(() => port.postMessage(value)));
            const thrower = { get x() { throw new SyntaxError("mine"); } };
            names.push(await thrown(() => port.postMessage(thrower)));
            return names.join();
        },
    "#;
    let refused = "DataCloneError,".repeat(10);
    check(routes, ECHO, &format!("{refused}SyntaxError")).await;
}

async fn r023_messages_arrive_once_in_order() {
    let worker = r#"
        export default { connect({ ports: [port] }) {
            let expected = 0;
            port.onmessage = ({ data }) => {
                port.postMessage(data === expected++ ? data : `${data} instead of ${expected - 1}`);
            };
        } };
    "#;
    let routes = r#"
        async test() {
            const { port } = new ServerlessWorker("./worker.js");
            const total = 20_000, window = 500;
            let sent = 0, received = 0;
            return new Promise((resolve, reject) => {
                const send = () => { while (sent < total && sent - received < window) port.postMessage(sent++); };
                port.onmessage = ({ data }) => {
                    if (data !== received++) return resolve(`${data} as number ${received - 1}`);
                    if (received === total) return resolve("in order");
                    send();
                };
                send();
            });
        },
        async closed() {
            const worker = open("closed");
            const late = [];
            worker.port.onmessage = ({ data }) => { late.push(data); worker.port.close(); };
            for (let i = 0; i < 100; i++) worker.send(i);
            const other = open("closed");
            for (let i = 0; i < 20; i++) await other.ask(i);
            return late;
        },
    "#;
    let app = start(routes, worker).await;
    assert_eq!(app.text("/test").await, "in order");
    assert_eq!(app.text("/closed").await, "[0]");
    app.stop().await;
}

async fn r024_messages_wait_for_a_listener() {
    let worker = r#"
        export default { async connect({ ports: [port] }) {
            port.postMessage("history 1");
            port.postMessage("history 2");
            if (name === "slow") await new Promise((resolve) => setTimeout(resolve, 100));
            if (name === "late") setTimeout(() => listen(port), 100);
            else listen(port);
        } };
        function listen(port) { port.onmessage = ({ data }) => port.postMessage(data); }
    "#;
    let routes = r#"
        async test(query) {
            const { port } = new ServerlessWorker("./worker.js", query.get("name"));
            port.postMessage("before");
            port.postMessage("it loaded");
            const other = open(query.get("name"));
            for (let i = 0; i < 3; i++) await other.ask("so the first is connected");
            const { next } = caller(port);
            return [await next(), await next(), await next(), await next()];
        },
    "#;
    let app = start(routes, worker).await;
    for name in ["quick", "slow", "late"] {
        let heard = app.text(&format!("/test?name={name}")).await;
        assert_eq!(
            heard, r#"["history 1","history 2","before","it loaded"]"#,
            "{name}"
        );
    }
    app.stop().await;
}

async fn r025_posting_to_a_closed_port_does_nothing() {
    let worker = r#"
        const ports = [];
        export default { connect({ ports: [port] }) {
            ports.push(port);
            port.onclose = () => gone?.();
            port.onmessage = async ({ data }) => {
                if (data === "wait") await new Promise((resolve) => gone = resolve);
                if (data !== "join") for (const each of ports) each.postMessage(data);
                else port.postMessage("joined");
            };
        } };
        let gone;
    "#;
    let routes = r#"
        async test() {
            const [a, b, c] = [open(), open(), open()];
            for (const each of [a, b, c]) await each.ask("join");
            c.send("wait");
            b.port.close();
            const heard = [await a.next(), await c.next()];
            b.port.postMessage("into the void");
            b.port.close();
            b.port.start();
            heard.push(await a.ask("still"), await c.next());
            return heard;
        },
    "#;
    check(routes, worker, r#"["wait","wait","still","still"]"#).await;
}

async fn r026_messages_have_a_largest_size() {
    let routes = r#"
        async test() {
            const worker = open();
            const fits = await worker.ask("x".repeat(1000));
            return [fits.length, await thrown(() => worker.send("x".repeat(1025))), await worker.ask("alive")];
        },
    "#;
    let mut setup = setup(routes, ECHO);
    setup.limits.message_bytes = 1024;
    let app = setup.start().await;
    assert_eq!(
        app.text("/test").await,
        r#"[1000,"DataCloneError","alive"]"#
    );
    app.stop().await;
}

async fn r027_array_buffers_are_transferred() {
    let routes = r#"
        async test() {
            const { port, next } = open();
            const listed = new Uint8Array([1, 2, 3]), optional = new ArrayBuffer(4), kept = new ArrayBuffer(5);
            port.postMessage({ listed, kept }, [listed.buffer]);
            const first = await next();
            port.postMessage(optional, { transfer: [optional] });
            const second = await next();
            const detached = [listed.buffer.detached, optional.detached, kept.detached];
            const refused = [];
            const twice = new ArrayBuffer(1), { port1 } = new MessageChannel();
            for (const list of [[port1], [new ReadableStream()], [optional], [twice, twice], [{}]]) {
                refused.push(await thrown(() => port.postMessage("x", list)));
            }
            const failed = new ArrayBuffer(1);
            await thrown(() => port.postMessage({ failed, not: () => {} }, [failed]));
            return [[...first.listed], first.kept.byteLength, second.byteLength, detached, refused, failed.detached, twice.detached];
        },
    "#;
    let refused = [r#""DataCloneError""#; 5].join(",");
    let wanted = format!("[[1,2,3],5,4,[true,true,false],[{refused}],false,false]");
    check(routes, ECHO, &wanted).await;
}

async fn r028_r029_close_follows_the_messages_before_it() {
    let routes = r#"
        async test() {
            const { port, ask, send } = open();
            const worker = caller(port);
            await worker.ask("join");
            for (let i = 0; i < 5; i++) worker.send(i);
            port.close();
            port.postMessage("late");
            port.close();
            return "closed";
        },
        witness: () => open().ask("witness"),
    "#;
    let app = start(routes, WITNESS).await;
    app.text("/test").await;
    app.eventually("/witness", "0 0,1,2,3,4,close").await;
    app.stop().await;
}

async fn r028_r030_ports_close_with_their_request() {
    let routes = r#"
        async leave() {
            await open().ask("join");
            new ServerlessWorker("./worker.js").port.postMessage("fire and forget");
            return "left open";
        },
        async fail() { await open().ask("join"); throw new Error("a bad day"); },
        witness: () => open().ask("witness"),
    "#;
    let app = start(routes, WITNESS).await;
    for _ in 0..20 {
        assert_eq!(app.text("/leave").await, "left open");
    }
    assert_eq!(app.get("/fail").await.0, 500);
    let heard = expect_witness(&app, "0 ").await;
    assert_eq!(heard.matches("close").count(), 41, "each once: {heard}");
    assert_eq!(heard.matches("fire and forget").count(), 20, "{heard}");
    app.stop().await;
}

/// Waits until the witness's answer begins with `wanted`, and gives it.
async fn expect_witness(app: &TestApp, wanted: &str) -> String {
    let mut last = String::new();
    let met = crate::app::eventually(async || {
        last = app.text("/witness").await;
        last.starts_with(wanted)
    });
    assert!(met.await, "{last:?} instead of {wanted:?}");
    last
}

async fn r030_a_request_lasts_as_long_as_its_stream_and_its_waituntil() {
    let routes = r#"
        async stream() {
            await open().ask("join");
            const { readable, writable } = new TransformStream();
            const writer = writable.getWriter();
            globalThis.finish = () => writer.close();
            writer.write(new TextEncoder().encode("chunk"));
            return new Response(readable);
        },
        async waits(query, request, context) {
            await open().ask("join");
            const { promise, resolve } = Promise.withResolvers();
            globalThis.finish = resolve;
            if (query.has("global")) waitUntil(promise);
            else context.waitUntil(promise);
            return "answered";
        },
        finish() { finish(); return "finished"; },
        witness: () => open().ask("witness"),
    "#;
    for path in ["/stream", "/waits", "/waits?global"] {
        let mut setup = setup(routes, WITNESS);
        setup.servers = 1; // `finish` is in the one that has the request
        let app = setup.start().await;
        let response = app.request("GET", path, "").await.unwrap();
        for _ in 0..5 {
            assert!(app.text("/witness").await.starts_with("1 "), "{path}");
        }
        app.text("/finish").await;
        drop(response);
        expect_witness(&app, "0 close").await;
        app.stop().await;
    }
}

async fn r028_r030_ports_close_with_their_websocket() {
    let routes = r#"
        async socket() {
            const worker = open();
            await worker.ask("join");
            const [client, server] = Object.values(new WebSocketPair());
            server.accept();
            server.onmessage = ({ data }) => open().ask("join");
            return new Response(null, { status: 101, webSocket: client });
        },
        witness: () => open().ask("witness"),
    "#;
    for in_order in [true, false] {
        let app = start(routes, WITNESS).await;
        let response = app.upgrade("/socket").await;
        assert_eq!(response.status, 101);
        let mut socket = response.socket.unwrap();
        for _ in 0..5 {
            assert!(app.text("/witness").await.starts_with("1 "));
        }
        socket.incoming.send(Message::Text("another".into())).await;
        expect_witness(&app, "2 ").await;
        if in_order {
            let close = Message::Close {
                code: 1000,
                reason: String::new(),
            };
            socket.incoming.send(close).await;
        }
        drop(socket);
        expect_witness(&app, "0 close,close").await;
        app.stop().await;
    }
}

async fn r030_ports_close_when_the_client_gives_up() {
    let routes = r#"
        async hang() { await open().ask("join"); await new Promise(() => {}); },
        witness: () => open().ask("witness"),
    "#;
    let mut setup = setup(routes, WITNESS);
    setup.limits.request = Duration::from_secs(1);
    let app = setup.start().await;
    let hangs = app.request("GET", "/hang", "").await;
    assert!(matches!(hangs, Err(FetchError::TimedOut)));
    expect_witness(&app, "0 close").await;
    {
        let leaves = app.request("GET", "/hang", "");
        let joined = expect_witness(&app, "1 ");
        futures::future::select(Box::pin(leaves), Box::pin(joined)).await;
    }
    expect_witness(&app, "0 close,close").await;
    app.stop().await;
}

async fn r030_a_request_that_is_over_opens_no_port() {
    let routes = r#"
        late() {
            const { port } = new ServerlessWorker("./worker.js");
            setTimeout(() => { port.postMessage("join"); console.log("posted late"); }, 20);
            setTimeout(() => { open().send("join"); console.log("opened late"); }, 20);
            return "answered";
        },
        witness: () => open().ask("witness"),
    "#;
    let app = start(routes, WITNESS).await;
    app.text("/late").await;
    app.expect_log("posted late").await;
    app.expect_log("opened late").await;
    for _ in 0..5 {
        assert_eq!(app.text("/witness").await, "0 ");
    }
    app.stop().await;
}

async fn r031_an_open_port_prevents_sleep() {
    let worker = r#"
        console.log("evaluated");
        export default { connect({ ports: [port] }) { port.onmessage = ({ data }) => port.postMessage(data); } };
    "#;
    let routes = r#"
        async hold(query) {
            const worker = open();
            await worker.ask("hello");
            await new Promise((resolve) => setTimeout(resolve, Number(query.get("ms"))));
            return worker.ask("still there");
        },
    "#;
    let mut setup = setup(routes, worker);
    setup.limits.idle = Duration::from_millis(20);
    let app = setup.start().await;
    assert_eq!(app.text("/hold?ms=400").await, "still there");
    assert_eq!(app.count_logged("evaluated"), 1);
    let slept = crate::app::eventually(async || {
        tokio::time::sleep(Duration::from_millis(100)).await; // longer than the worker may idle
        app.text("/hold?ms=0").await;
        app.count_logged("evaluated") > 1
    });
    assert!(slept.await, "without a port it sleeps");
    app.stop().await;
}

async fn r031_the_end_of_the_worker_closes_the_port() {
    let worker = r#"
        export default { connect({ ports: [port] }) {
            port.onmessage = ({ data }) => {
                port.postMessage("last words");
                if (data === "terminate") self.terminate();
                for (;;) {}
            };
        } };
    "#;
    let routes = r#"
        async end(query) {
            const { next, send } = caller(new ServerlessWorker("./worker.js").port);
            const { port } = new ServerlessWorker("./worker.js", query.get("how"));
            const events = [];
            await new Promise((resolve) => {
                port.onmessage = ({ data }) => events.push(data);
                port.onclose = (event) => { events.push(event.type, event.code, event.wasClean); resolve(); };
                port.postMessage(query.get("how"));
            });
            return events;
        },
    "#;
    let setup = setup(routes, worker);
    let mut limits = setup.limits.clone();
    limits.cpu = Duration::from_millis(300);
    let app = Setup { limits, ..setup }.start().await;
    assert_eq!(
        app.text("/end?how=terminate").await,
        r#"["last words","close","terminated",false]"#
    );
    let lost = app.text("/end?how=loop").await;
    assert!(lost.contains(r#""close","lost",false"#), "{lost}");
    app.stop().await;
}
