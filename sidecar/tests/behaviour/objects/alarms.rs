//! Alarms of objects whose process ends in order, or that begin anew while their handler runs.

use std::sync::Arc;

use portside_store::Store;

use crate::app::{Setup, TestApp, open};
use crate::{Case, cases};

use super::with_objects;

/// These tests.
pub const CASES: &[Case] = cases![
    an_alarm_that_is_being_handled_when_the_process_ends_is_waited_for,
    an_alarm_whose_handler_is_cut_off_when_the_process_ends_is_retried,
    an_alarm_that_comes_due_in_a_handler_that_aborts_has_not_failed,
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

async fn an_alarm_that_comes_due_in_a_handler_that_aborts_has_not_failed() {
    let module = r#"
        import { DurableObject } from "cloudflare:workers";
        export class Again extends DurableObject {
          async alarm({ isRetry, retryCount }) {
            const { storage } = this.ctx;
            if (await storage.get("armed")) return storage.put("second", `${isRetry} ${retryCount}`);
            await storage.put("armed", true);
            await storage.setAlarm(Date.now());
            await storage.sync();
            await new Promise((resolve) => setTimeout(resolve, 300)); // it comes due
            this.ctx.abort("on purpose");
          }
          arm() { return this.ctx.storage.setAlarm(Date.now()); }
          async state() { return String(await this.ctx.storage.get("second")); }
        }
        export default {
          async fetch(request, env) {
            const object = env.AGAIN.getByName("a");
            if (request.url.endsWith("/arm")) await object.arm();
            return new Response(await object.state().catch((error) => error.message));
          },
        };"#;
    let app = with_objects(module, &[("AGAIN", "Again")]).start().await;
    app.text("/arm").await;
    app.eventually("/", "false 0").await;
    app.stop().await;
}
