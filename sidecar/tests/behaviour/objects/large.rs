//! Databases of which most is not in memory.

use portside_core::ids::SHARDS;
use portside_core::keys::KeyRange;
use portside_core::objects::ObjectId;
use portside_store::Store;
use serde_json::{Value, json};

use crate::app::{Setup, TestApp, open};
use crate::{Case, cases};

use super::with_objects;

/// These tests.
pub const CASES: &[Case] = cases![
    a_database_larger_than_a_reading_is_there_after_a_reset,
    a_transaction_that_changes_too_much_changes_nothing,
    transactions_of_one_turn_count_together,
    of_a_deleted_database_nothing_stays_in_the_store,
    a_deleted_object_with_an_alarm_still_has_its_name,
    why_a_turn_was_not_committed_is_told_and_logged,
    why_a_database_cannot_be_read_is_told_and_logged,
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
    for (let left = Number(searchParams.get("transactions")); left > 0; left -= 1) {
      await this.ctx.storage.transaction(async () => {
        for (let n = 0; n < 10; n += 1) sql.exec("INSERT INTO pages(content) VALUES (?)", MEGABYTE);
      });
    }
    if (searchParams.has("delete")) {
      await this.ctx.storage.deleteAll();
      if (searchParams.has("alarm")) await this.ctx.storage.setAlarm(Date.now() + 100);
      return Response.json("deleted");
    }
    if (searchParams.has("reset")) {
      await this.ctx.storage.sync();
      this.ctx.abort("begins anew");
    }
    const { count, length } = sql.exec("SELECT count(*) AS count, sum(length(content)) AS length FROM pages").one();
    const last = sql.exec("SELECT id FROM pages ORDER BY substr(content, 1000), id DESC LIMIT 1").toArray();
    return Response.json({ count, length, last: last[0]?.id });
  }
  alarm() {
    console.log(`the alarm of ${this.ctx.id.name}`);
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

/// How many entries the store has of the object.
async fn entries(store: &dyn Store) -> usize {
    let class = large().objects.remove(0).origin;
    let id = ObjectId::of_name(&class, "one").address(&class).id();
    let range = KeyRange::default();
    store
        .list(id.shard(SHARDS), id, &range)
        .await
        .unwrap()
        .len()
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

async fn transactions_of_one_turn_count_together() {
    let app = large().start().await;
    answer(&app, "/?write=2").await;
    let refused = answer(&app, "/?transactions=9").await;
    let message = refused["error"].as_str().unwrap();
    assert!(message.contains("it changes more than 64 MiB"), "{message}");
    let there = json!({ "count": 2, "length": 2_000_000, "last": 2 });
    assert_eq!(answer(&app, "/").await, there);
}

async fn of_a_deleted_database_nothing_stays_in_the_store() {
    let app = large().start().await;
    answer(&app, "/?write=12").await;
    assert_eq!(answer(&app, "/?delete").await, json!("deleted"));
    assert_eq!(entries(&*app.store).await, 0);
    let there = json!({ "count": 1, "length": 1_000_000, "last": 1 });
    assert_eq!(answer(&app, "/?write=1").await, there);
    answer(&app, "/?reset").await;
    assert_eq!(answer(&app, "/").await, there);
}

async fn a_deleted_object_with_an_alarm_still_has_its_name() {
    let app = large().start().await;
    answer(&app, "/?write=1").await;
    answer(&app, "/?delete&alarm").await;
    answer(&app, "/?reset").await;
    app.expect_log("the alarm of one").await;
}

async fn why_a_turn_was_not_committed_is_told_and_logged() {
    let mut setup = large();
    setup.spill.directory = "/nowhere/at/all".into();
    let app = setup.start().await;
    let told = answer(&app, "/?write=1").await;
    let message = told["error"].as_str().unwrap();
    let why = "the temporary file of the database: No such file or directory";
    assert!(message.contains(why), "{message}");
    assert!(app.logged(why));
}

async fn why_a_database_cannot_be_read_is_told_and_logged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut setup = large();
    setup.store = Some(store.clone());
    let app = setup.start().await;
    answer(&app, "/?write=6").await;
    app.stop().await;
    let mut setup = large();
    setup.store = Some(store);
    setup.spill.directory = "/nowhere/at/all".into();
    let app = setup.start().await;
    let told = answer(&app, "/").await;
    let message = told["error"].as_str().unwrap();
    let why = "its database cannot be read: the temporary file of the database: No such file";
    assert!(message.contains(why), "{message}");
    assert!(app.logged(why));
}
