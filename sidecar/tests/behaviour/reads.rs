//! What reads and transactions see while the worker's writes go on.

use std::sync::Arc;
use std::time::Duration;

use portside_store::Store;

use crate::app::{Setup, TestApp, eventually, open};
use crate::held::HeldStore;
use crate::lab::lab;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    transactions_write_at_the_call,
    transactions_that_read_the_alarm_run_again_when_it_changes,
    limits_of_lists_are_bounded,
    unknown_keys_are_read_as_of_the_call,
    lists_are_as_of_the_call,
    reads_do_not_keep_commits_from_a_worker_that_terminates,
    lists_that_would_not_fit_are_refused,
];

/// Runs a job in a worker.
async fn result_of(job: &str) -> String {
    let app = lab(&format!(
        "export const jobs = {{ async run() {{ {job} }} }}; const sleep = (ms) => new Promise((go) => setTimeout(go, ms));"
    ))
    .start()
    .await;
    let result = app.text("/w/run").await;
    app.stop().await;
    result
}

async fn transactions_write_at_the_call() {
    let result = result_of(
        r#"
        await storage.put({ a: 1, b: 1, c: 1 });
        await storage.transaction(async (t) => { t.delete("a"); });
        await storage.transaction((t) => Promise.all([t.delete("b"), t.put("b", 2)]));
        const [before, listed, got] = await storage.transaction((t) => Promise.all([
            t.get("c"), t.list(), t.get(["b", "c"]), t.put("c", 3), t.delete("b"),
        ]));
        let late;
        await storage.transaction(async (t) => { late = t; });
        const over = await late.delete("c").then(() => "recorded", () => "refused");
        return [await storage.get("a") === undefined, await storage.get("b") === undefined, await storage.get("c"),
            before, [...listed], [...got], over];
        "#,
    );
    let wanted = r#"[true,true,3,1,[["b",2],["c",1]],[["b",2],["c",1]],"refused"]"#;
    assert_eq!(result.await, wanted);
}

async fn transactions_that_read_the_alarm_run_again_when_it_changes() {
    let result = result_of(
        r#"
        const [first, second] = [Date.now() + 3_600_000, Date.now() + 7_200_000];
        let runs = 0;
        const scheduling = storage.transaction(async (t) => {
            runs++;
            if (await t.getAlarm() !== null) return;
            await sleep(50);
            await t.setAlarm(second);
        });
        await storage.setAlarm(first);
        await scheduling;
        return [runs, await storage.getAlarm() === first];
        "#,
    );
    assert_eq!(result.await, "[2,true]");
}

/// A worker that knows few of its keys: it has more than are loaded when it wakes.
async fn large(user: &str) -> TestApp {
    let dir = tempfile::tempdir().unwrap();
    let app = large_on(open(dir.path()).await, user).await;
    // The file is unlinked when the folder goes; the open store keeps it.
    std::mem::forget(dir);
    app
}

/// The same, on a store of the test's own.
async fn large_on(store: Arc<dyn Store>, user: &str) -> TestApp {
    let first = Setup {
        store: Some(store),
        ..lab(r#"export const jobs = { async fill() {
            for (let part = 0; part < 40; part++) {
                const entries = {};
                for (let i = 0; i < 64; i++) entries[`k${part * 64 + i + 10000}`] = "old";
                entries[`large${part}`] = "x".repeat(1_000_000);
                await storage.put(entries);
            }
        } };"#)
    };
    let first = first.start().await;
    assert_eq!(first.text("/w/fill").await, "undefined");
    let store = first.stop().await;
    let second = Setup {
        store: Some(store),
        ..lab(user)
    };
    second.start().await
}

const LARGE: &str = r#"
export const jobs = {
    async get() {
        const reading = storage.get("k12000");
        const both = storage.get(["k12000", "k12001"]);
        storage.put("k12000", "new");
        const deleting = storage.delete("k12001");
        const first = [await reading, [...await both], await deleting];
        return [...first, await storage.get("k12000"), await storage.get("k12001") === undefined];
    },
    async list() {
        const range = { start: "k12010", end: "k12013" };
        const listing = storage.list(range);
        storage.put("k12010", "new");
        storage.delete("k12011");
        storage.put("k12012a", "new");
        const later = storage.list(range);
        return [[...(await listing)], [...(await later)]];
    },
    async limits() {
        await storage.delete(["k12300", "k12301"]);
        const found = await storage.list({ start: "k12300", end: "k12311", limit: 2 ** 31 - 1 });
        const refused = await storage.list({ limit: 2 ** 64 }).then(() => "given", (error) => error.name);
        const limited = await storage.transaction((t) => { t.delete("k12302"); return t.list({ start: "k12300", limit: 2 }); });
        const reverse = await storage.list({ prefix: "k", reverse: true });
        const keys = [...reverse.keys()];
        const sorted = keys.every((key, i) => i === 0 || key < keys[i - 1]);
        return [found.size, refused, [...limited.keys()], keys.length, sorted];
    },
    async terminate() {
        storage.get("k12500");
        storage.put("k12500", "new");
        self.terminate();
    },
    terminated: () => storage.get("k12500"),
    ping: () => "pong",
};
"#;

async fn unknown_keys_are_read_as_of_the_call() {
    let app = large(LARGE).await;
    let wanted = r#"["old",[["k12000","old"],["k12001","old"]],true,"new",true]"#;
    assert_eq!(app.text("/w/get").await, wanted);
    app.stop().await;
}

/// The store takes its time for the first list: what is written after the call must not be there when it reads.
async fn lists_are_as_of_the_call() {
    let store = HeldStore::new().await;
    let app = Arc::new(large_on(store.clone(), LARGE).await);
    assert_eq!(app.text("/w/ping").await, "pong");
    store.take_asked();
    store.hold_lists(true);
    let asked = app.clone();
    let answer = tokio::spawn(async move { asked.text("/w/list").await });
    assert!(eventually(async || store.count_lists() > 0).await);
    let committed = tokio::time::timeout(Duration::from_millis(500), store.is_asked()).await;
    assert!(committed.is_err(), "what the list must not see is stored");
    store.hold_lists(false);
    let wanted = r#"[[["k12010","old"],["k12011","old"],["k12012","old"]],[["k12010","new"],["k12012","old"],["k12012a","new"]]]"#;
    assert_eq!(answer.await.unwrap(), wanted);
    store.is_asked().await;
    app.app.shut_down().await;
}

async fn limits_of_lists_are_bounded() {
    let app = large(LARGE).await;
    let wanted = r#"[9,"TypeError",["k12303","k12304"],2557,true]"#;
    assert_eq!(app.text("/w/limits").await, wanted);
    app.stop().await;
}

async fn reads_do_not_keep_commits_from_a_worker_that_terminates() {
    let app = large(LARGE).await;
    assert_eq!(app.text("/w/ping").await, "pong");
    assert_eq!(
        app.get("/w/terminate").await,
        (503, "closed: terminated".into())
    );
    app.eventually("/w/terminated", "new").await;
    app.stop().await;
}

async fn lists_that_would_not_fit_are_refused() {
    let user = r#"export const jobs = {
        async fill() {
            for (let i = 0; i < 90; i++) await storage.put(`large${i + 100}`, "x".repeat(1_000_000));
        },
        async list() {
            const refused = await storage.list().then(({ size }) => `${size}`, ({ name, message }) => `${name}: ${message}`);
            const pages = await storage.list({ limit: 20 });
            return [refused, pages.size];
        },
        async inTransaction() { return (await storage.transaction((t) => t.list({ limit: 2 }))).size; },
    };"#;
    let mut setup = lab(user);
    let limits = portside_core::limits::Limits {
        heap_bytes: 64 << 20,
        external_bytes: 64 << 20,
        ..setup.limits.clone()
    };
    setup.limits = limits;
    let app = Arc::new(setup.start().await);
    assert_eq!(app.text("/w/fill").await, "undefined");
    let answer = app.text("/w/list").await;
    assert!(
        answer.starts_with(r#"["RangeError: storage.list() would give more than 67108864 bytes"#),
        "{answer}"
    );
    assert!(
        answer.contains("limit") && answer.ends_with("\",20]"),
        "{answer}"
    );
    assert_eq!(app.text("/w/inTransaction").await, "2");
    app.app.shut_down().await;
}
