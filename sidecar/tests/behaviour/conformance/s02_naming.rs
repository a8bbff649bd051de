//! Section 2: construction, naming, addressing.

use std::time::Duration;

use portside_core::ids::{SHARDS, WorkerKey};
use portside_core::keys::KeyRange;

use super::kit::{COUNTER, check, setup, start};
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r009_the_constructor_is_a_class,
    r010_r011_a_name_is_one_worker,
    r012_another_script_is_another_worker,
    r013_r018_names_are_strings_of_at_most_1024_bytes,
    r014_options_may_hold_the_name,
    r015_scripts_are_modules_of_the_application,
    r016_addressing_a_worker_creates_nothing,
    r017_constructing_wakes_nobody,
    r019_there_is_no_generator_of_names,
    r020_workers_call_workers,
];

/// A worker that tells its name as JSON.
const NAMED: &str = r#"
    export default { connect({ ports: [port] }) { port.onmessage = () => port.postMessage(JSON.stringify([self.name, name === self.name])); } };
"#;

async fn r009_the_constructor_is_a_class() {
    let routes = r#"
        test: async () => [
            typeof ServerlessWorker,
            await thrown(() => ServerlessWorker("./worker.js")),
            await thrown(() => new ServerlessWorker()),
            new ServerlessWorker("./worker.js") instanceof ServerlessWorker,
            new ServerlessWorker(new URL("file:///worker.js"), "x").name,
        ].join(),
    "#;
    check(routes, COUNTER, "function,TypeError,TypeError,true,x").await;
}

async fn r010_r011_a_name_is_one_worker() {
    let routes = r#"
        hit: (query) => open(query.get("name")).ask("hit"),
        unnamed: () => caller(new ServerlessWorker("./worker.js").port).ask("hit"),
    "#;
    let app = start(routes, COUNTER).await;
    for (path, count) in [
        ("/hit?name=a", "1"),
        ("/hit?name=a", "2"),
        ("/hit?name=b", "1"),
        ("/unnamed", "1"),
        ("/hit?name=", "2"),
        ("/unnamed", "3"),
        ("/hit?name=a", "3"),
    ] {
        assert_eq!(app.text(path).await, count, "{path}");
    }
    app.stop().await;
}

async fn r012_another_script_is_another_worker() {
    let routes = r#" hit: (query) => open("same", query.get("script")).ask("hit"), "#;
    let mut setup = setup(routes, COUNTER);
    setup.add("other.js", COUNTER);
    let app = setup.start().await;
    assert_eq!(app.text("/hit?script=./worker.js").await, "1");
    assert_eq!(app.text("/hit?script=./other.js").await, "1");
    assert_eq!(app.text("/hit?script=./sub/../worker.js").await, "2");
    app.stop().await;
}

async fn r013_r018_names_are_strings_of_at_most_1024_bytes() {
    let routes = r#"
        async test() {
            const seen = [];
            for (const name of ["chat-room-1", "", "👋🏽 ü", "a\0b", "a\nb", 7, true, "n".repeat(1024), "ü".repeat(512)]) {
                const worker = new ServerlessWorker("./worker.js", name);
                const [told, same] = JSON.parse(await caller(worker.port).ask("name?"));
                if (told !== String(name) || worker.name !== told || !same) seen.push([name, worker.name, told]);
            }
            const nothing = [null, undefined, {}].map((name) => new ServerlessWorker("./worker.js", name).name);
            const lone = new ServerlessWorker("./worker.js", "\uD800");
            seen.push(nothing.join("") === "", lone.name === "\uFFFD");
            for (const name of ["n".repeat(1025), "ü".repeat(513), Symbol("s")]) {
                seen.push(await thrown(() => new ServerlessWorker("./worker.js", name)));
            }
            return seen;
        },
    "#;
    check(
        routes,
        NAMED,
        r#"[true,true,"TypeError","TypeError","TypeError"]"#,
    )
    .await;
}

async fn r014_options_may_hold_the_name() {
    let routes = r#"
        async test() {
            const named = new ServerlessWorker("./worker.js", { name: "optional", type: "module", credentials: "omit", other: 1 });
            const told = await caller(named.port).ask("name?");
            const unnamed = new ServerlessWorker("./worker.js", { type: "module" }).name;
            return [told, unnamed, await thrown(() => new ServerlessWorker("./worker.js", { type: "classic" }))];
        },
    "#;
    check(routes, NAMED, r#"["[\"optional\",true]","","TypeError"]"#).await;
}

async fn r015_scripts_are_modules_of_the_application() {
    let routes = r#"
        async test() {
            const { nested } = await import("./lib/caller.js");
            const outside = ["./none.js", "../../etc/passwd", "https://example.com/worker.js", "data:text/javascript,1",
                "file:///etc/passwd", "worker", "http://"];
            return [
                await caller(nested().port).ask("which?"),
                await open("", "worker.js").ask("which?"),
                await open("", "/lib/worker.js").ask("which?"),
                ...await Promise.all(outside.map((script) => thrown(() => new ServerlessWorker(script)))),
            ].join(" ");
        },
    "#;
    let mut setup = setup(routes, &which("root"));
    setup.add("lib/worker.js", &which("lib"));
    setup.add(
        "lib/caller.js",
        "export const nested = () => new ServerlessWorker('./worker.js');",
    );
    let app = setup.start().await;
    let refused = ["TypeError"; 7].join(" ");
    assert_eq!(app.text("/test").await, format!("lib root lib {refused}"));
    app.stop().await;
}

async fn r016_addressing_a_worker_creates_nothing() {
    let worker = r#"
        console.log("evaluated");
        export default { connect({ ports: [port] }) { port.onmessage = ({ data }) => port.postMessage(data); } };
    "#;
    let app = start(r#" test: () => open("new").ask("initial data"), "#, worker).await;
    assert_eq!(app.text("/test").await, "initial data");
    assert_eq!(app.count_logged("evaluated"), 1);
    let id = WorkerKey::new("worker.js", "new").unwrap().id();
    let range = KeyRange::default();
    let stored = app.store.list(id.shard(SHARDS), id, &range).await.unwrap();
    assert!(stored.is_empty());
    app.stop().await;
}

async fn r017_constructing_wakes_nobody() {
    let worker = "console.log(`awake: ${name}`); export default {};";
    let routes = r#"
        construct() {
            for (let i = 0; i < 10_000; i++) {
                const { port } = new ServerlessWorker("./worker.js", `worker ${i}`);
                port.onclose = port.onerror = () => {};
                if (i % 2) port.close();
            }
            return "done";
        },
        post() { new ServerlessWorker("./worker.js", "by post").port.postMessage(1); return "done"; },
        start() { new ServerlessWorker("./worker.js", "by start").port.start(); return "done"; },
        listen() { new ServerlessWorker("./worker.js", "by onmessage").port.onmessage = () => {}; return "done"; },
    "#;
    let app = start(routes, worker).await;
    app.text("/construct").await;
    for (path, by) in [
        ("/post", "post"),
        ("/start", "start"),
        ("/listen", "onmessage"),
    ] {
        app.text(path).await;
        app.expect_log(&format!("awake: by {by}")).await;
    }
    assert_eq!(app.count_logged("awake: worker"), 0);
    app.stop().await;
}

async fn r019_there_is_no_generator_of_names() {
    let routes = r#"
        test: async () => [
            await thrown(() => createServerlessWorkerId()),
            await open().ask("there?"),
            /^[0-9a-f-]{36}$/.test(crypto.randomUUID()),
        ].join(),
    "#;
    let worker = r#"
        export default { connect({ ports: [port] }) {
            port.onmessage = () => port.postMessage(typeof createServerlessWorkerId);
        } };
    "#;
    check(routes, worker, "ReferenceError,undefined,true").await;
}

async fn r020_workers_call_workers() {
    let worker = r#"
        import { open } from "./kit.js";
        const calls = { a: "b", b: "a" };
        export default { connect({ ports: [port] }) { port.onmessage = async ({ data: depth }) => {
            if (depth === 0) return port.postMessage(name);
            const next = open(calls[name] ?? name);
            const answer = await next.ask(depth - 1);
            next.port.close();
            port.postMessage(name + answer);
        }; } };
    "#;
    let routes = r#"
        test: async () => [await open("a").ask(20), await open("itself").ask(2)].join(" "),
    "#;
    let app = start(routes, worker).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), app.text("/test"));
    let wanted = format!("{}a itselfitselfitself", "ab".repeat(10));
    assert_eq!(answer.await.expect("no deadlock"), wanted);
    app.stop().await;
}

/// A worker that tells where its script is.
fn which(place: &str) -> String {
    format!(
        "export default {{ connect({{ ports: [port] }}) {{ port.onmessage = () => port.postMessage('{place}'); }} }};"
    )
}
