//! Few threads for workers that are brief, many for those that are not.

use std::sync::Arc;

use portside_runtime::IsolatePool;

use crate::app::TestApp;
use crate::lab::lab;

/// This file's tests.
pub const CASES: &[crate::Case] = crate::cases![
    brief_workers_share_few_threads,
    workers_are_kept_apart_once_one_of_them_took_long
];

const BRIEF_THREADS: usize = 2;

/// More questions than a script needs to be trusted.
const TRIAL: usize = 200;

async fn start() -> (TestApp, Arc<IsolatePool>) {
    let isolates = Arc::new(IsolatePool::new(BRIEF_THREADS, 64, |_| {}));
    let mut setup = lab(r#"export const jobs = {
        ping: () => "pong",
        compute() { const end = performance.now() + 1000; while (performance.now() < end); return "done"; },
    };"#);
    setup.isolates = Some(isolates.clone());
    (setup.start().await, isolates)
}

async fn ask_each(app: &TestApp, names: impl Iterator<Item = String>) {
    for name in names {
        assert_eq!(app.text(&format!("/{name}/ping")).await, "pong");
    }
}

async fn brief_workers_share_few_threads() {
    let (app, isolates) = start().await;
    ask_each(&app, (0..TRIAL).map(|_| "first".to_owned())).await;
    let before = isolates.threads();
    ask_each(&app, (0..40).map(|number| format!("worker-{number}"))).await;
    let more = isolates.threads() - before;
    assert!(more <= BRIEF_THREADS, "{more} more threads");
    app.stop().await;
}

async fn workers_are_kept_apart_once_one_of_them_took_long() {
    const WORKERS: usize = 8;
    let (app, isolates) = start().await;
    ask_each(&app, (0..TRIAL).map(|_| "first".to_owned())).await;
    assert_eq!(app.text("/second/compute").await, "done");
    let before = isolates.threads();
    ask_each(&app, (0..WORKERS).map(|number| format!("worker-{number}"))).await;
    assert_eq!(isolates.threads(), before + WORKERS);
    app.stop().await;
}
