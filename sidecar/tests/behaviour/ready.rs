//! Isolates wait ready for workers that wake: whoever gets one cannot tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portside_core::admission::Memory;
use portside_runtime::IsolatePool;

use crate::app::{Setup, TestApp, eventually};
use crate::lab::{lab, recovers};
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    a_worker_that_wakes_in_one_is_as_any_other,
    each_is_used_once,
    limits_hold_in_them,
    those_of_old_code_are_not_used,
    none_wait_while_memory_is_short,
    each_worker_whose_alarm_comes_due_has_one,
    none_is_made_for_what_cannot_start,
];

/// More short stretches of JavaScript than a script runs before it is known to be brief.
const ENOUGH: usize = 130;

fn user(version: &str) -> String {
    format!(
        r#"
        globalThis.evaluations = (globalThis.evaluations ?? 0) + 1;
        const evaluated = Date.now();
        const kept = await storage.get("kept");
        export const jobs = {{
            ping: () => "pong",
            version: () => "{version}",
            keep: async (value) => (await storage.put("kept", value), "kept"),
            about: () => ({{
                name, kept, evaluated, origin: performance.timeOrigin, age: performance.now(),
                event: new Event("now").timeStamp, evaluations, mark: globalThis.mark ?? null,
            }}),
            mark: () => (globalThis.mark = Array.prototype.mark = "left by another", "marked"),
            inherited: () => String([].mark),
            spin() {{ for (;;); }},
            arm: (time) => {{ setAlarm(Number(time)); return "armed"; }},
        }};
        export function alarm() {{}}"#
    )
}

/// An application of one script that is known to be brief, for which isolates wait.
struct Prepared {
    app: TestApp,
    isolates: Arc<IsolatePool>,
    started: usize,
}

impl Prepared {
    async fn start(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = lab(&user("one"));
        change(&mut setup);
        let isolates = Arc::new(IsolatePool::new(1, 8, |_| {}));
        setup.isolates = Some(isolates.clone());
        let app = setup.start().await;
        for _ in 0..ENOUGH {
            assert_eq!(app.text("/first/ping").await, "pong");
        }
        let started = 0;
        let mut this = Self {
            app,
            isolates,
            started,
        };
        this.until_some_wait().await;
        this
    }

    /// Has new workers start until others are expected.
    async fn until_some_wait(&mut self) {
        let mut looks = 0;
        let some_wait = eventually(async || {
            // Each start takes the one that waits.
            if looks % 10 < 3 {
                let name = self.new_name();
                assert_eq!(self.app.text(&format!("/{name}/ping")).await, "pong");
            }
            looks += 1;
            self.isolates.ready() > 0
        });
        assert!(some_wait.await);
    }

    fn new_name(&mut self) -> String {
        self.started += 1;
        format!("worker-{}", self.started)
    }

    /// What a worker answers that wakes in an isolate that waited.
    async fn wakes(&self, path: &str) -> String {
        assert!(eventually(async || self.isolates.ready() > 0).await);
        let used = self.isolates.ready_used();
        let answer = self.app.text(path).await;
        assert!(self.isolates.ready_used() > used, "{path} did not use one");
        answer
    }
}

fn now_ms() -> f64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_secs_f64() * 1000.0
}

async fn a_worker_that_wakes_in_one_is_as_any_other() {
    let prepared = Prepared::start(|_| {}).await;
    let before = now_ms();
    assert_eq!(prepared.wakes("/its-name/keep?7").await, "kept");
    let about = prepared.app.text("/its-name/about").await;
    let took = now_ms() - before;
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    assert_eq!(about["name"], "its-name");
    assert_eq!(about["kept"], serde_json::Value::Null);
    assert_eq!(about["evaluations"], 1);
    // Clocks differ by what they are rounded to.
    for time in ["evaluated", "origin"] {
        let time = about[time].as_f64().unwrap();
        assert!(
            time >= before - 2.0 && time <= before + took + 2.0,
            "{about} {before} {took}"
        );
    }
    for age in ["age", "event"] {
        let age = about[age].as_f64().unwrap();
        assert!(age >= 0.0 && age <= took + 2.0, "{about} {took}");
    }
    prepared.app.stop().await;
}

async fn each_is_used_once() {
    let mut prepared = Prepared::start(|_| {}).await;
    for _ in 0..3 {
        let name = prepared.new_name();
        let about = prepared.wakes(&format!("/{name}/about")).await;
        let about: serde_json::Value = serde_json::from_str(&about).unwrap();
        assert_eq!(about["mark"], serde_json::Value::Null, "{about}");
        assert_eq!(about["evaluations"], 1, "{about}");
        let inherited = prepared.app.text(&format!("/{name}/inherited")).await;
        assert_eq!(inherited, "undefined");
        let marked = prepared.app.text(&format!("/{name}/mark")).await;
        assert_eq!(marked, "marked");
    }
    prepared.app.stop().await;
}

async fn limits_hold_in_them() {
    let limit = std::time::Duration::from_millis(200);
    let prepared = Prepared::start(|setup| setup.limits.cpu = limit).await;
    assert_eq!(prepared.wakes("/spinner/version").await, "one");
    assert_eq!(prepared.app.get("/spinner/spin").await.0, 503);
    let about_limit = || {
        let lines = prepared.app.log.lock().unwrap();
        let told = lines.iter().find(|line| line.text.contains("CPU time"));
        told.map(|line| format!("{:?}", line.source))
    };
    assert!(eventually(async || about_limit().is_some()).await);
    let whose = about_limit().unwrap();
    assert!(whose.contains("spinner"), "{whose}");
    prepared.app.stop().await;
}

async fn those_of_old_code_are_not_used() {
    let prepared = Prepared::start(|_| {}).await;
    assert_eq!(prepared.wakes("/before/version").await, "one");
    assert!(eventually(async || prepared.isolates.ready() > 0).await);
    prepared
        .app
        .replace(lab(&user("two")).class())
        .await
        .unwrap();
    assert!(eventually(async || prepared.isolates.ready() == 0).await);
    let used = prepared.isolates.ready_used();
    for name in ["before", "first", "new"] {
        recovers(&prepared.app, &format!("/{name}/version"), "two").await;
    }
    assert_eq!(prepared.isolates.ready_used(), used);
    prepared.app.stop().await;
}

/// Those that nobody uses go before workers are put to sleep, and no more are made long before memory is short.
async fn none_wait_while_memory_is_short() {
    let used = Arc::new(AtomicU64::new(0));
    let meter = used.clone();
    let mut prepared = Prepared::start(|setup| {
        setup.memory = Some(Box::new(move || {
            let used = meter.load(Ordering::Relaxed);
            Some(Memory {
                used,
                limit: 1_000 << 20,
            })
        }));
    })
    .await;
    used.store(910 << 20, Ordering::Relaxed);
    assert!(eventually(async || prepared.isolates.ready() == 0).await);
    used.store(800 << 20, Ordering::Relaxed);
    assert!(eventually(async || prepared.app.get("/first/ping").await.0 == 200).await);
    for name in ["a", "b", "c"] {
        recovers(&prepared.app, &format!("/{name}/ping"), "pong").await;
    }
    assert_eq!(prepared.isolates.ready(), 0, "memory is tight");
    used.store(0, Ordering::Relaxed);
    prepared.until_some_wait().await;
    prepared.app.stop().await;
}

/// However many they are: of others a thread has 16 at most.
async fn each_worker_whose_alarm_comes_due_has_one() {
    const COUNT: u16 = 24;
    /// They are armed, and sleep again, before others would be made for them.
    const UNTIL_DUE_MS: f64 = 6_000.0;
    let idle = std::time::Duration::from_millis(100);
    let prepared = Prepared::start(|setup| setup.limits.idle = idle).await;
    let due = (now_ms() + UNTIL_DUE_MS).round();
    for n in 0..COUNT {
        let armed = prepared.app.text(&format!("/due-{n}/arm?{due}")).await;
        assert_eq!(armed, "armed");
    }
    let (ready, all) = (|| prepared.isolates.ready(), usize::from(COUNT));
    assert!(eventually(async || ready() >= all).await, "{}", ready());
    let used = prepared.isolates.ready_used() + u64::from(COUNT);
    assert!(eventually(async || prepared.isolates.ready_used() >= used).await);
    prepared.app.stop().await;
}

/// A start that failed says nothing about how many more there will be.
async fn none_is_made_for_what_cannot_start() {
    let prepared = Prepared::start(|_| {}).await;
    let class = lab("import './missing.js'; export const jobs = {};").class();
    prepared.app.replace(class).await.unwrap();
    for name in ["a", "b", "c"] {
        let (status, text) = prepared.app.get(&format!("/{name}/ping")).await;
        assert_eq!(status, 503, "{text}");
    }
    prepared.app.stop().await;
}
