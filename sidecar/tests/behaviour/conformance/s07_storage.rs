//! Section 7: storage.

use std::sync::Arc;
use std::time::Duration;

use crate::app::{Setup, TestApp};
use crate::held::{HeldStore, Mode};
use crate::lab::{is_replaced, lab, recovers};
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r051_every_cloneable_type_is_stored,
    r051_stored_values_are_copies,
    r051_missing_keys_are_undefined,
    r051_what_cannot_be_cloned_is_refused,
    r052_delete_tells_what_existed,
    r053_undefined_is_not_stored,
    r054_list_orders_by_bytes_and_takes_options,
    r054_list_refuses_bad_options,
    r055_batches,
    r055_transactions_commit_together,
    r055_transactions_roll_back,
    r055_a_transaction_gives_its_methods_and_nothing_else,
    r051_keys_are_not_symbols,
    r055_transactions_retry_on_conflict,
    r055_delete_all_and_sync,
    r057_handlers_interleave_without_input_gate,
    r057_handlers_do_not_interleave_with_input_gate,
    r058_replies_wait_for_writes,
    r058_fetches_wait_for_writes,
    r058_acknowledged_writes_survive_the_process,
    r059_a_turn_is_one_commit,
    r059_a_failed_commit_leaves_nothing,
    r060_keys_values_and_batches_are_limited,
    r060_large_state_is_read_as_needed,
];

async fn run(user: &str) -> TestApp {
    lab(user).start().await
}

/// Runs one piece of code in a worker and gives its result.
async fn result_of(code: &str) -> String {
    let app = run(&format!(
        "export const jobs = {{ async run() {{ {code} }} }};"
    ))
    .await;
    let result = app.text("/w/run").await;
    app.stop().await;
    result
}

async fn r051_every_cloneable_type_is_stored() {
    let user = r#"
        const cyclic = { deep: [1] };
        cyclic.self = cyclic;
        class Fancy { field = 1; }
        const values = {
          undefinedInside: [undefined, null], sparse: [1, , 3], numbers: [-0, NaN, Infinity, 1.5, 2 ** 53],
          big: 2n ** 100n, text: "\u{1f600}\0\ud800", bools: [true, false], boxed: [new Number(1), new String("x"), new Boolean(false)],
          date: new Date(1234), regexp: /a+/giu, map: new Map([[{ a: 1 }, new Set([1, "2"])]]),
          error: new RangeError("told", { cause: "why" }), bytes: new Uint8Array([1, 2, 3]).subarray(1),
          floats: new Float64Array([0.5]), big64: new BigInt64Array([-1n]), view: new DataView(new ArrayBuffer(4), 1, 2),
          buffer: new Uint8Array([9]).buffer, cyclic, fancy: new Fancy(), nothing: null, empty: "",
        };
        const same = (a, b) => {
          if (Object.is(a, b)) return true;
          if (typeof a !== "object" || a === null || typeof b !== "object" || b === null) return false;
          return Object.prototype.toString.call(a) === Object.prototype.toString.call(b);
        };
        const checks = {
          undefinedInside: (v) => v.length === 2 && v[0] === undefined && 0 in v && v[1] === null,
          sparse: (v) => v.length === 3 && !(1 in v) && v[2] === 3,
          numbers: (v) => values.numbers.every((n, i) => Object.is(n, v[i])),
          bools: (v) => v[0] === true && v[1] === false,
          boxed: (v) => v[0] instanceof Number && v[0] == 1 && v[1] instanceof String && v[2] instanceof Boolean,
          date: (v) => v.getTime() === 1234,
          regexp: (v) => v.source === "a+" && v.flags === "giu",
          map: (v) => { const [[k, s]] = v; return k.a === 1 && s.has(1) && s.has("2"); },
          error: (v) => v instanceof RangeError && v.message === "told" && v.cause === "why",
          bytes: (v) => v instanceof Uint8Array && v.join() === "2,3",
          floats: (v) => v[0] === 0.5, big64: (v) => v[0] === -1n,
          view: (v) => v.byteLength === 2, buffer: (v) => new Uint8Array(v)[0] === 9,
          cyclic: (v) => v.self === v && v.deep[0] === 1,
          fancy: (v) => v.field === 1 && !(v instanceof Fancy),
        };
        export const jobs = {
          async put() {
            for (const [key, value] of Object.entries(values)) await storage.put(key, value);
            return "ok";
          },
          async check() {
            const wrong = [];
            for (const key of Object.keys(values)) {
              const value = await storage.get(key);
              if (!same(values[key], value) || checks[key]?.(value) === false) wrong.push(key);
            }
            return wrong;
          },
          terminate() { self.terminate(); },
        };
    "#;
    let app = run(user).await;
    assert_eq!(app.text("/w/put").await, "ok");
    assert_eq!(app.text("/w/check").await, "[]", "from memory");
    assert_eq!(
        app.get("/w/terminate").await,
        (503, "closed: terminated".into())
    );
    recovers(&app, "/w/check", "[]").await;
    app.stop().await;
}

async fn r051_stored_values_are_copies() {
    let result = result_of(
        r#"
        const given = { list: [1] };
        const putting = storage.put("k", given);
        given.list.push(2);
        await putting;
        given.list.push(3);
        const got = await storage.get("k");
        const first = got.list.join();
        got.list.push(4);
        (await storage.list()).get("k").list.push(5);
        (await storage.get(["k"])).get("k").list.push(6);
        return [first, (await storage.get("k")).list.join()];
        "#,
    );
    assert_eq!(result.await, r#"["1","1"]"#);
}

async fn r051_missing_keys_are_undefined() {
    let result = result_of(
        r#"
        const missing = await storage.get("none");
        await storage.put("null", null);
        await storage.put("", "the empty key");
        return [missing === undefined, await storage.get("null") === null, await storage.get(""), await storage.get("none") ?? 7];
        "#,
    );
    assert_eq!(result.await, r#"[true,true,"the empty key",7]"#);
}

async fn r051_what_cannot_be_cloned_is_refused() {
    let result = result_of(
        r#"
        await storage.put("k", 1);
        const names = [];
        for (const value of [() => 1, Symbol("s"), new WeakMap(), Promise.resolve(), { inside: () => 1 }]) {
          names.push(await storage.put("k", value).then(() => "stored", (error) => error.name));
        }
        const batch = await storage.put({ k: 2, other: () => 1 }).then(() => "stored", (error) => error.name);
        const getter = await storage.put("k", { get bad() { throw new Error("mine"); } }).then(() => "stored", (e) => e.message);
        return [new Set(names).size, names[0], batch, getter, await storage.get("k"), (await storage.list()).size];
        "#,
    );
    assert_eq!(
        result.await,
        r#"[1,"DataCloneError","DataCloneError","mine",1,1]"#
    );
}

async fn r052_delete_tells_what_existed() {
    let result = result_of(
        r#"
        await storage.put({ a: 1, b: 2, c: null });
        const out = [await storage.delete("a"), await storage.delete("a"), await storage.delete("c")];
        out.push(await storage.delete(["a", "b", "b", "x"]), await storage.delete([]));
        storage.put("d", 1);
        out.push(await storage.delete("d"), await storage.get("d") === undefined);
        return out;
        "#,
    );
    assert_eq!(result.await, "[true,false,true,1,0,true,true]");
}

async fn r053_undefined_is_not_stored() {
    let result = result_of(
        r#"
        await storage.put("k", 1);
        const refused = async (...args) => {
          try {
            await storage.put(...args);
            return "stored";
          } catch (error) {
            return error.name;
          }
        };
        return [await refused("k", undefined), await refused("k"), await refused({ k: 2, l: undefined }),
          await refused(undefined, 1), await storage.get("k")];
        "#,
    );
    assert_eq!(
        result.await,
        r#"["TypeError","TypeError","TypeError","TypeError",1]"#
    );
}

async fn r054_list_orders_by_bytes_and_takes_options() {
    let result = result_of(
        r#"
        // UTF-16 code units would put the astral one before U+FFFF.
        for (const key of ["b", "a", "ab", "\u{1f600}", "\uffff", "B", "aa", ""]) await storage.put(key, key.length);
        const keys = async (options) => [...(await storage.list(options)).keys()].join(" ");
        const all = await storage.list();
        return [
          all instanceof Map,
          [...all.keys()].map((key) => key.codePointAt(0)?.toString(16)).join(" "),
          await keys({ prefix: "a" }), await keys({ prefix: "a", reverse: true }), await keys({ prefix: "a", limit: 2 }),
          await keys({ start: "aa", end: "b" }), await keys({ startAfter: "aa", limit: 2 }), await keys({ end: "a", start: "B" }),
          await keys({ start: "a", limit: 2, reverse: true, end: "b" }), await keys({ prefix: "zz" }), await keys({ start: "b", end: "a" }),
        ];
        "#,
    );
    assert_eq!(
        result.await,
        r#"[true," 42 61 61 61 62 ffff 1f600","a aa ab","ab aa a","a aa","aa ab","ab b","B","ab aa","",""]"#
    );
}

async fn r054_list_refuses_bad_options() {
    let result = result_of(
        r#"
        const names = [];
        for (const options of [{ limit: 0 }, { limit: -1 }, { limit: 1.5 }, { limit: "x" }, { start: "a", startAfter: "b" }]) {
          names.push(await storage.list(options).then(() => "listed", (error) => error.name));
        }
        return [...new Set(names)];
        "#,
    );
    assert_eq!(result.await, r#"["TypeError"]"#);
}

async fn r055_batches() {
    let result = result_of(
        r#"
        await storage.put({ a: 1, b: 2, c: 3 });
        const got = await storage.get(["c", "x", "a"]);
        return [got instanceof Map, [...got], await storage.delete(["a", "x", "b"]), [...await storage.list()]];
        "#,
    );
    assert_eq!(result.await, r#"[true,[["a",1],["c",3]],2,[["c",3]]]"#);
}

async fn r055_transactions_commit_together() {
    let result = result_of(
        r#"
        await storage.put({ a: 1, gone: 1 });
        const seen = [];
        const returned = await storage.transaction(async (txn) => {
          await txn.put("a", await txn.get("a") + 1);
          await txn.put({ b: 5 });
          seen.push(await txn.delete("gone"), await txn.get("b"), await txn.get("gone") === undefined);
          seen.push([...(await txn.list()).keys()].join());
          seen.push(await storage.get("a"), await storage.get("b") === undefined); // outside nothing is seen yet
          return "returned";
        });
        return [returned, seen, [...await storage.list()]];
        "#,
    );
    assert_eq!(
        result.await,
        r#"["returned",[true,5,true,"a,b",1,true],[["a",2],["b",5]]]"#
    );
}

async fn r055_transactions_roll_back() {
    let result = result_of(
        r#"
        await storage.put("a", 1);
        const thrown = await storage.transaction(async (txn) => {
          await txn.put("a", 2);
          throw new Error("mine");
        }).catch((error) => error.message);
        await storage.transaction(async (txn) => {
          await txn.put("a", 3);
          txn.rollback();
        });
        const after = await storage.transaction(async (txn) => {
          txn.rollback();
          await txn.put("a", 4);
        }).then(() => "ended", (error) => error.message);
        const caught = await storage.transaction(async (txn) => {
          txn.rollback();
          txn.rollback();
          const uses = [txn.get("a"), txn.get(["a"]), txn.put("a", 4), txn.delete("a"), txn.list(), txn.getAlarm(), txn.setAlarm(1),
            txn.deleteAlarm()];
          const ends = await Promise.allSettled(uses);
          return ends.filter(({ status }) => status === "rejected").length;
        });
        let escaped;
        await storage.transaction(async (txn) => { escaped = txn; });
        const late = await escaped.put("a", 5).then(() => "written", () => "refused");
        return [thrown, after, caught, late, await storage.get("a")];
        "#,
    );
    let refusal = "Cannot perform operation on a rolled back transaction";
    let wanted = format!(r#"["mine","{refusal}",8,"refused",1]"#);
    assert_eq!(result.await, wanted);
}

async fn r055_a_transaction_gives_its_methods_and_nothing_else() {
    let result = result_of(
        r#"
        return storage.transaction(async (txn) => {
          const names = new Set();
          for (let object = txn; object !== Object.prototype; object = Object.getPrototypeOf(object)) {
            for (const name of Object.getOwnPropertyNames(object)) names.add(name);
          }
          const made = (() => { try { return typeof new txn.constructor(); } catch (error) { return error.name; } })();
          return [...names].sort().concat(made);
        });
        "#,
    );
    assert_eq!(
        result.await,
        r#"["constructor","delete","deleteAlarm","get","getAlarm","list","put","rollback","setAlarm","TypeError"]"#
    );
}

async fn r051_keys_are_not_symbols() {
    let result = result_of(
        r#"
        const key = Symbol("k");
        const uses = [
          () => storage.put(key, 1), () => storage.get(key), () => storage.get(["a", key]), () => storage.delete(key),
          () => storage.delete([key]), () => storage.list({ prefix: key }), () => storage.list({ start: key }),
          () => storage.transaction((txn) => txn.put(key, 1)),
        ];
        const ends = new Set();
        for (const use of uses) ends.add(await use().then(() => "done", ({ name, message }) => `${name}: ${message}`));
        return [[...ends], (await storage.list()).size];
        "#,
    );
    assert_eq!(
        result.await,
        r#"[["TypeError: a storage key cannot be a symbol"],0]"#
    );
}

async fn r055_transactions_retry_on_conflict() {
    let result = result_of(
        r#"
        await storage.put("n", 0);
        let attempts = 0;
        const increment = () => storage.transaction(async (txn) => {
          attempts++;
          const n = await txn.get("n");
          await new Promise((resolve) => setTimeout(resolve, 1));
          await txn.put("n", n + 1);
        });
        await Promise.all(Array.from({ length: 8 }, increment));
        const afterEight = [await storage.get("n"), attempts > 8];
        let runs = 0;
        await storage.transaction(async (txn) => {
          runs++;
          const size = (await txn.list({ prefix: "item" })).size;
          if (runs === 1) await storage.put("item1", 1); // falls into what was listed
          await txn.put("size", size);
        });
        return [...afterEight, runs, await storage.get("size")];
        "#,
    );
    assert_eq!(result.await, "[8,true,2,1]");
}

async fn r055_delete_all_and_sync() {
    let user = r#"
        export const jobs = {
          async fill() {
            await storage.put({ a: 1, b: 2 });
            await setAlarm(Date.now() + 1e7);
            storage.put("c", 3);
            const all = storage.deleteAll();
            storage.put("after", 4);
            await all;
            await storage.sync();
            return [[...await storage.list()], await getAlarm() !== null];
          },
          async list() { return [...await storage.list()]; },
          terminate() { self.terminate(); },
        };
    "#;
    let app = run(user).await;
    assert_eq!(app.text("/w/fill").await, r#"[[["after",4]],true]"#);
    app.get("/w/terminate").await;
    recovers(&app, "/w/list", r#"[["after",4]]"#).await;
    app.stop().await;
}

const STEPS: &str = r#"
    export const jobs = {
      async steps(name) {
        console.log(`begin ${name}`);
        await storage.put("last", name);
        console.log(`end ${name}`);
        return name;
      },
    };
"#;

async fn held(user: &str, input_gate: bool) -> (Arc<TestApp>, Arc<HeldStore>) {
    let store = HeldStore::new().await;
    let app = Setup {
        store: Some(store.clone()),
        input_gate,
        ..lab(user)
    };
    (Arc::new(app.start().await), store)
}

fn ask(app: &Arc<TestApp>, path: &str) -> tokio::task::JoinHandle<(u16, String)> {
    let (app, path) = (app.clone(), path.to_owned());
    tokio::spawn(async move { app.get(&path).await })
}

/// The lines of the log that begin with a step, in order.
fn steps(app: &TestApp) -> Vec<String> {
    let log = app.log.lock().unwrap();
    log.iter().map(|line| line.text.clone()).collect()
}

async fn r057_handlers_interleave_without_input_gate() {
    let (app, store) = held(STEPS, false).await;
    store.set(Mode::Held);
    let first = ask(&app, "/w/steps?1");
    app.expect_log("begin 1").await;
    let second = ask(&app, "/w/steps?2");
    app.expect_log("begin 2").await;
    assert!(!app.logged("end"), "a put resolved before it was durable");
    store.set(Mode::Open);
    assert_eq!(first.await.unwrap(), (200, "1".into()));
    assert_eq!(second.await.unwrap(), (200, "2".into()));
    app.app.shut_down().await;
}

async fn r057_handlers_do_not_interleave_with_input_gate() {
    let (app, store) = held(STEPS, true).await;
    store.set(Mode::Held);
    let first = ask(&app, "/w/steps?1");
    app.expect_log("begin 1").await;
    let second = ask(&app, "/w/steps?2");
    store.is_asked().await;
    store.set(Mode::Open);
    assert_eq!(first.await.unwrap().0, 200);
    assert_eq!(second.await.unwrap().0, 200);
    assert_eq!(steps(&app), ["begin 1", "end 1", "begin 2", "end 2"]);
    app.app.shut_down().await;
}

async fn r058_replies_wait_for_writes() {
    let user = r#"export const jobs = {
        put() { storage.put("k", 1); console.log("handled"); return "answered"; },
    };"#;
    let (app, store) = held(user, false).await;
    store.set(Mode::Held);
    let mut reply = ask(&app, "/w/put");
    store.is_asked().await;
    app.expect_log("handled").await;
    let early = tokio::time::timeout(Duration::from_millis(300), &mut reply).await;
    assert!(early.is_err(), "answered before the write was durable");
    store.set(Mode::Open);
    assert_eq!(reply.await.unwrap(), (200, "answered".into()));
    app.app.shut_down().await;
}

async fn r058_fetches_wait_for_writes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let user = r#"export const jobs = {
        async tell(url) { storage.put("k", 1); return await (await fetch(url)).text(); },
    };"#;
    let (app, store) = held(user, false).await;
    store.set(Mode::Held);
    let reply = ask(&app, &format!("/w/tell?http://{address}/"));
    store.is_asked().await;
    let early = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await;
    assert!(early.is_err(), "a third party heard of what is not durable");
    store.set(Mode::Open);
    let (mut stream, _) = listener.accept().await.unwrap();
    let _ = stream.read(&mut [0; 4096]).await.unwrap();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nheard";
    stream.write_all(answer).await.unwrap();
    assert_eq!(reply.await.unwrap(), (200, "heard".into()));
    app.app.shut_down().await;
}

async fn r058_acknowledged_writes_survive_the_process() {
    let user = r#"export const jobs = {
        async count() { const n = (await storage.get("n") ?? 0) + 1; storage.put("n", n); return n; },
    };"#;
    let (app, store) = held(user, false).await;
    assert_eq!(app.text("/w/count").await, "1");
    assert_eq!(app.text("/w/count").await, "2");
    store.set(Mode::Dead);
    let unanswered = ask(&app, "/w/count");
    let successor = Setup {
        store: Some(store.inner()),
        ..lab(user)
    };
    let successor = successor.start().await;
    assert_eq!(successor.text("/w/count").await, "3");
    unanswered.abort();
    successor.stop().await;
}

async fn r059_a_turn_is_one_commit() {
    let user = r#"export const jobs = {
        async turn() {
          storage.put("a", 0);
          storage.put("a", 1);
          storage.put({ b: 2 });
          storage.delete("c");
          setAlarm(Date.now() + 1e7);
          await storage.transaction((txn) => txn.put("t", 1));
          return "done";
        },
    };"#;
    let (app, store) = held(user, false).await;
    assert_eq!(app.text("/w/turn").await, "done");
    let commits = store.take_asked();
    let first = &commits[0].batch;
    assert_eq!(commits.len(), 1, "{commits:?}");
    assert_eq!(first.writes.keys().collect::<Vec<_>>(), ["a", "b", "t"]);
    assert_ne!(
        first.alarm,
        portside_core::alarm::AlarmChange::Keep,
        "the alarm goes with the writes"
    );
    app.app.shut_down().await;
}

async fn r059_a_failed_commit_leaves_nothing() {
    let user = r#"export const jobs = {
        turn() { storage.put("a", 1); storage.put("b", 2); return "done"; },
        async list() { return [...(await storage.list()).keys()]; },
    };"#;
    let (app, store) = held(user, false).await;
    store.set(Mode::Failing);
    let (status, text) = app.get("/w/turn").await;
    assert_eq!(status, 503, "{text}");
    store.set(Mode::Open);
    recovers(&app, "/w/list", "[]").await;
    recovers(&app, "/w/turn", "done").await;
    recovers(&app, "/w/list", r#"["a","b"]"#).await;
    app.app.shut_down().await;
}

async fn r060_keys_values_and_batches_are_limited() {
    let result = result_of(
        r#"
        const name = (promise) => promise.then(() => "ok", (error) => error.name);
        const long = "k".repeat(2048), wide = "\u{20ac}".repeat(683); // 2,049 bytes
        const many = (n) => Array.from({ length: n }, (_, i) => `m${i}`);
        const entries = (n) => Object.fromEntries(many(n).map((key) => [key, 1]));
        const out = [
          await name(storage.put(long, 1)), await name(storage.put(long + "k", 1)), await name(storage.get(wide)),
          await name(storage.delete(wide)), await name(storage.put({ ok: 1, [wide]: 1 })), await storage.get("ok") === undefined,
          await name(storage.put("big", new Uint8Array(2 * 1024 * 1024 - 100))), await name(storage.put("big", new Uint8Array(2 * 1024 * 1024))),
          (await storage.get("big")).length,
          await name(storage.put({ ok: 1, big: new Uint8Array(2 * 1024 * 1024) })), await storage.get("ok") === undefined,
          await name(storage.put(entries(128))), await name(storage.put(entries(129))),
          await name(storage.get(many(128))), await name(storage.get(many(129))),
          await name(storage.delete(many(128))), await name(storage.delete(many(129))),
        ];
        return out;
        "#,
    );
    let range = r#""RangeError""#;
    assert_eq!(
        result.await,
        format!(
            r#"["ok",{range},{range},{range},{range},true,"ok",{range},2097052,{range},true,"ok",{range},"ok",{range},"ok",{range}]"#
        )
    );
}

async fn r060_large_state_is_read_as_needed() {
    let user = r#"
        const id = (i) => `k${String(i).padStart(5, "0")}`;
        const born = crypto.randomUUID();
        export const jobs = {
          born: () => born,
          async fill() {
            for (let i = 0; i < 1500; i += 100) {
              await storage.put(Object.fromEntries(Array.from({ length: 100 }, (_, j) => [id(i + j), i + j])));
            }
            return "filled";
          },
          async use() {
            const keys = async (options) => [...(await storage.list(options)).keys()].join();
            const out = [await storage.get(id(0)), await storage.get(id(1499)), await storage.get(id(1500)) === undefined];
            out.push([...await storage.get([id(1400), "none", id(3)])].join());
            out.push(await storage.delete(id(1498)), await storage.delete(id(1498)), await storage.delete("none"));
            out.push(await storage.delete([id(1497), id(2), "none", id(1498)]));
            storage.put(id(1495.5), "between"); // not durable yet when the list is asked for
            storage.delete(id(1496));
            out.push(await keys({ start: id(1494), limit: 3 }), await keys({ reverse: true, limit: 3 }));
            out.push(await keys({ prefix: "k0149", startAfter: id(1494) }), (await storage.list()).size);
            await storage.transaction(async (txn) => {
              out.push(await txn.delete(id(1490)), await txn.get(id(1491)));
              out.push([...(await txn.list({ start: id(1489), limit: 2 })).keys()].join());
            });
            out.push(await storage.get(id(1490)) === undefined);
            return out;
          },
          async emptied() {
            const clearing = storage.deleteAll();
            const out = [await storage.get(id(1499)) === undefined, (await storage.list()).size];
            await clearing;
            return out;
          },
          async size() { return (await storage.list()).size; },
        };
    "#;
    let mut setup = lab(user);
    setup.limits.idle = Duration::from_millis(50);
    let app = setup.start().await;
    assert_eq!(app.text("/w/fill").await, "filled");
    assert!(is_replaced(&app, "/w/born", Duration::from_millis(500)).await);
    assert_eq!(
        app.text("/w/use").await,
        concat!(
            r#"[0,1499,true,"k00003,3,k01400,1400",true,false,false,2,"#,
            r#""k01494,k01495,k01499","k1495.5,k01499,k01495","k01495,k01499",1497,true,1491,"k01489,k01491",true]"#
        )
    );
    assert!(is_replaced(&app, "/w/born", Duration::from_millis(500)).await);
    assert_eq!(app.text("/w/size").await, "1496");
    assert_eq!(app.text("/w/emptied").await, "[true,0]");
    assert!(is_replaced(&app, "/w/born", Duration::from_millis(500)).await);
    assert_eq!(app.text("/w/size").await, "0");
    app.stop().await;
}
