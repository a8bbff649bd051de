//! Section 6: errors, crash semantics, termination, overload.

use std::time::Duration;

use portside_exchange::FetchError;

use super::kit::{COUNTER, check, setup, start};
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r004_r043_errors_are_logged_and_disregarded,
    r043_errors_can_be_observed,
    r043_an_error_while_a_module_is_evaluated_is_logged_once,
    r044_terminate_ends_the_instance_only,
    r045_terminate_keeps_writes_and_alarm,
    r045_nothing_runs_after_terminate,
    r046_a_lost_worker_harms_no_other,
    r047_r048_a_full_port_throws,
    r047_r048_a_full_inbox_is_an_error_event,
    r049_overload_has_durable_objects_flag,
    r050_requests_do_not_hang,
];

async fn r004_r043_errors_are_logged_and_disregarded() {
    let worker = r#"
        let count = 0;
        const ways = {
            "throw in onmessage": () => { throw new Error("throw in onmessage"); },
            "async throw": async () => { throw new Error("async throw"); },
            "throw in a timer": () => setTimeout(() => { throw new Error("throw in a timer"); }),
            "unhandled rejection": () => { Promise.reject(new Error("unhandled rejection")); },
            "throw in a microtask": () => queueMicrotask(() => { throw new Error("throw in a microtask"); }),
            "throw in a listener": (port) => {
                port.addEventListener("close", () => { throw new Error("throw in a listener"); });
            },
            "throw in alarm": () => setAlarm(Date.now()),
            "throw a null": () => { throw null; },
            "throw a hostile object": () => {
                throw { get stack() { throw 1; }, get message() { throw 2; }, toString() { throw 3; } };
            },
            "reportError": () => reportError(new Error("reportError")),
        };
        export default {
            connect({ ports: [port] }) {
                port.onmessage = ({ data }) => {
                    count++;
                    port.postMessage(count);
                    return ways[data]?.(port);
                };
                if (name === "throw in connect") throw new Error("throw in connect");
            },
            alarm() { throw new Error("throw in alarm"); },
        };
    "#;
    let routes = r#"
        hit: (query) => open(query.get("name") ?? "").ask(query.get("way")),
    "#;
    let app = start(routes, worker).await;
    let ways = [
        "throw in onmessage",
        "async throw",
        "throw in a timer",
        "unhandled rejection",
        "throw in a microtask",
        "throw in a listener",
        "throw in alarm",
        "throw a null",
        "throw a hostile object",
        "reportError",
    ];
    for (index, way) in ways.iter().enumerate() {
        let path = format!("/hit?way={}", way.replace(' ', "+"));
        let count = app.text(&path).await;
        assert_eq!(count, (index + 1).to_string(), "memory is intact: {way}");
        if !way.starts_with("throw a ") || way.contains("timer") {
            app.expect_log(way).await;
        }
    }
    for count in ["1", "2"] {
        let answer = app.text("/hit?name=throw+in+connect").await;
        assert_eq!(answer, count);
    }
    app.expect_log("throw in connect").await;
    assert_eq!(app.text("/hit").await, (ways.len() + 1).to_string());
    app.stop().await;
}

async fn r043_errors_can_be_observed() {
    let worker = r#"
        const seen = [];
        addEventListener("error", (event) => seen.push(event.error.message));
        addEventListener("unhandledrejection", (event) => { event.preventDefault(); seen.push(event.reason.message); });
        export default { connect({ ports: [port] }) { port.onmessage = ({ data }) => {
            if (data === "seen?") return port.postMessage(seen.join());
            Promise.reject(new Error("rejected"));
            throw new Error("thrown");
        }; } };
    "#;
    let routes = r#"
        fail() { open().send("fail"); return "sent"; },
        seen: () => open().ask("seen?"),
    "#;
    let app = start(routes, worker).await;
    app.text("/fail").await;
    app.eventually("/seen", "thrown,rejected").await;
    assert!(!app.logged("rejected"), "its listener prevented that");
    app.stop().await;
}

async fn r043_an_error_while_a_module_is_evaluated_is_logged_once() {
    let routes =
        r#" async test(query) { return open("", `./${query.get("script")}.js`).next(); }, "#;
    let mut setup = setup(routes, COUNTER);
    for (script, code) in [
        ("throws", "throw new Error('thrown at the top');"),
        (
            "awaits",
            "await new Promise((go) => setTimeout(go, 20)); throw new Error('thrown at the top');",
        ),
        (
            "rejects",
            "await Promise.reject(new Error('thrown at the top'));",
        ),
    ] {
        setup.add(&format!("{script}.js"), code);
    }
    // Something else that nobody caught is not taken for it.
    let both = "Promise.reject(new Error('beside it')); await new Promise((go) => setTimeout(go, 20)); throw null;";
    setup.add("both.js", both);
    let app = setup.start().await;
    // Whatever the caller has sent may start it once more.
    let starts = || app.count_logged("the worker was ended");
    for script in ["throws", "awaits", "rejects"] {
        let answer = app.text(&format!("/test?script={script}")).await;
        assert!(answer.contains("thrown at the top"), "{answer}");
        assert!(crate::app::eventually(async || app.awake() == 0).await);
        let log = app.log.lock().unwrap().clone();
        assert_eq!(app.count_logged("thrown at the top"), starts(), "{log:?}");
    }
    let before = starts();
    app.text("/test?script=both").await;
    assert!(crate::app::eventually(async || app.awake() == 0).await);
    let log = app.log.lock().unwrap().clone();
    assert!(starts() > before);
    assert_eq!(app.count_logged("beside it"), starts() - before, "{log:?}");
    assert_eq!(app.count_logged("null"), starts() - before, "{log:?}");
    app.stop().await;
}

/// A counter in memory and one in storage, that ends itself when told so.
const MORTAL: &str = r#"
    let memory = 0, stored = await storage.get("stored") ?? 0;
    export default { connect({ ports: [port] }) { port.onmessage = async ({ data }) => {
        storage.put("stored", ++stored);
        port.postMessage(`${++memory} ${stored}`);
        if (data === "end") {
            self.terminate();
            storage.put("stored", "after the end");
        }
    }; } };
"#;

async fn r044_terminate_ends_the_instance_only() {
    let routes = r#" hit: () => open().ask("hit"), end: () => open().ask("end"), "#;
    let app = start(routes, MORTAL).await;
    for (path, counts) in [
        ("/hit", "1 1"),
        ("/end", "2 2"),
        ("/hit", "1 3"),
        ("/end", "2 4"),
        ("/end", "1 5"),
        ("/hit", "1 6"),
    ] {
        assert_eq!(app.text(path).await, counts, "{path}");
    }
    app.stop().await;
}

async fn r045_terminate_keeps_writes_and_alarm() {
    let worker = r#"
        export default { connect({ ports: [port] }) { port.onmessage = async ({ data }) => {
            if (data === "end") {
                storage.put("written", "just before");
                setAlarm(8e15);
                self.terminate();
            }
            if (data === "destroy") {
                storage.deleteAll();
                deleteAlarm();
                self.terminate();
            }
            port.postMessage([await storage.get("written"), await getAlarm()]);
        }; } };
    "#;
    let routes = r#" do: (query) => open().ask(query.get("what")), "#;
    let app = start(routes, worker).await;
    assert_eq!(app.text("/do?what=end").await, "close: terminated");
    assert_eq!(
        app.text("/do?what=look").await,
        r#"["just before",8000000000000000]"#
    );
    assert_eq!(app.text("/do?what=destroy").await, "close: terminated");
    assert_eq!(app.text("/do?what=look").await, "[null,null]");
    app.stop().await;
}

async fn r045_nothing_runs_after_terminate() {
    let worker = r#"
        const after = (way) => { storage.put("after", way); console.log(`after ${way}`); };
        const ends = {
            sync() { try { self.terminate(); } catch { after("catch"); } finally { after("finally"); } },
            microtask() { Promise.resolve().then(() => after("microtask")); self.terminate(); },
            async continuation() { await null; queueMicrotask(() => after("queued")); self.terminate(); },
            timers() { setTimeout(() => self.terminate()); setTimeout(() => after("timer")); },
            nested() { setTimeout(async () => { await null; Promise.resolve().then(() => after("then")); self.terminate(); }); },
            listeners(port) {
                port.addEventListener("message", () => after("listener"));
                port.dispatchEvent(new Event("message", {}));
            },
        };
        export default { connect({ ports: [port] }) { port.onmessage = async ({ data }) => {
            if (data === undefined) self.terminate();
            if (data === "look") port.postMessage(await storage.get("after") ?? "nothing");
            else ends[data](port);
        }; } };
    "#;
    let routes = r#" do: (query) => open().ask(query.get("what")), "#;
    let app = start(routes, worker).await;
    for way in [
        "sync",
        "microtask",
        "continuation",
        "timers",
        "nested",
        "listeners",
    ] {
        let answer = app.text(&format!("/do?what={way}")).await;
        assert_eq!(answer, "close: terminated", "{way}");
        assert_eq!(app.text("/do?what=look").await, "nothing", "{way}");
    }
    assert!(!app.logged("after "), "{:?}", app.log.lock().unwrap());
    app.stop().await;
}

async fn r046_a_lost_worker_harms_no_other() {
    let worker = r#"
        let memory = 0;
        const ways = {
            loop() { for (;;); },
            fill() { for (;;) new Array(1000).fill(1); }, // optimized, it has no calls that look for an end
            exhaust() { const all = []; for (;;) all.push(new Array(1000).fill(1)); },
        };
        export default { connect({ ports: [port] }) { port.onmessage = async ({ data }) => {
            await storage.put("kept", (await storage.get("kept") ?? 0) + 1);
            ways[data]?.();
            port.postMessage(`${++memory} ${await storage.get("kept")}`);
        }; } };
    "#;
    let routes = r#" do: (query) => open(query.get("name")).ask(query.get("way")), "#;
    let mut setup = setup(routes, worker);
    setup.limits.cpu = Duration::from_millis(500);
    setup.limits.heap_bytes = 32 << 20;
    setup.limits.request = Duration::from_secs(20);
    let app = setup.start().await;
    assert_eq!(app.text("/do?name=good").await, "1 1");
    assert_eq!(app.text("/do?name=bad").await, "1 1");
    assert_eq!(app.text("/do?name=bad&way=loop").await, "close: lost");
    assert_eq!(app.text("/do?name=bad").await, "1 3", "storage is kept");
    assert_eq!(app.text("/do?name=bad3&way=fill").await, "close: lost");
    assert_eq!(app.text("/do?name=bad2&way=exhaust").await, "close: lost");
    assert_eq!(app.text("/do?name=bad2").await, "1 2");
    assert_eq!(app.text("/do?name=good").await, "2 2", "unaffected");
    app.stop().await;
}

async fn r047_r048_a_full_port_throws() {
    let worker = r#"
        await new Promise((resolve) => setTimeout(resolve, 300));
        export default { connect({ ports: [port] }) { port.onmessage = ({ data }) => {
            if (data === "last") port.postMessage("alive");
        }; } };
    "#;
    let routes = r#"
        async test(query) {
            const worker = open(query.get("by"));
            const message = query.get("by") === "bytes" ? new Uint8Array(60_000) : 0;
            let sent = 0, error;
            try {
                for (;;) { worker.send(message); sent++; }
            } catch (e) { error = e; }
            const kind = [error instanceof ServerlessWorkerOverloadedError, error instanceof Error, error.name, error.overloaded,
                error.retryAfterMs > 0];
            while (await thrown(() => worker.send("last")) !== "nothing") await new Promise((resolve) => setTimeout(resolve, 10));
            return [sent, ...kind, await worker.next()].join();
        },
    "#;
    let mut setup = setup(routes, worker);
    setup.limits.port_bytes = 1 << 20;
    let app = setup.start().await;
    let error = "true,true,ServerlessWorkerOverloadedError,true,true,alive";
    assert_eq!(app.text("/test?by=count").await, format!("1000,{error}"));
    assert_eq!(app.text("/test?by=bytes").await, format!("17,{error}"));
    app.stop().await;
}

async fn r047_r048_a_full_inbox_is_an_error_event() {
    let worker = r#"
        await new Promise((resolve) => setTimeout(resolve, 500));
        export default { connect({ ports: [port] }) { port.onmessage = ({ data }) => port.postMessage(data); } };
    "#;
    let routes = r#"
        async test() {
            const { port } = new ServerlessWorker("./worker.js");
            const failed = new Promise((resolve) => port.onerror = resolve);
            for (let i = 0; i < 30; i++) port.postMessage(i);
            const { error } = await failed;
            const answers = caller(port);
            let first;
            do first = await answers.next(); while (String(first).startsWith("error: "));
            return [error instanceof ServerlessWorkerOverloadedError, error.overloaded, error.code, error.retryAfterMs > 0, first].join();
        },
        connections: async () => {
            const errors = [];
            for (let i = 0; i < 30; i++) {
                const { port } = new ServerlessWorker("./worker.js", "crowd");
                port.onerror = ({ error }) => errors.push(error);
                port.onclose = () => errors.push("close");
                port.start();
            }
            while (errors.length < 20) await new Promise((resolve) => setTimeout(resolve, 10));
            return [errors.length >= 20, errors[0].overloaded, errors[1]].join();
        },
    "#;
    let mut setup = setup(routes, worker);
    setup.limits.inbox_messages = 20;
    let app = setup.start().await;
    assert_eq!(app.text("/test").await, "true,true,overloaded,true,0");
    assert_eq!(app.text("/connections").await, "true,true,close");
    app.stop().await;
}

async fn r049_overload_has_durable_objects_flag() {
    let routes = r#"
        test() {
            const error = new ServerlessWorkerOverloadedError();
            const caught = (() => { try { throw error; } catch (e) { return e.overloaded === true; } })();
            return [caught, error.retryAfterMs > 0, String(error).startsWith("ServerlessWorkerOverloadedError: ")].join();
        },
    "#;
    check(routes, COUNTER, "true,true,true").await;
}

async fn r050_requests_do_not_hang() {
    let worker = r#"
        export default { connect({ ports: [port] }) { port.onmessage = () => {}; } };
    "#;
    let mut setup = setup(r#" mute: () => open().ask("anybody?"), "#, worker);
    setup.limits.request = Duration::from_millis(200);
    let app = setup.start().await;
    let answer = app.request("GET", "/mute", "").await;
    assert!(matches!(answer, Err(FetchError::TimedOut)));
    app.stop().await;
}
