//! What happens when there is no room for another worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use portside_core::admission::Memory;
use portside_exchange::FetchError;

use crate::app::{Setup, TestApp, eventually};
use crate::cases;
use crate::lab::{lab, recovers};

pub const CASES: &[crate::Case] = cases![
    over_the_cap_whoever_opens_a_worker_hears_that_it_is_overloaded,
    at_the_cap_the_worker_that_was_idle_for_longest_makes_room,
    many_wakes_at_the_cap_lose_nothing,
    an_alarm_that_is_due_at_the_cap_fires_once_there_is_room,
    short_of_memory_idle_workers_are_put_to_sleep_and_busy_ones_stay,
    nearly_out_of_memory_nothing_new_is_started,
    without_a_server_or_room_for_one_requests_are_turned_away,
];

const OVERLOADED: &str = "too many workers are awake";

/// `busy` keeps the worker awake until `free`; `instance` tells instances apart; `add` counts; `arm` sets an alarm that is
/// due at once and arms itself no more.
const JOBS: &str = r#"
const instance = crypto.randomUUID();
let release;
export const jobs = {
  instance: () => instance,
  busy: (_, port) => {
    // As a handler that takes long: its promise is what keeps the worker awake.
    waitUntil(new Promise((resolve) => { release = resolve; }));
    return "busy";
  },
  free: () => { release?.(); return "free"; },
  add: async () => { await storage.put("n", (await storage.get("n") ?? 0) + 1); return "added"; },
  count: async () => await storage.get("n") ?? 0,
  arm: (ms) => { setAlarm(Date.now() + Number(ms)); return "armed"; },
  fired: async () => await storage.get("fired") ?? 0,
};
export async function alarm() {
  await storage.put("fired", (await storage.get("fired") ?? 0) + 1);
}
"#;

fn capped(workers: usize) -> Setup {
    let mut setup = lab(JOBS);
    setup.limits.awake_workers = Some(workers);
    // Nothing falls asleep by itself.
    setup.limits.idle = Duration::from_secs(600);
    setup
}

/// A setup whose memory, in percent, the test sets.
fn metered() -> (Setup, Arc<AtomicU64>) {
    let percent = Arc::new(AtomicU64::new(10));
    let mut setup = capped(1_000);
    let meter = percent.clone();
    setup.memory = Some(Box::new(move || {
        let used = meter.load(Ordering::Relaxed) << 30;
        let limit = 100 << 30;
        Some(Memory { used, limit })
    }));
    (setup, percent)
}

async fn busy(app: &TestApp, names: &[&str]) {
    for name in names {
        assert_eq!(app.text(&format!("/{name}/busy")).await, "busy");
    }
}

async fn over_the_cap_whoever_opens_a_worker_hears_that_it_is_overloaded() {
    let app = capped(2).start().await;
    busy(&app, &["a", "b"]).await;
    assert_eq!(app.get("/c/add").await, (503, OVERLOADED.to_owned()));
    assert_eq!(app.text("/a/add").await, "added", "it is awake already");
    assert_eq!(app.awake(), 2);
    assert_eq!(app.text("/b/free").await, "free");
    recovers(&app, "/c/add", "added").await;
    assert_eq!(app.awake(), 2);
}

async fn at_the_cap_the_worker_that_was_idle_for_longest_makes_room() {
    let app = capped(2).start().await;
    let a = app.text("/a/instance").await;
    let mut b = String::new();
    // Each is idle once its request has ended and its port is closed.
    let idle = async |app: &TestApp, path: &str| app.text(path).await;
    for _ in 0..2 {
        b = idle(&app, "/b/instance").await;
    }
    assert_eq!(app.awake(), 2);
    recovers(&app, "/c/count", "0").await;
    assert_eq!(app.awake(), 2);
    assert_eq!(
        app.text("/b/instance").await,
        b,
        "it was idle for less long"
    );
    let again = eventually(async || {
        let (status, instance) = app.get("/a/instance").await;
        status == 200 && instance != a
    });
    assert!(again.await, "a was put to sleep, and wakes again");
}

async fn many_wakes_at_the_cap_lose_nothing() {
    const WORKERS: usize = 12;
    const ROUNDS: usize = 8;
    let app = capped(3).start().await;
    // What is refused is asked for again: it was not run.
    let add = async |name: usize| {
        for _ in 0..ROUNDS {
            recovers(&app, &format!("/w{name}/add"), "added").await;
        }
    };
    join_all((0..WORKERS).map(add)).await;
    for name in 0..WORKERS {
        recovers(&app, &format!("/w{name}/count"), &ROUNDS.to_string()).await;
    }
    assert!(app.awake() <= 3, "{} are awake", app.awake());
}

async fn an_alarm_that_is_due_at_the_cap_fires_once_there_is_room() {
    let app = capped(1).start().await;
    assert_eq!(app.text("/late/arm?600").await, "armed");
    recovers(&app, "/a/busy", "busy").await;
    let due = tokio::time::Instant::now() + Duration::from_millis(600);
    // It was due a while ago, and could not be delivered.
    tokio::time::sleep_until(due + Duration::from_millis(400)).await;
    assert_eq!(app.get("/late/fired").await, (503, OVERLOADED.to_owned()));
    assert_eq!(app.text("/a/free").await, "free");
    recovers(&app, "/late/fired", "1").await;
}

async fn short_of_memory_idle_workers_are_put_to_sleep_and_busy_ones_stay() {
    let (setup, percent) = metered();
    let app = setup.start().await;
    busy(&app, &["a"]).await;
    for name in 0..5 {
        app.text(&format!("/w{name}/count")).await;
    }
    assert_eq!(app.awake(), 6);
    percent.store(91, Ordering::Relaxed);
    let slept = eventually(async || app.awake() == 1).await;
    assert!(slept, "{} are awake", app.awake());
    let refused = "the process is short of memory".to_owned();
    assert_eq!(app.get("/b/count").await, (503, refused));
    assert_eq!(app.text("/a/add").await, "added");
    percent.store(80, Ordering::Relaxed);
    recovers(&app, "/b/count", "0").await;
}

async fn nearly_out_of_memory_nothing_new_is_started() {
    let (setup, percent) = metered();
    let app = setup.start().await;
    busy(&app, &["a"]).await;
    percent.store(96, Ordering::Relaxed);
    let refused = (503, "the process is short of memory".to_owned());
    let met = eventually(async || app.get("/b/count").await == refused).await;
    assert!(met, "it is woken all the same");
    assert_eq!(app.text("/-/").await, "the server");
}

async fn without_a_server_or_room_for_one_requests_are_turned_away() {
    let (mut setup, percent) = metered();
    setup.limits.idle = Duration::from_millis(100);
    let app = setup.start().await;
    busy(&app, &["a"]).await;
    percent.store(96, Ordering::Relaxed);
    // Servers sleep too when nobody asks.
    let overloaded = FetchError::Overloaded {
        retry_after_ms: 1_000,
    };
    let give_up = tokio::time::Instant::now() + crate::app::PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        match app.request("GET", "/-/", "").await {
            Err(error) => {
                assert_eq!(error, overloaded);
                break;
            }
            Ok(_) => assert!(tokio::time::Instant::now() < give_up, "it is started"),
        }
    }
    percent.store(10, Ordering::Relaxed);
    recovers(&app, "/-/", "the server").await;
}
