//! What becomes of a class's state when the class is deleted.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::apps;
use crate::load;
use crate::release::sql;
use crate::test::Test;

fn spec(policy: &str) -> Value {
    let mut spec = apps::ledger("1");
    spec["storage"] = json!({ "deletionPolicy": policy });
    spec
}

/// How many rows the database has for a class.
pub(super) async fn rows(test: &Test, class: &str) -> u32 {
    let name = format!("{}/{class}", test.namespace);
    let query = format!(
        "SELECT count(*) FROM portside.kv JOIN portside.pool USING (pool) WHERE name = '{name}'"
    );
    sql(&test.cluster, &query).await.parse().unwrap()
}

/// Retain, the default: a class of the same name finds everything again.
pub async fn retained_state_is_found_again(test: Arc<Test>) {
    let class = test.class("kept", spec("Retain")).await;
    class.ready().await;
    load::add(&class.site(), "/a", "one").await;
    assert_eq!(rows(&test, "kept").await, 1);
    class.delete().await;
    let left = class
        .kubectl(&[
            "get",
            "all,configmaps,ingresses,networkpolicies,endpointslices",
            "-l",
            "portside.dev/class=kept",
            "-o",
            "name",
        ])
        .await;
    // Owned objects go in the background.
    let left: Vec<_> = left
        .lines()
        .filter(|line| line.starts_with("pod/"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(rows(&test, "kept").await, 1);

    let again = test.class("kept", spec("Retain")).await;
    again.ready().await;
    assert_eq!(load::entries(&again.site(), "/a").await, ["one"]);
}

/// Delete: the rows are gone before the class is, and others' rows are not.
pub async fn deleted_state_is_gone(test: Arc<Test>) {
    let class = test.class("gone", spec("Delete")).await;
    let other = test.class("other", spec("Delete")).await;
    class.ready().await;
    other.ready().await;
    load::add(&class.site(), "/a", "one").await;
    load::add(&other.site(), "/a", "one").await;
    assert_eq!(rows(&test, "gone").await, 1);
    class.delete().await;
    assert_eq!(rows(&test, "gone").await, 0);
    assert_eq!(rows(&test, "other").await, 1);

    let again = test.class("gone", spec("Delete")).await;
    again.ready().await;
    assert!(load::entries(&again.site(), "/a").await.is_empty());
}
