//! The files on a page of docs/tasks: what it shows is what is tested.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::apps;
use crate::class::Class;
use crate::test::Test;

/// The files of a page, by the name that the first line of each has, for the test's namespace, repository and code.
pub fn files(page: &str, test: &Test) -> BTreeMap<String, String> {
    let blocks = page.split("```yaml\n# ").skip(1);
    let files = blocks.map(|block| {
        let (block, _) = block.split_once("```").unwrap();
        let (name, text) = block.split_once('\n').unwrap();
        let text = text
            .replace("namespace: argocd", "namespace: team-a")
            .replace("amespace: team-a", &format!("amespace: {}", test.namespace))
            .replace("chat.example.com", &test.host("chat"))
            .replace("room.js", "ledger.js");
        (name.to_owned(), text)
    });
    files.collect()
}

/// Applies the page's class, `chat`, with a version of the ledger for its code, and waits until it is ready.
pub async fn chat(test: &Arc<Test>, files: &BTreeMap<String, String>, version: &str) -> Class {
    let code = &apps::ledger_code(version)["inline"];
    test.apply("v1", "ConfigMap", "chat-code", json!({ "data": code }))
        .await;
    let applied = test.cluster.try_apply(&files["class.yaml"]).await;
    applied.unwrap_or_else(|problem| panic!("class.yaml: {problem}"));
    let class = Class::new(test, "chat");
    class.ready().await;
    class
}
