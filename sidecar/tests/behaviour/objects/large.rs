//! Databases of which most is not in memory.

use serde_json::{Value, json};

use crate::app::{Setup, TestApp};
use crate::{Case, cases};

use super::with_objects;

/// These tests.
pub const CASES: &[Case] = cases![
    a_database_larger_than_a_reading_is_there_after_a_reset,
    a_transaction_that_changes_too_much_changes_nothing,
];

const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";

const MEGABYTE = "x".repeat(1_000_000);

export class Large extends DurableObject {
  async fetch(request) {
    const { sql } = this.ctx.storage;
    const { searchParams } = new URL(request.url);
    sql.exec("CREATE TABLE IF NOT EXISTS pages(id INTEGER PRIMARY KEY, content TEXT)");
    for (let left = Number(searchParams.get("write")); left > 0; left -= 1) {
      sql.exec("INSERT INTO pages(content) VALUES (?)", MEGABYTE);
    }
    if (searchParams.has("reset")) {
      await this.ctx.storage.sync();
      this.ctx.abort("begins anew");
    }
    const { count, length } = sql.exec("SELECT count(*) AS count, sum(length(content)) AS length FROM pages").one();
    const last = sql.exec("SELECT id FROM pages ORDER BY substr(content, 1000), id DESC LIMIT 1").toArray();
    return Response.json({ count, length, last: last[0]?.id });
  }
}
export default {
  async fetch(request, env) {
    try {
      return await env.LARGE.getByName("one").fetch(request);
    } catch (error) {
      return Response.json({ error: error.message });
    }
  },
};
"#;

fn large() -> Setup {
    with_objects(MODULE, &[("LARGE", "Large")])
}

async fn answer(app: &TestApp, path: &str) -> Value {
    let (_, body) = app.get(path).await;
    serde_json::from_str(&body).unwrap()
}

async fn a_database_larger_than_a_reading_is_there_after_a_reset() {
    let app = large().start().await;
    for written in [4, 8, 12] {
        let there = answer(&app, "/?write=4").await;
        let expected = json!({ "count": written, "length": written * 1_000_000, "last": written });
        assert_eq!(there, expected);
        let reset = answer(&app, "/?reset").await;
        assert_eq!(reset, json!({ "error": "begins anew" }));
        assert_eq!(answer(&app, "/").await, expected);
    }
}

async fn a_transaction_that_changes_too_much_changes_nothing() {
    let app = large().start().await;
    answer(&app, "/?write=2").await;
    let refused = answer(&app, "/?write=80").await;
    let message = refused["error"].as_str().unwrap();
    assert!(message.contains("it changes more than 64 MiB"), "{message}");
    let there = json!({ "count": 2, "length": 2_000_000, "last": 2 });
    assert_eq!(answer(&app, "/").await, there);
}
