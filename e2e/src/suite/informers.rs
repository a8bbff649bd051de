//! The API of workers as controllers use it: lists, and watches from there on, with client-go.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::class::Class;
use crate::cluster::until;
use crate::test::Test;
use crate::workers::{note, notes, path, registered};

/// The names of the class's workers, once there are so many.
async fn names(class: &Class, count: usize) -> Vec<String> {
    let what = format!("{count} workers");
    until(&what, Duration::from_secs(60), async || {
        let names = class.kubectl(&["get", "sw", "-o", "name"]).await;
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

/// Informers and watches of client-go, while workers come, wake, sleep and move with their pods: nothing is missed, and nothing is told twice.
pub async fn they_miss_and_repeat_nothing(test: Arc<Test>) {
    registered(&test.cluster).await;
    let class = test.class("notes", notes(2)).await;
    class.ready().await;
    for number in 0..20 {
        note(&class, &number.to_string(), "one").await;
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
    let begun = Instant::now();
    let mut round = 0;
    while !over.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(30) {
        let name = &known[round % known.len()];
        let sleep = path(test, &format!("/{name}/sleep"));
        let done = test.cluster.post(&sleep, &json!({})).await;
        done.unwrap_or_else(|problem| panic!("{name}: {problem}"));
        note(class, &(round % 25).to_string(), "more").await;
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
