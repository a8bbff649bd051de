//! What objects share, and what one that breaks takes with it.

use serde_json::json;

use crate::app::{Setup, TestApp};
use crate::{Case, cases};

use super::with_objects;

/// These tests.
pub const CASES: &[Case] = cases![
    objects_of_an_isolate_share_its_module,
    an_object_alone_shares_nothing,
    one_that_loops_ends_alone,
    one_that_aborts_begins_anew,
];

const MODULE: &str = r#"
let calls = 0;
export class Lab {
  constructor(ctx) {
    this.ctx = ctx;
  }
  async fetch(request) {
    calls += 1;
    switch (new URL(request.url).searchParams.get("do")) {
      case "loop":
        for (;;);
      case "abort":
        this.ctx.abort("enough");
    }
    const stored = (await this.ctx.storage.get("stored") ?? 0) + 1;
    await this.ctx.storage.put("stored", stored);
    return Response.json({ calls, stored });
  }
}
export default {
  async fetch(request, env) {
    try {
      return await env.LAB.getByName(new URL(request.url).pathname).fetch(request);
    } catch (error) {
      return Response.json({ error: error.message }, { status: 500 });
    }
  },
};
"#;

fn lab(isolates_objects: bool) -> Setup {
    let mut setup = with_objects(MODULE, &[("LAB", "Lab")]);
    setup.servers = 1;
    setup.isolates_objects = isolates_objects;
    setup
}

async fn answer(app: &TestApp, path: &str) -> serde_json::Value {
    let (_, body) = app.get(path).await;
    serde_json::from_str(&body).unwrap()
}

async fn objects_of_an_isolate_share_its_module() {
    let app = lab(false).start().await;
    assert_eq!(answer(&app, "/a").await, json!({ "calls": 1, "stored": 1 }));
    assert_eq!(answer(&app, "/b").await, json!({ "calls": 2, "stored": 1 }));
}

async fn an_object_alone_shares_nothing() {
    let app = lab(true).start().await;
    assert_eq!(answer(&app, "/a").await, json!({ "calls": 1, "stored": 1 }));
    assert_eq!(answer(&app, "/b").await, json!({ "calls": 1, "stored": 1 }));
    assert_eq!(answer(&app, "/a").await, json!({ "calls": 2, "stored": 2 }));
}

async fn one_that_loops_ends_alone() {
    let mut setup = lab(true);
    setup.limits.cpu = std::time::Duration::from_millis(300);
    let app = setup.start().await;
    answer(&app, "/a").await;
    answer(&app, "/b").await;
    let ended = answer(&app, "/a?do=loop").await;
    assert!(ended["error"].as_str().unwrap().contains("CPU"), "{ended}");
    assert_eq!(answer(&app, "/b").await, json!({ "calls": 2, "stored": 2 }));
    assert_eq!(answer(&app, "/a").await, json!({ "calls": 1, "stored": 2 }));
}

async fn one_that_aborts_begins_anew() {
    let app = lab(true).start().await;
    answer(&app, "/a").await;
    assert_eq!(
        answer(&app, "/a?do=abort").await,
        json!({ "error": "enough" })
    );
    assert_eq!(answer(&app, "/a").await, json!({ "calls": 1, "stored": 2 }));
}
