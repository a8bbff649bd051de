//! What the API server itself makes of a class.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::operation::{start_operator, stop_operator};
use crate::apps;
use crate::test::Test;

/// Each manifest says in its comments what the answer has to say; see `crds/tests/refused/README.md`.
pub async fn bad_ones_are_refused_with_their_reason(test: Arc<Test>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/tests/refused");
    let mut problems = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let manifest = fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = manifest
            .lines()
            .filter_map(|line| line.strip_prefix("# server: "))
            .collect();
        let name = path.file_name().unwrap().to_str().unwrap();
        let file = path.to_str().unwrap();
        let apply = [
            "-n",
            &test.namespace,
            "apply",
            "--dry-run=server",
            "-f",
            file,
        ];
        seen += 1;
        match test.cluster.try_kubectl(&apply).await {
            Ok(_) => problems.push(format!("{name} was accepted")),
            Err(answer) => {
                let missing: Vec<_> = expected
                    .iter()
                    .filter(|text| !answer.contains(**text))
                    .collect();
                if expected.is_empty() || !missing.is_empty() {
                    problems.push(format!("{name}: {missing:?} not in: {answer}"));
                }
            }
        }
    }
    assert!(seen >= 20, "only {seen} manifests");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Tools must not take a class for done that nobody has looked at yet.
pub async fn a_fresh_class_is_in_progress_until_it_is_seen(test: Arc<Test>) {
    stop_operator(&test.cluster).await;
    let class = test.class("fresh", apps::ledger("1")).await;
    let object = class.get().await;
    start_operator(&test.cluster).await;
    assert_eq!(object["status"]["observedGeneration"], -1);
    assert_eq!(object["spec"]["storage"]["deletionPolicy"], "Retain");
    assert_eq!(object["spec"]["scaling"]["replicas"], 1);
    class.ready().await;

    let names = class.kubectl(&["get", "all", "-o", "name"]).await;
    assert!(
        names.contains("serverlessworkerclass.portside.dev/fresh"),
        "{names}"
    );
    let columns = class.kubectl(&["get", "swc", "fresh"]).await;
    assert!(columns.contains("Succeeded"), "{columns}");
    let explained = class
        .kubectl(&["explain", "swc.spec.scaling.replicas"])
        .await;
    assert!(
        explained.contains("How many pods share the workers"),
        "{explained}"
    );
    // What the API server says of the pods' shape is checked by the namespace itself: it admits restricted pods only.
    let pod = &class.pods().await[0];
    assert_eq!(pod["spec"]["automountServiceAccountToken"], json!(false));
}
