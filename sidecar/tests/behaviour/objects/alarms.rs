//! Alarms of objects, when their process ends in order.

use std::sync::Arc;

use portside_store::Store;

use crate::app::{Setup, TestApp, open};
use crate::{Case, cases};

use super::with_objects;

/// These tests.
pub const CASES: &[Case] = cases![
    an_alarm_that_is_being_handled_when_the_process_ends_is_waited_for,
    an_alarm_whose_handler_is_cut_off_when_the_process_ends_is_retried,
];

/// The alarm's handler takes so long, in milliseconds, unless it is a retry. `/arm` sets it, any other path tells what became of
/// it.
fn module(ms: u32) -> String {
    format!(
        r#"
        import {{ DurableObject }} from "cloudflare:workers";
        export class Slow extends DurableObject {{
          async alarm({{ isRetry }}) {{
            console.log("it has begun");
            if (!isRetry) await new Promise((resolve) => setTimeout(resolve, {ms}));
            await this.ctx.storage.put("handled", isRetry ? "again" : "at once");
          }}
          arm() {{ return this.ctx.storage.setAlarm(Date.now()); }}
          async state() {{
            return [await this.ctx.storage.get("handled"), await this.ctx.storage.getAlarm()].join();
          }}
        }}
        export default {{
          async fetch(request, env) {{
            const object = env.SLOW.getByName("a");
            if (request.url.endsWith("/arm")) await object.arm();
            return new Response(await object.state());
          }},
        }};"#
    )
}

/// Stops an application while such a handler runs, and starts another on the same state.
async fn stopped_while_it_runs(store: &Arc<dyn Store>, ms: u32) -> TestApp {
    let setup = || Setup {
        store: Some(store.clone()),
        ..with_objects(&module(ms), &[("SLOW", "Slow")])
    };
    let app = setup().start().await;
    app.text("/arm").await;
    app.expect_log("it has begun").await;
    app.stop().await;
    setup().start().await
}

async fn an_alarm_that_is_being_handled_when_the_process_ends_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let app = stopped_while_it_runs(&open(dir.path()).await, 500).await;
    assert_eq!(app.text("/").await, "at once,");
}

async fn an_alarm_whose_handler_is_cut_off_when_the_process_ends_is_retried() {
    let dir = tempfile::tempdir().unwrap();
    let app = stopped_while_it_runs(&open(dir.path()).await, 60_000).await;
    app.eventually("/", "again,").await;
}
