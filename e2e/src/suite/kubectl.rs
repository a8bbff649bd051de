//! `kubectl portside`, as people use it: a folder is deployed, and its workers are looked at and managed.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::class::Class;
use crate::test::Test;
use crate::workers::{SERVER, WORKER, note, registered};

/// Runs `kubectl portside` in the test's namespace.
async fn portside(test: &Test, args: &[&str]) -> Result<String, String> {
    let settings = &test.cluster.settings;
    let programs = settings.portside.parent().unwrap();
    let programs = std::fs::canonicalize(programs).unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = tokio::process::Command::new(&settings.kubectl)
        .arg("portside")
        .args(args)
        .args(["--namespace", &test.namespace])
        .env("PATH", format!("{}:{path}", programs.display()))
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(said(&output.stderr))
    }
}

async fn json(test: &Test, args: &[&str]) -> Value {
    let said = portside(test, &[args, &["-o", "json"]].concat()).await;
    serde_json::from_str(&said.unwrap()).unwrap()
}

fn write(folder: &Path, test: &Test, server: &str) {
    let class = json!({
        "apiVersion": "portside.dev/v1alpha1",
        "kind": "ServerlessWorkerClass",
        "metadata": { "name": "notes" },
        "spec": {
            "code": { "configMap": { "name": "notes-code" } },
            "routes": [{ "host": test.host("notes") }],
        },
    });
    for (name, text) in [
        ("class.yaml", &*class.to_string()),
        ("server.js", server),
        ("notes.js", WORKER),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// Applied, waited for, and its place printed; broken code is refused where it is bundled, or says why it does not run.
pub async fn a_folder_is_deployed(test: Arc<Test>) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let deploy = async || portside(&test, &["deploy", dir, "--timeout", "3m"]).await;
    write(folder.path(), &test, SERVER);
    let url = deploy().await.unwrap();
    assert!(url.contains(&test.host("notes")), "{url}");
    let class = Class::new(&test, "notes");
    note(&class, "ann", "one").await;
    // Once more changes nothing.
    deploy().await.unwrap();
    let status = portside(&test, &["status"]).await.unwrap();
    assert!(
        status.contains("notes") && status.contains("True"),
        "{status}"
    );

    write(folder.path(), &test, "export default {");
    let refused = deploy().await.unwrap_err();
    assert!(refused.contains("server.js"), "{refused}");
    write(
        folder.path(),
        &test,
        "throw new Error('it cannot'); export default {};",
    );
    let broken = deploy().await.unwrap_err();
    assert!(broken.contains("it cannot"), "{broken}");
    let details = portside(&test, &["status", "notes"]).await.unwrap();
    assert!(details.contains("Stalled"), "{details}");
    // What worked goes on.
    note(&class, "ann", "two").await;
    let missing = portside(&test, &["status", "other"]).await.unwrap_err();
    assert!(missing.contains("there is no class other"), "{missing}");
}

/// Every verb, by the worker's address.
pub async fn workers_are_managed(test: Arc<Test>) {
    registered(&test.cluster).await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &test, SERVER);
    let dir = folder.path().to_str().unwrap();
    portside(&test, &["deploy", dir, "--timeout", "3m"])
        .await
        .unwrap();
    note(&Class::new(&test, "notes"), "ann", "one").await;
    let ann = "notes.js#ann";
    let state = async || json(&test, &["workers", "get", ann]).await["state"].clone();

    let table = portside(&test, &["workers", "list"]).await.unwrap();
    assert!(table.contains(ann) && table.contains("awake"), "{table}");
    assert_eq!(state().await, "awake");
    portside(&test, &["workers", "sleep", ann]).await.unwrap();
    assert_eq!(state().await, "asleep");
    portside(&test, &["workers", "wake", ann]).await.unwrap();
    assert_eq!(state().await, "awake");

    let said = portside(&test, &["exec", ann, "await storage.get('note')"]).await;
    assert_eq!(said.unwrap().trim(), "\"one\"");
    let thrown = portside(&test, &["exec", ann, "missing"])
        .await
        .unwrap_err();
    assert!(thrown.contains("missing is not defined"), "{thrown}");
    let log = portside(&test, &["logs", ann]).await.unwrap();
    assert!(log.contains("noted one"), "{log}");
    let log = portside(&test, &["logs"]).await.unwrap_err();
    assert!(log.contains("kubectl logs"), "{log}");

    portside(&test, &["state", "put", ann, "limit", "5"])
        .await
        .unwrap();
    let limit = json(&test, &["state", "get", ann, "limit"]).await;
    assert_eq!(limit["value"], 5);
    let keys = portside(&test, &["state", "list", ann]).await.unwrap();
    assert!(keys.contains("limit") && keys.contains("note"), "{keys}");
    portside(&test, &["state", "delete", ann, "limit"])
        .await
        .unwrap();
    let gone = portside(&test, &["state", "get", ann, "limit"]).await;
    assert!(gone.unwrap_err().contains("limit"));

    portside(&test, &["workers", "delete", ann]).await.unwrap();
    let gone = portside(&test, &["workers", "get", ann]).await.unwrap_err();
    assert!(gone.contains("there is no worker notes.js#ann"), "{gone}");
}
