//! Section 1: the model.

use super::kit::{COUNTER, at_once, check, setup, start};
use crate::app::Setup;
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r001_handlers_are_optional,
    r002_one_worker_serves_many_callers,
    r003_workers_share_nothing,
    r005_data_outlives_the_process,
    r006_loaded_values_are_read_from_memory,
    r007_racing_callers_wake_one_instance,
    r008_handlers_interleave_only_at_await,
];

/// Answers "hit" of the worker that `?name=` names.
const HIT: &str = r#" hit: (query) => open(query.get("name") ?? "").ask("hit"), "#;

async fn r001_handlers_are_optional() {
    let worker = r#"
        setAlarm(Date.now());
        export default { connect({ ports: [port] }) { port.postMessage("here"); } };
    "#;
    let routes = r#"
        alarmless: () => { const worker = open(); worker.send("wake"); return worker.next(); },
        empty() { open("", "./empty.js").send("anybody?"); return "sent"; },
        bare() { open("", "./bare.js").send("anybody?"); return "sent"; },
    "#;
    let mut setup = setup(routes, worker);
    setup.add("empty.js", "export default {};");
    setup.add("bare.js", "console.log('bare is loaded');");
    let app = setup.start().await;
    assert_eq!(app.text("/alarmless").await, "here");
    app.expect_log("no alarm() handler").await;
    app.text("/empty").await;
    app.expect_log("no connect() handler").await;
    app.text("/bare").await;
    app.expect_log("bare is loaded").await;
    app.stop().await;
}

async fn r002_one_worker_serves_many_callers() {
    let app = start(HIT, COUNTER).await;
    let mut seen = vec![];
    for answer in at_once(&app, "/hit?name=shared", 100).await {
        seen.push(answer.parse::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
    app.stop().await;
}

async fn r003_workers_share_nothing() {
    let worker = r#"
        const look = () => JSON.stringify([globalThis.x ?? null, [].leaked ?? null, Object.keys(import.meta).includes("x")]);
        export default { connect({ ports: [port] }) { port.onmessage = ({ data }) => {
            if (data === "pollute") {
                globalThis.x = 1;
                Array.prototype.leaked = 1;
                Object.prototype.polluted = 1;
            }
            port.postMessage(look());
        }; } };
    "#;
    let routes = r#"
        async test() {
            const polluted = await open("a").ask("pollute");
            const clean = await open("b").ask("look");
            const shared = await thrown(() => open("b").send(new SharedArrayBuffer(8)));
            const wasm = await thrown(() => open("b").send(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer));
            return [polluted, clean, shared, wasm, {}.polluted ?? null].join(" ");
        },
    "#;
    check(
        routes,
        worker,
        "[1,1,false] [null,null,false] DataCloneError DataCloneError ",
    )
    .await;
}

async fn r005_data_outlives_the_process() {
    let worker = r#"
        export default { connect({ ports: [port] }) { port.onmessage = async ({ data }) => {
            if (data !== "read") await storage.put("kept", data);
            port.postMessage(await storage.get("kept"));
        }; } };
    "#;
    let routes = r#" put: () => open().ask("for ever"), get: () => open().ask("read"), "#;
    let app = start(routes, worker).await;
    assert_eq!(app.text("/put").await, "for ever");
    let again = Setup {
        store: Some(app.stop().await),
        ..setup(routes, worker)
    };
    let app = again.start().await;
    assert_eq!(app.text("/get").await, "for ever");
    app.stop().await;
}

async fn r006_loaded_values_are_read_from_memory() {
    // A read that asks the store cannot end while microtasks alone run, for its answer needs the event loop.
    let worker = r#"
        export default { connect({ ports: [port] }) { port.onmessage = async () => {
            await storage.put("key", { value: 1 });
            let turns = 0;
            const channel = setInterval(() => turns++, 0);
            for (let i = 0; i < 1000; i++) await storage.get("key");
            const during = turns;
            clearInterval(channel);
            port.postMessage(during);
        }; } };
    "#;
    check(r#" test: () => open().ask("go"), "#, worker, "0").await;
}

async fn r007_racing_callers_wake_one_instance() {
    let worker = r#"
        console.log("an instance of " + name);
        await new Promise((resolve) => setTimeout(resolve, 50));
        let count = 0;
        export default { connect({ ports: [port] }) { port.onmessage = () => port.postMessage(++count); } };
    "#;
    let app = start(HIT, worker).await;
    let answers = at_once(&app, "/hit?name=cold", 50).await;
    assert!(answers.contains(&"50".to_owned()), "{answers:?}");
    assert_eq!(app.count_logged("an instance of cold"), 1);
    app.stop().await;
}

async fn r008_handlers_interleave_only_at_await() {
    let worker = r#"
        let count = 0, inside = 0, overlaps = 0;
        export default { connect({ ports: [port] }) { port.onmessage = () => {
            if (inside++ > 0) overlaps++;
            const before = count;
            for (let i = 0; i < 1000; i++) Math.sqrt(i);
            count = before + 1;
            inside--;
            port.postMessage(`${count} ${overlaps}`);
        }; } };
    "#;
    let app = start(HIT, worker).await;
    let answers = at_once(&app, "/hit", 200).await;
    assert!(answers.contains(&"200 0".to_owned()), "{answers:?}");
    app.stop().await;
}
