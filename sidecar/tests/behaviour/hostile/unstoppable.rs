//! JavaScript that V8 cannot end: the process gives up. Each of these tests runs in a process of its own, which ends with it.

use std::sync::Arc;
use std::time::Duration;

use portside_runtime::IsolatePool;
use tokio::sync::mpsc;

use super::limited;
use super::resident::is_alone;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    a_search_without_an_end,
    a_search_that_compares_values_without_an_end,
    what_ends_late_is_no_reason_to_give_up,
];

/// For 5 s of CPU time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shutting down waits twice for workers, 10 s each time, and then no more. On a busy machine it takes longer.
const SHUT_DOWN: Duration = Duration::from_secs(60);

/// Has a worker do it, and asserts that the process is told to end, and could.
async fn gives_up(name: &str, deed: &str) {
    if !is_alone(&format!("hostile_unstoppable::{name}")).await {
        return;
    }
    let (gave_up, mut heard) = mpsc::unbounded_channel();
    let isolates = Arc::new(IsolatePool::new(2, 64, move |unstoppable| {
        let _ = gave_up.send(unstoppable.to_string());
    }));
    let mut setup = limited(&format!(
        "export const jobs = {{ ping: () => 'pong', deed() {{ {deed} }} }};"
    ));
    setup.limits.cpu = Duration::from_millis(200);
    setup.isolates = Some(isolates);
    let app = setup.start().await;
    assert_eq!(app.text("/victim/ping").await, "pong");
    let deed = async {
        app.get("/victim/deed").await; // nobody answers in time
        std::future::pending::<()>().await;
    };
    let told = tokio::select! {
        told = tokio::time::timeout(PATIENCE, heard.recv()) => told.expect("nobody gives up").unwrap(),
        () = deed => unreachable!("it waits for ever"),
    };
    assert!(told.contains("worker.js#victim"), "{told}");
    let stopped = tokio::time::timeout(SHUT_DOWN, app.stop()).await;
    assert!(stopped.is_ok(), "it waits for what cannot be ended");
    assert!(heard.try_recv().is_err(), "it is told once");
}

async fn a_search_without_an_end() {
    let deed = "Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)";
    gives_up("a_search_without_an_end", deed).await;
}

async fn a_search_that_compares_values_without_an_end() {
    let deed = "Array.prototype.includes.call({ length: 2 ** 53 - 1 }, 1)";
    gives_up("a_search_that_compares_values_without_an_end", deed).await;
}

async fn what_ends_late_is_no_reason_to_give_up() {
    // The shared isolates end the process of the test if they give up.
    let name = "hostile_unstoppable::what_ends_late_is_no_reason_to_give_up";
    if !is_alone(name).await {
        return;
    }
    let mut setup = limited(
        "export const jobs = { deed() { for (;;) { try { Array.prototype.indexOf.call({ length: 1e7 }, 1); } catch {} } } };",
    );
    setup.limits.cpu = Duration::from_millis(200);
    let app = setup.start().await;
    assert_ne!(app.get("/victim/deed").await.0, 200);
    app.stop().await;
}
