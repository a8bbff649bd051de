//! Alarms that crash their worker.

use portside_core::ids::WorkerKey;
use portside_sidecar::Fired;

use crate::app::TestApp;
use crate::hostile::{limited, with_neighbours};
use crate::lab::recovers;
use crate::{Case, cases};

/// This file's tests.
pub const CASES: &[Case] = cases![
    an_alarm_that_loops_is_retried,
    an_alarm_that_leaks_is_retried,
    an_alarm_that_terminates,
    an_alarm_that_arms_itself_at_once,
];

async fn start(first: &str) -> TestApp {
    let user = format!(
        r#"
        export const jobs = {{
          async arm(ms) {{ await storage.put("kept", 1); await setAlarm(Date.now() + Number(ms)); return "armed"; }},
          async kept() {{ return await storage.get("kept"); }},
          ping: () => "pong",
        }};
        export async function alarm(info) {{
          if (info.retryCount === 0) {{ {first} }}
          console.log(`retry ${{info.retryCount}}`);
        }}"#
    );
    limited(&user).start().await
}

async fn is_retried(first: &str) {
    let app = start(first).await;
    // In an hour, but it is fired: on a busy machine one that came soon would end the worker before it has answered.
    assert_eq!(app.text("/victim/arm?3600000").await, "armed");
    let victim = WorkerKey::new("worker.js", "victim").unwrap();
    let retried = async {
        let fired = app.owner().fire_alarm(&victim).await;
        assert_eq!(fired.unwrap(), Fired::Failed);
        app.expect_log("retry 1").await;
    };
    with_neighbours(&app, retried).await;
    recovers(&app, "/victim/kept", "1").await;
    app.stop().await;
}

async fn an_alarm_that_loops_is_retried() {
    is_retried("for (;;) {}").await;
}

async fn an_alarm_that_leaks_is_retried() {
    is_retried("const all = []; for (;;) all.push({});").await;
}

async fn an_alarm_that_terminates() {
    is_retried("self.terminate();").await;
}

async fn an_alarm_that_arms_itself_at_once() {
    let app = start("await setAlarm(1); return;").await;
    assert_eq!(app.text("/victim/arm?300").await, "armed");
    for _ in 0..20 {
        with_neighbours(&app, recovers(&app, "/victim/kept", "1")).await;
    }
    app.stop().await;
}
