//! Section 8: scheduling.

use std::time::{Duration, Instant};

use portside_store::Store;

use crate::app::{Setup, TestApp};
use crate::held::{HeldStore, Mode, start_held};
use crate::lab::{is_replaced, lab, recovers};
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r062_one_alarm_replaces_another,
    r063_an_alarm_wakes_a_sleeping_worker,
    r063_an_alarm_that_falls_due_while_its_worker_falls_asleep_has_not_failed,
    r064_an_alarm_survives_a_restart,
    r064_an_alarm_survives_the_process,
    r064_an_alarm_that_is_being_handled_when_the_process_ends_is_waited_for,
    r064_an_alarm_whose_handler_is_cut_off_when_the_process_ends_is_retried,
    r064_an_alarm_is_durable_with_its_turn,
    r063_an_alarm_whose_worker_was_turned_away_fires_when_it_is_owned,
    r063_an_alarm_whose_worker_cannot_be_loaded_waits_for_the_store,
    r063_an_alarm_whose_worker_waited_in_vain_for_the_store_fires_later,
    r065_a_failed_alarm_is_retried,
    r066_an_alarm_armed_in_its_handler_stays,
    r066_an_alarm_armed_in_a_handler_that_is_ended_stays,
    r066_a_top_level_alarm_is_armed_on_every_wake,
    r066_r070_an_alarm_waits_for_the_module,
    r067_times_past_dates_and_nonsense,
    r068_get_and_delete,
    r069_set_alarm_returns_a_promise,
    r070_alarms_never_overlap,
];

async fn r062_one_alarm_replaces_another() {
    let user = r#"
        export const jobs = {
          async arm() {
            const now = Date.now();
            setAlarm(now + 100);
            await setAlarm(now + 1e7);
            await setAlarm(now + 400);
            return "armed";
          },
          async fired() { return await storage.get("fired") ?? 0; },
        };
        export async function alarm() { await storage.put("fired", (await storage.get("fired") ?? 0) + 1); console.log("fired"); }
    "#;
    let app = lab(user).start().await;
    assert_eq!(app.text("/w/arm").await, "armed");
    let armed = tokio::time::Instant::now();
    app.expect_log("fired").await;
    assert!(armed.elapsed() > Duration::from_millis(250), "too early");
    app.eventually("/w/fired", "1").await;
    app.stop().await;
}

/// Counts its alarms in storage and logs them with a token of the instance.
const COUNTER: &str = r#"
    const born = crypto.randomUUID();
    export const jobs = {
      born: () => born,
      async arm(after) { await setAlarm(Date.now() + Number(after)); return "armed"; },
      async fired() { return await storage.get("fired") ?? 0; },
      armed: async () => await getAlarm() !== null,
    };
    export async function alarm() {
      await storage.put("fired", (await storage.get("fired") ?? 0) + 1);
      console.log(`fired in ${born}`);
    }
"#;

async fn r063_an_alarm_wakes_a_sleeping_worker() {
    let mut setup = lab(COUNTER);
    setup.limits.idle = Duration::from_millis(50);
    let app = setup.start().await;
    let before = app.text("/w/born").await;
    assert_eq!(app.text("/w/arm?1500").await, "armed");
    app.expect_log("fired").await;
    assert!(
        !app.logged(&format!("fired in {before}")),
        "it was awake all the time"
    );
    app.eventually("/w/fired", "1").await;
    assert_eq!(app.text("/w/armed").await, "false");
    app.stop().await;
}

/// Many alarms, due around the moment at which their workers have been idle for long enough.
async fn r063_an_alarm_that_falls_due_while_its_worker_falls_asleep_has_not_failed() {
    const WORKERS: u64 = 80;
    let user = r#"
        export const jobs = { async arm(after) { await setAlarm(Date.now() + Number(after)); return "armed"; } };
        // So much that it takes a while to let go of it.
        globalThis.kept = Array.from({ length: 200_000 }, (_, n) => ({ n }));
        export function alarm(info) { console.log(`fired, again: ${info.isRetry}`); }
    "#;
    let mut setup = lab(user);
    setup.limits.idle = Duration::from_millis(100);
    let app = setup.start().await;
    for worker in 0..WORKERS {
        let path = format!("/w{worker}/arm?{}", 95 + worker);
        assert_eq!(app.text(&path).await, "armed");
    }
    let fired = || app.count_logged("fired, again: ") as u64;
    assert!(crate::app::eventually(async || fired() == WORKERS).await);
    assert_eq!(app.count_logged("fired, again: true"), 0);
    app.stop().await;
}

async fn r064_an_alarm_survives_a_restart() {
    let store = HeldStore::new().await;
    let setup = || Setup {
        store: Some(store.inner()),
        ..lab(COUNTER)
    };
    let app = setup().start().await;
    assert_eq!(app.text("/w/arm?1000").await, "armed");
    app.stop().await;
    let app = setup().start().await; // nobody addresses the worker
    app.expect_log("fired").await;
    app.eventually("/w/fired", "1").await;
    app.stop().await;
}

async fn r064_an_alarm_survives_the_process() {
    let (app, store) = start_held(COUNTER).await;
    assert_eq!(app.text("/w/arm?1000").await, "armed");
    store.set(Mode::Dead);
    let setup = Setup {
        store: Some(store.inner()),
        ..lab(COUNTER)
    };
    let successor = setup.start().await;
    successor.expect_log("fired").await;
    successor.eventually("/w/fired", "1").await;
    successor.stop().await;
}

/// Its alarm's handler takes so long, in milliseconds, unless it is a retry.
fn slow(ms: u32) -> String {
    format!(
        r#"
        export const jobs = {{
          async arm() {{ await setAlarm(Date.now()); return "armed"; }},
          left: () => getAlarm(),
          handled: () => storage.get("handled"),
        }};
        export async function alarm({{ isRetry }}) {{
          console.log("it has begun");
          if (!isRetry) await new Promise((resolve) => setTimeout(resolve, {ms}));
          await storage.put("handled", isRetry ? "again" : "at once");
        }}"#
    )
}

/// Stops an application while such a handler runs, and starts another on the same state.
async fn stopped_while_it_runs(ms: u32) -> TestApp {
    let held = HeldStore::new().await;
    let setup = || Setup {
        store: Some(held.inner()),
        ..lab(&slow(ms))
    };
    let app = setup().start().await;
    assert_eq!(app.text("/w/arm").await, "armed");
    app.expect_log("it has begun").await;
    app.stop().await;
    setup().start().await
}

async fn r064_an_alarm_that_is_being_handled_when_the_process_ends_is_waited_for() {
    let app = stopped_while_it_runs(500).await;
    assert_eq!(app.text("/w/handled").await, "at once");
    assert_eq!(app.text("/w/left").await, "null");
}

async fn r064_an_alarm_whose_handler_is_cut_off_when_the_process_ends_is_retried() {
    let app = stopped_while_it_runs(60_000).await;
    app.eventually("/w/handled", "again").await;
    app.eventually("/w/left", "null").await;
}

async fn r064_an_alarm_is_durable_with_its_turn() {
    let user = r#"
        export const jobs = {
          turn() { storage.put("k", 1); setAlarm(Date.now()); return "done"; },
          async state() { return [await storage.get("k") ?? null, await getAlarm()]; },
        };
        export function alarm() { console.log("fired"); }
    "#;
    let (app, store) = start_held(user).await;
    store.set(Mode::Failing);
    assert_eq!(app.get("/w/turn").await.0, 503);
    store.set(Mode::Open);
    recovers(&app, "/w/state", "[null,null]").await;
    assert!(!app.logged("fired"), "an alarm fired that was never stored");
    recovers(&app, "/w/turn", "done").await;
    app.expect_log("fired").await;
    app.stop().await;
}

/// The shard was another pod's for a moment: the process has it again.
async fn r063_an_alarm_whose_worker_was_turned_away_fires_when_it_is_owned() {
    let store = HeldStore::new().await;
    let mut setup = lab(COUNTER);
    setup.store = Some(store.clone());
    setup.limits.idle = Duration::from_millis(50);
    let app = setup.start().await;
    assert_eq!(app.text("/w/arm?1500").await, "armed");
    assert!(crate::app::eventually(async || app.awake() == 0).await);
    store.refuse_loads(1);
    app.expect_log("does not own the worker").await;
    assert_eq!(store.loads_to_refuse(), 0);
    app.expect_log("fired").await;
    app.eventually("/w/fired", "1").await;
    app.stop().await;
}

/// It cannot be loaded before what became of an earlier commit is known, which the store does not say for a while.
async fn r063_an_alarm_whose_worker_waited_in_vain_for_the_store_fires_later() {
    let user = r#"
        export const jobs = {
          async arm() { await setAlarm(Date.now() + 1000); return "armed"; },
          write() { storage.put("k", 1); return "written"; },
          ping: () => "pong",
        };
        export function alarm({ retryCount }) { console.log(`fired, ${retryCount}`); }
    "#;
    let (app, store) = start_held(user).await;
    assert_eq!(app.text("/w/arm").await, "armed");
    store.set(Mode::Full);
    assert_eq!(app.get("/w/write").await.0, 503);
    tokio::time::sleep(Duration::from_millis(1500)).await; // the alarm is due
    // Turned away as the alarm is, which waits before it.
    assert_eq!(app.get("/w/ping").await.0, 503);
    store.set(Mode::Open);
    app.expect_log("fired, 0").await;
    app.stop().await;
}

/// A store that fails uses up none of the alarm's retries, and is asked ever less often.
async fn r063_an_alarm_whose_worker_cannot_be_loaded_waits_for_the_store() {
    let user = r#"
        export const jobs = {
          async arm() { await setAlarm(Date.now() + 1500); return "armed"; },
        };
        export function alarm({ retryCount }) { console.log(`fired, ${retryCount}`); }
    "#;
    let store = HeldStore::new().await;
    let mut setup = lab(user);
    setup.store = Some(store.clone());
    setup.limits.idle = Duration::from_millis(50);
    let app = setup.start().await;
    assert_eq!(app.text("/w/arm").await, "armed");
    assert!(crate::app::eventually(async || app.awake() == 0).await);
    let began = Instant::now();
    store.fail_loads(4);
    assert!(crate::app::eventually(async || store.loads_to_fail() == 0).await);
    assert!(began.elapsed() > Duration::from_millis(250 + 500 + 1_000));
    app.expect_log("fired, 0").await;
    assert_eq!(app.count_logged("the test fails"), 0, "the store says it");
    app.stop().await;
}

async fn r065_a_failed_alarm_is_retried() {
    let user = r#"
        export const jobs = {
          async arm() { await setAlarm(Date.now() - 5); return "armed"; },
          async seen() { return (await storage.get("seen") ?? []).map((info) => `${info.retryCount} ${info.isRetry}`); },
          async same() { return new Set((await storage.get("seen")).map((info) => info.scheduledTime)).size; },
        };
        export async function alarm(info) {
          const seen = [...await storage.get("seen") ?? [], { ...info, at: Date.now() }];
          await storage.put("seen", seen);
          if (seen.length === 1) throw new Error("the first time");
          if (seen[1].at - seen[0].at < 1900) console.log("too early");
          console.log("succeeded");
        }
    "#;
    let app = lab(user).start().await;
    assert_eq!(app.text("/w/arm").await, "armed");
    app.expect_log("succeeded").await;
    assert_eq!(app.text("/w/seen").await, r#"["0 false","1 true"]"#);
    assert_eq!(app.text("/w/same").await, "1");
    assert!(!app.logged("too early"), "retried before 2 s");
    assert!(app.logged("the first time"), "the error is logged");
    app.stop().await;
}

async fn r066_an_alarm_armed_in_its_handler_stays() {
    let user = r#"
        export const jobs = {
          async arm() { await setAlarm(Date.now()); return "armed"; },
          async fired() { return await storage.get("fired") ?? 0; },
          armed: async () => await getAlarm() !== null,
        };
        export async function alarm() {
          const fired = (await storage.get("fired") ?? 0) + 1;
          await storage.put("fired", fired);
          if (fired < 4) await setAlarm(Date.now() + 10);
          if (fired === 2) throw new Error("after it was armed anew"); // no retry: the new alarm counts
        }
    "#;
    let app = lab(user).start().await;
    assert_eq!(app.text("/w/arm").await, "armed");
    app.eventually("/w/fired", "4").await;
    app.eventually("/w/armed", "false").await;
    app.stop().await;
}

async fn r066_an_alarm_armed_in_a_handler_that_is_ended_stays() {
    let user = r#"
        export const jobs = {
          async arm() { await setAlarm(Date.now() + 500); return "armed"; },
          ping: () => "pong",
        };
        export async function alarm() {
          if (await storage.get("again")) return console.log("fired again");
          storage.put("again", true);
          setAlarm(Date.now() + 2_000);
          await new Promise((resolve) => setTimeout(resolve, 0));
          console.log("looping");
          for (;;);
        }
    "#;
    let store = HeldStore::new().await;
    let mut setup = lab(user);
    setup.store = Some(store.clone());
    setup.limits.cpu = Duration::from_millis(300);
    let app = setup.start().await;
    assert_eq!(app.text("/w/arm").await, "armed");
    store.take_asked();
    store.set(Mode::Held);
    app.expect_log("looping").await;
    app.expect_log("the worker was ended").await;
    // What the handler wrote, and behind it that its delivery failed, become durable together.
    store.set(Mode::Open);
    let opened = tokio::time::Instant::now();
    let shards: Vec<_> = (0..portside_core::ids::SHARDS)
        .map(portside_core::ids::ShardId)
        .collect();
    let both_are_durable = crate::app::eventually(async || {
        let stored = store.alarms(&shards, None, i64::MAX, 1).await.unwrap();
        let is_set = stored.first().is_some_and(|it| it.alarm.retries == 0);
        app.logged("fired again") || (store.count_asked() >= 2 && is_set)
    });
    assert!(both_are_durable.await);
    while !app.logged("fired again") {
        let late = opened.elapsed() > Duration::from_secs(15);
        assert!(!late, "{:?}", app.log.lock().unwrap());
        app.get("/w/ping").await; // it stays awake
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app.stop().await;
}

async fn r066_a_top_level_alarm_is_armed_on_every_wake() {
    let user = r#"
        if (!(await storage.get("again"))) setAlarm(Date.now() + 300);
        else setAlarm(Date.now() + 86_400_000);
        await storage.put("again", true);
        const born = crypto.randomUUID();
        export const jobs = { born: () => born, async armed() { return await getAlarm() - Date.now() > 1000; } };
        export function alarm() { console.log("fired"); }
    "#;
    let mut setup = lab(user);
    setup.limits.idle = Duration::from_millis(50);
    let app = setup.start().await;
    let first = app.text("/w/born").await;
    app.expect_log("fired").await;
    if app.text("/w/born").await == first {
        assert!(is_replaced(&app, "/w/born", Duration::from_millis(300)).await);
    }
    app.eventually("/w/armed", "true").await;
    app.stop().await;
}

async fn r066_r070_an_alarm_waits_for_the_module() {
    let user = r#"
        let loaded = false;
        await setAlarm(Date.now());
        await new Promise((resolve) => setTimeout(resolve, 300));
        loaded = true;
        export const jobs = { wake: () => "awake" };
        export function alarm() { console.log(`fired ${loaded}`); }
    "#;
    let app = lab(user).start().await;
    assert_eq!(app.text("/w/wake").await, "awake");
    app.expect_log("fired true").await;
    assert!(!app.logged("fired false"));
    app.stop().await;
}

async fn r067_times_past_dates_and_nonsense() {
    let user = r#"
        export const jobs = {
          async nonsense() {
            const names = [];
            const notTimes = [undefined, null, "soon", "1", 1n, true, {}, [1], { valueOf: () => 1 }, Symbol()];
            const notLater = [0, -0, 0.5, -1, new Date(0), new Date(-1)];
            for (const time of [NaN, Infinity, -Infinity, new Date(NaN), 8.64e15 + 1, ...notTimes, ...notLater]) {
              try {
                setAlarm(time);
                names.push(`armed for ${String(time)}`);
              } catch (error) {
                names.push(error.name);
              }
              names.push(await storage.setAlarm(time).then(() => `armed for ${String(time)}`, (error) => error.name));
              names.push(await storage.transaction((txn) => txn.setAlarm(time)).then(() => "armed", (error) => error.name));
            }
            return [[...new Set(names)], await getAlarm()];
          },
          async date() { await setAlarm(new Date(Date.now() + 5e6)); return Math.round((await getAlarm() - Date.now()) / 1e6); },
          async fraction() { await setAlarm(8e12 + 0.7); return await getAlarm(); },
          async past() { await setAlarm(1); return "armed"; },
        };
        export function alarm(info) { console.log(`fired ${info.scheduledTime}`); }
    "#;
    let app = lab(user).start().await;
    assert_eq!(app.text("/w/nonsense").await, r#"[["TypeError"],null]"#);
    assert_eq!(app.text("/w/date").await, "5");
    assert_eq!(app.text("/w/fraction").await, "8000000000000");
    assert_eq!(app.text("/w/past").await, "armed");
    app.expect_log("fired 1").await;
    app.stop().await;
}

async fn r068_get_and_delete() {
    let user = r#"
        let during;
        export const jobs = {
          async use() {
            const at = Date.now() + 300;
            const out = [await getAlarm()];
            const arming = setAlarm(at);
            out.push(await getAlarm() === at);
            await arming;
            out.push(await storage.getAlarm() === at);
            await deleteAlarm();
            out.push(await getAlarm());
            await deleteAlarm();
            await storage.setAlarm(at + 1e7);
            await storage.deleteAlarm();
            out.push(await getAlarm());
            return out;
          },
          async arm() { await setAlarm(Date.now() + 500); return "armed"; },
          during: () => during ?? "not yet",
        };
        export async function alarm() { console.log("fired"); during = String(await getAlarm()); }
    "#;
    let app = lab(user).start().await;
    assert_eq!(app.text("/w/use").await, "[null,true,true,null,null]");
    // Later than the deleted one would have come.
    assert_eq!(app.text("/other/arm").await, "armed");
    app.expect_log("fired").await;
    assert_eq!(app.text("/w/during").await, "not yet");
    app.eventually("/other/during", "null").await;
    app.stop().await;
}

async fn r069_set_alarm_returns_a_promise() {
    let user = r#"
        export const jobs = {
          async arm() {
            const armed = setAlarm(Date.now() + 1e7);
            return [armed instanceof Promise, await armed === undefined];
          },
          failing() { setAlarm(Date.now() + 1e7); return "not awaited"; },
          async armed() { return await getAlarm() !== null; },
        };
    "#;
    let (app, store) = start_held(user).await;
    assert_eq!(app.text("/w/arm").await, "[true,true]");
    store.set(Mode::Failing);
    assert_eq!(app.get("/x/failing").await.0, 503, "it counts as a write");
    app.expect_log("the test refuses commits").await;
    store.set(Mode::Open);
    recovers(&app, "/x/armed", "false").await;
    recovers(&app, "/w/armed", "true").await;
    app.stop().await;
}

async fn r070_alarms_never_overlap() {
    let user = r#"
        let running = 0, most = 0, fired = 0;
        export const jobs = {
          async arm() { await setAlarm(Date.now()); return "armed"; },
          state: () => `${fired} ${most}`,
          async left() { return await getAlarm(); },
        };
        export async function alarm() {
          most = Math.max(most, ++running);
          if (++fired < 3) await setAlarm(Date.now()); // due while this one still runs
          await new Promise((resolve) => setTimeout(resolve, 200));
          running--;
        }
    "#;
    let app = lab(user).start().await;
    assert_eq!(app.text("/w/arm").await, "armed");
    app.eventually("/w/state", "3 1").await;
    app.eventually("/w/left", "null").await;
    app.stop().await;
}
