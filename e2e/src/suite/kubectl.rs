//! `kubectl portside`, as people use it: a folder is deployed, and its workers are looked at and managed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use portside_testkit::{Site, Socket};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::class::{Class, name};
use crate::cluster::Followed;
use crate::test::Test;
use crate::workers::{SERVER, WORKER, in_state, note, notes, registered};

/// The `PATH` on which kubectl finds its plugin.
fn path(test: &Test) -> String {
    let programs = test.cluster.settings.portside.parent().unwrap();
    let programs = std::fs::canonicalize(programs).unwrap();
    let path = std::env::var("PATH").unwrap();
    format!("{}:{path}", programs.display())
}

/// `kubectl portside` in the test's namespace.
fn command(test: &Test, args: &[&str]) -> Command {
    let mut command = Command::new(&test.cluster.settings.kubectl);
    command
        .arg("portside")
        .args(args)
        .args(["--namespace", &test.namespace])
        .env("PATH", path(test))
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
async fn portside(test: &Test, args: &[&str]) -> Result<String, String> {
    let output = command(test, args).output().await.unwrap();
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

/// The class of a folder that is deployed, whose workers are served.
async fn deployed(test: &Arc<Test>) -> Class {
    registered(&test.cluster).await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), test, SERVER);
    let deploy = ["deploy", folder.path().to_str().unwrap(), "--timeout", "3m"];
    portside(test, &deploy).await.unwrap();
    Class::new(test, "notes")
}

/// Every verb, by the worker's address.
pub async fn workers_are_managed(test: Arc<Test>) {
    let class = deployed(&test).await;
    note(&class, "ann", "one").await;
    let ann = "notes.js#ann";
    let state = async || json(&test, &["workers", "get", ann]).await["state"].clone();

    let table = portside(&test, &["workers", "list"]).await.unwrap();
    assert!(table.contains(ann) && table.contains("awake"), "{table}");
    let pods = class.pods().await;
    assert!(pods.iter().any(|pod| table.contains(name(pod))), "{table}");
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

/// Logs, events, and what is used: of a worker, of a class, and of a pod; also of pods that come meanwhile.
pub async fn workers_are_watched(test: Arc<Test>) {
    let class = deployed(&test).await;
    let mut events = Followed::start(command(&test, &["events", "--class", "notes"]));
    let mut logs = Followed::start(command(&test, &["logs", "--class", "notes", "--follow"]));
    events.line(&["TIME", "EVENT"]).await;
    logs.line(&["[pod/notes-workers-"]).await;
    note(&class, "ann", "one").await;
    let ann = "notes.js#ann";
    events.line(&["Appeared", ann, "notes-workers-"]).await;
    logs.line(&["[pod/notes-workers-", "noted one"]).await;
    portside(&test, &["workers", "sleep", ann]).await.unwrap();
    events.line(&["Slept", ann, "notes-workers-"]).await;
    note(&class, "ann", "two").await;
    events.line(&["Woke", ann]).await;

    let top = json(&test, &["top", "--sort-by", "events"]).await;
    let worker = &top["items"][0];
    assert_eq!(worker["address"], ann, "{top}");
    let usage = &worker["usage"];
    assert!(usage["memoryBytes"].as_u64() > Some(100_000), "{worker}");
    assert!(usage["events"].as_u64() > Some(0), "{worker}");
    let pod = worker["pod"].as_str().unwrap();
    let table = portside(&test, &["top", "--pod", pod]).await.unwrap();
    assert!(table.contains(ann), "{table}");
    let none = portside(&test, &["top", "--pod", "other"]).await.unwrap();
    assert!(!none.contains(ann), "{none}");
    let shown = test
        .cluster
        .kubectl(&[
            "--namespace",
            &test.namespace,
            "get",
            "sw",
            "--output",
            "wide",
        ])
        .await;
    assert!(shown.contains("MEMORY") && shown.contains("Mi"), "{shown}");

    let log = portside(&test, &["logs", "--pod", pod]).await.unwrap();
    assert!(log.contains(&format!("[pod/{pod}] ")), "{log}");
    assert!(log.contains("noted two"), "{log}");
    let log = portside(&test, &["logs", "--tail", "1"]).await.unwrap();
    assert_eq!(log.lines().count(), 1, "one pod: {log}");

    // A pod that comes, and what Kubernetes says of it.
    let scale = json!({ "spec": { "scaling": { "replicas": 2 } } }).to_string();
    test.cluster
        .kubectl(&[
            "--namespace",
            &test.namespace,
            "patch",
            "swc",
            "notes",
            "--type",
            "merge",
            "-p",
            &scale,
        ])
        .await;
    events
        .line(&["ScalingReplicaSet", "Deployment/notes-workers"])
        .await;
    logs.line(&["[pod/notes-workers-", "ready"]).await;

    for (args, why) in [
        (&["logs", "--class", "other"][..], "there is no class other"),
        (&["logs", "--pod", "other"], "there is no pod other"),
        (&["logs", ann, "--pod", pod], "leave --pod out"),
        (
            &["logs", "notes.js#nobody"],
            "there is no worker notes.js#nobody",
        ),
        (&["events", "--worker", "nobody"], "SCRIPT#NAME"),
    ] {
        let refused = portside(&test, args).await.unwrap_err();
        assert!(refused.contains(why), "{args:?}: {refused}");
    }
    kubectl_completes(&test).await;
}

/// As kubectl itself asks a plugin.
async fn kubectl_completes(test: &Test) {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", folder.path().display(), path(test));
    let ask = async |args: &[&str]| {
        let mut command = Command::new(&test.cluster.settings.kubectl);
        let output = command.args(args).env("PATH", &path).output();
        String::from_utf8(output.await.unwrap().stdout).unwrap()
    };
    let script = ask(&["portside", "completion", "kubectl"]).await;
    let file = folder.path().join("kubectl_complete-portside");
    std::fs::write(&file, script).unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&file, executable).unwrap();
    let verbs = ask(&["__complete", "portside", "wor"]).await;
    assert!(verbs.starts_with("workers\t"), "{verbs}");
    let flags = ask(&["__complete", "portside", "top", "--sort-by", "mem"]).await;
    assert!(flags.starts_with("memory\t"), "{flags}");
}

/// A debugger on this machine speaks to the isolate of one worker, and to no other one.
pub async fn a_worker_is_inspected(test: Arc<Test>) {
    registered(&test.cluster).await;
    let class = test.class("notes", notes(1)).await;
    class.ready().await;
    for worker in ["ann", "bob"] {
        note(&class, worker, "one").await;
    }
    let ann = "notes.js#ann";
    in_state(&test, ann, "Awake").await;
    let mut inspecting = Followed::start(command(&test, &["inspect", ann]));
    let line = inspecting.line(&["for others: "]).await;
    let url = line.split_once("for others: ").unwrap().1;
    let mut socket = Socket::open(url).await;
    let params = json!({ "expression": "self.name" });
    let call = json!({ "id": 7, "method": "Runtime.evaluate", "params": params });
    socket.send(&call).await;
    let answer = loop {
        let message = socket.receive().await;
        if message["id"] == 7 {
            break message;
        }
    };
    assert_eq!(answer["result"]["result"]["value"], "ann", "{answer}");
    // What it had stored is there.
    let said = portside(&test, &["exec", ann, "await storage.get('note')"]).await;
    assert_eq!(said.unwrap().trim(), "\"one\"");
    // Without the secret nobody gets anywhere.
    let (host, _) = url.trim_start_matches("ws://").split_once('/').unwrap();
    let site = Site::at(host);
    assert_eq!(site.get("/json/list").await.status, 404);
    let missing = portside(&test, &["inspect", "notes.js#nobody"]).await;
    assert!(missing.unwrap_err().contains("there is no worker"));
}
