//! The API of workers as controllers use it: lists, and watches from there on, with client-go.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::apps;
use crate::class::Class;
use crate::cluster::until;
use crate::load;
use crate::test::Test;

const LIST: &str = "serverlessworkers.runtime.portside.dev";

/// Where an object's subresource is asked for.
fn path(test: &Test, name: &str, subresource: &str) -> String {
    let namespace = &test.namespace;
    format!(
        "/apis/runtime.portside.dev/v1alpha1/namespaces/{namespace}/serverlessworkers/{name}/{subresource}"
    )
}

/// Asks for something to be done.
async fn post(test: &Test, name: &str, subresource: &str, body: &Value) -> Result<String, String> {
    let path = path(test, name, subresource);
    let mut process = Command::new(&test.cluster.settings.kubectl)
        .args(["create", "--raw", &path, "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = process.stdin.take().unwrap();
    let _ = stdin.write_all(body.to_string().as_bytes()).await;
    drop(stdin);
    let output = process.wait_with_output().await.unwrap();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The names of the class's workers, once there are so many.
async fn names(class: &Class, count: usize) -> Vec<String> {
    let what = format!("{count} workers");
    until(&what, Duration::from_secs(60), async || {
        let names = class.kubectl(&["get", LIST, "-o", "name"]).await;
        let names: Vec<String> = names
            .lines()
            .filter_map(|it| it.split_once('/').map(|it| it.1.to_owned()))
            .collect();
        if names.len() == count {
            Ok(names)
        } else {
            Err(format!("{names:?}"))
        }
    })
    .await
}

/// An expression is evaluated in the instance, and what it throws is told.
pub async fn an_expression_is_evaluated_in_a_worker(test: Arc<Test>) {
    let class = test.class("ledger", apps::ledger("1")).await;
    class.ready().await;
    load::add(&class.site(), "/ann", "one").await;
    let name = names(&class, 1).await.remove(0);
    let ask = async |expression: &str| {
        post(&test, &name, "exec", &json!({ "expression": expression })).await
    };
    let answer: Value = serde_json::from_str(&ask("1 + 1").await.unwrap()).unwrap();
    assert_eq!(answer["value"], 2);
    let thrown = ask("nowhere.at.all").await.unwrap_err();
    assert!(thrown.contains("nowhere"), "{thrown}");
}

/// Informers and watches of client-go, while workers come, wake, sleep and move with their pods: nothing is missed, and nothing is told twice.
pub async fn informers_miss_and_repeat_nothing(test: Arc<Test>) {
    let mut spec = apps::ledger("1");
    spec["scaling"] = json!({ "replicas": 2 });
    let class = test.class("ledger", spec).await;
    class.ready().await;
    for number in 0..20 {
        load::add(&class.site(), &format!("/{number}"), "one").await;
    }
    let known = names(&class, 20).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("informer");
    // Built first: it takes a while, in which nothing is watched.
    let built = go(&folder, &["build", "-o", "/dev/null", "."]).await;
    built.unwrap_or_else(|problem| panic!("{problem}"));
    let over = Arc::new(AtomicBool::new(false));
    let churning = churn(&test, &class, &known, &over);
    let watching = async {
        let namespace = format!("--namespace={}", test.namespace);
        let said = go(&folder, &["run", ".", &namespace, "--for=30s"]).await;
        over.store(true, Ordering::SeqCst);
        said
    };
    let ((), said) = futures::future::join(churning, watching).await;
    let said = said.unwrap_or_else(|problem| panic!("{problem}"));
    eprintln!("{said}");
    let said: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(said["wrong"], json!([]));
    assert!(said["events"].as_u64() > Some(20), "{said}");
    assert!(said["reconnects"].as_u64() > Some(5), "{said}");
    assert!(said["bookmarks"].as_u64() > Some(5), "{said}");
}

/// Wakes workers, puts them to sleep and makes new ones for some 30 s.
async fn churn(test: &Test, class: &Class, known: &[String], over: &AtomicBool) {
    let begun = std::time::Instant::now();
    let mut round = 0;
    while !over.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(30) {
        let name = &known[round % known.len()];
        let done = post(test, name, "sleep", &json!({})).await;
        done.unwrap_or_else(|problem| panic!("{name}: {problem}"));
        load::add(&class.site(), &format!("/{}", round % 25), "more").await;
        round += 1;
    }
}

/// Runs Go.
async fn go(folder: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new("go")
        .args(args)
        .current_dir(folder)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("go {}: {error}; install Go 1.24 or newer", args.join(" ")))?;
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr),
    );
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("go {}: {complained}{said}", args.join(" ")))
}
