//! Section 4: the `connect` event.

use std::time::Duration;

use super::kit::{check, setup, start};
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r032_connect_runs_once_with_one_port,
    r033_the_event_can_post_itself,
    r034_connect_may_fail_and_the_port_stays_open,
    r035_connect_waits_for_the_module,
    r036_connect_comes_first_and_close_last,
    r024_r036_who_listens_after_the_close_hears_all_before_it,
    r036_who_listens_for_the_close_alone_hears_it,
    r036_who_opened_and_listens_for_the_close_alone_hears_it,
    r024_r036_who_opened_and_listens_after_the_close_hears_all_before_it,
];

async fn r032_connect_runs_once_with_one_port() {
    let worker = r#"
        let connections = 0;
        export default { connect(event) {
            connections++;
            const shape = [event.type, event.ports.length, event.ports[0] instanceof EventTarget, Object.isFrozen(event.ports),
                event.reconnected, this === handlers];
            event.ports[0].onmessage = () => event.ports[0].postMessage([connections, ...shape]);
        } };
        import * as itself from "./worker.js";
        const handlers = itself.default;
    "#;
    let routes = r#"
        async test() {
            const [a, b] = [open(), open()];
            await a.ask("1");
            await b.ask("2");
            await b.ask("3");
            return a.ask("4");
        },
    "#;
    check(routes, worker, r#"[2,"connect",1,true,true,false,true]"#).await;
}

async fn r033_the_event_can_post_itself() {
    let worker = r#"
        export default { connect(conn) {
            conn.postMessage("welcome");
            conn.ports[0].onmessage = ({ data }) => conn.postMessage(`you said ${data}`);
        } };
    "#;
    let routes = r#"
        async test() { const worker = open(); return [await worker.ask("hi"), await worker.next()].join(); },
    "#;
    let app = start(routes, worker).await;
    for _ in 0..3 {
        assert_eq!(app.text("/test").await, "welcome,you said hi");
    }
    assert_eq!(app.count_logged("deprecated"), 1);
    app.stop().await;
}

async fn r034_connect_may_fail_and_the_port_stays_open() {
    let worker = r#"
        let memory = 0;
        function listen(port) { port.onmessage = () => port.postMessage(++memory); }
        export default { connect({ ports: [port] }) {
            const wanted = ["sync", "async", "throws", "rejects", "rejects late"][memory];
            listen(port);
            if (wanted === "throws") throw new Error("connect throws");
            if (wanted === "async") return Promise.resolve("ignored");
            if (wanted === "rejects") return Promise.reject(new Error("connect rejects"));
            if (wanted === "rejects late") {
                return new Promise((resolve, reject) => setTimeout(reject, 5, new Error("connect rejects late")));
            }
        } };
    "#;
    let app = start(r#" test: () => open().ask("count"), "#, worker).await;
    for count in 1..=6 {
        assert_eq!(app.text("/test").await, count.to_string());
    }
    for text in ["connect throws", "connect rejects", "connect rejects late"] {
        app.expect_log(text).await;
    }
    app.stop().await;
}

async fn r035_connect_waits_for_the_module() {
    let worker = r#"
        let loaded = false;
        await new Promise((resolve) => setTimeout(resolve, 1000));
        loaded = true;
        export default { connect({ ports: [port] }) {
            const at = loaded;
            port.onmessage = ({ data }) => port.postMessage([at, data]);
        } };
    "#;
    let routes = r#"
        async test() {
            const worker = open();
            for (let i = 0; i < 3; i++) worker.send(i);
            return [await worker.next(), await worker.next(), await worker.next()];
        },
    "#;
    check(routes, worker, "[[true,0],[true,1],[true,2]]").await;
}

async fn r036_connect_comes_first_and_close_last() {
    let worker = r#"
        const events = new Map();
        export default { connect({ ports: [port] }) {
            const seen = ["connect"];
            let id;
            port.onmessage = ({ data }) => {
                if (data === "report") return port.postMessage([...events]);
                if (data.id) events.set(id = data.id, seen);
                seen.push(data.id ?? data);
            };
            port.onclose = () => seen.push("close");
        } };
    "#;
    let routes = r#"
        flood() {
            for (const id of ["a", "b", "c"]) {
                const { port } = new ServerlessWorker("./worker.js");
                port.postMessage({ id });
                port.postMessage("last");
                port.close();
            }
            return "sent";
        },
        report: () => open().ask("report"),
    "#;
    let app = start(routes, worker).await;
    app.text("/flood").await;
    let events = |id| format!(r#"["{id}",["connect","{id}","last","close"]]"#);
    let wanted = format!("[{},{},{}]", events("a"), events("b"), events("c"));
    app.eventually("/report", &wanted).await;
    app.stop().await;
}

/// The caller is gone, and `connect` has settled, before anybody listens.
async fn r024_r036_who_listens_after_the_close_hears_all_before_it() {
    let worker = r#"
        let first;
        export default { connect({ ports: [port] }) {
            if (first === undefined) {
                first = port;
                return;
            }
            const heard = [];
            port.onmessage = () => {
                first.onclose = ({ code }) => { heard.push(code); port.postMessage(heard); };
                first.onmessage = ({ data }) => heard.push(data);
            };
        } };
    "#;
    let routes = r#"
        async test() {
            const { port } = new ServerlessWorker("./worker.js");
            port.postMessage("a");
            port.postMessage("b");
            port.close();
            return open().ask("listen to the first");
        },
    "#;
    let mut setup = setup(routes, worker);
    setup.limits.request = Duration::from_secs(10);
    let app = setup.start().await;
    assert_eq!(app.text("/test").await, r#"["a","b","closed"]"#);
    app.stop().await;
}

/// It counts who is there, and does not care for what they say.
async fn r036_who_listens_for_the_close_alone_hears_it() {
    let worker = r#"
        let gone = 0;
        export default { connect({ ports: [port] }) {
            port.addEventListener("close", () => gone++);
            port.postMessage(gone);
        } };
    "#;
    let routes = r#"
        async test() {
            const gone = () => open().next();
            const { port } = new ServerlessWorker("./worker.js");
            port.postMessage("hello");
            port.close();
            for (;;) if (await gone() > 0) return "heard";
        },
    "#;
    let mut setup = setup(routes, worker);
    setup.limits.request = Duration::from_secs(10);
    let app = setup.start().await;
    assert_eq!(app.text("/test").await, "heard");
    app.stop().await;
}

/// It listens for the close only after the port is open, and never for messages.
async fn r036_who_opened_and_listens_for_the_close_alone_hears_it() {
    let routes = r#"
        async test() {
            const { port } = new ServerlessWorker("./worker.js");
            port.postMessage("leave");
            const { code } = await new Promise((resolve) => port.addEventListener("close", resolve));
            return code;
        },
    "#;
    let mut setup = setup(routes, LEAVING);
    setup.limits.request = Duration::from_secs(10);
    let app = setup.start().await;
    assert_eq!(app.text("/test").await, "closed");
    app.stop().await;
}

async fn r024_r036_who_opened_and_listens_after_the_close_hears_all_before_it() {
    let routes = r#"
        async test() {
            const { port } = new ServerlessWorker("./worker.js");
            port.postMessage("leave");
            const other = open();
            // What it says comes behind the close of the first.
            while (await other.ask("have you left?") !== true);
            const { next } = caller(port);
            return [await next(), await next()];
        },
    "#;
    let mut setup = setup(routes, LEAVING);
    setup.limits.request = Duration::from_secs(10);
    let app = setup.start().await;
    assert_eq!(app.text("/test").await, r#"["farewell","close: closed"]"#);
    app.stop().await;
}

/// Says farewell and closes, when it is asked to leave.
const LEAVING: &str = r#"
    let hasLeft = false;
    export default { connect({ ports: [port] }) {
        port.onmessage = ({ data }) => {
            if (data !== "leave") return port.postMessage(hasLeft);
            hasLeft = true;
            port.postMessage("farewell");
            port.close();
        };
    } };
"#;
