//! Alarms that crash their worker.

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
          async arm() {{ await storage.put("kept", 1); await setAlarm(Date.now() + 300); return "armed"; }},
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
    // On a busy machine the alarm may end it before it has answered.
    app.get("/victim/arm").await;
    with_neighbours(&app, app.expect_log("retry 1")).await;
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
    assert_eq!(app.text("/victim/arm").await, "armed");
    for _ in 0..20 {
        with_neighbours(&app, recovers(&app, "/victim/kept", "1")).await;
    }
    app.stop().await;
}
