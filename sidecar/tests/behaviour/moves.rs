//! Workers that somebody moves to a certain pod.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::{Value as Json, json};

use crate::app::{Setup, eventually, open};
use crate::manage::ask_pod;
use crate::sharing::{ALL, COUNTERS, Running, pod};
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    a_worker_goes_to_the_pod_that_is_named_and_no_request_fails,
    a_pod_is_chosen_if_none_is_named,
    a_worker_that_cannot_be_moved_stays_and_it_is_said_why,
];

const WORKER: &str = "/workers/counter.js%23%2Fann";

/// Asks a pod to move the worker.
async fn ask_to_move(from: &Running, to: &Json) -> (StatusCode, Json) {
    let path = format!("{WORKER}/move");
    ask_pod(&from.app, "POST", &path, &to.to_string()).await
}

async fn has_it(pod: &Running) -> bool {
    ask_pod(&pod.app, "GET", WORKER, "").await.0 == StatusCode::OK
}

/// Two pods that share the workers of a store, of which one has counted once; the one that has it first.
async fn two(dir: &Path) -> (Running, Running) {
    let (setup, store) = (Setup::new(COUNTERS), open(dir).await);
    let (one, other) = (pod(&store, &setup, 1).await, pod(&store, &setup, 1).await);
    one.has(ALL / 2).await;
    other.has(ALL / 2).await;
    assert_eq!(one.get("/ann").await, "1");
    match has_it(&one).await {
        true => (one, other),
        false => (other, one),
    }
}

async fn a_worker_goes_to_the_pod_that_is_named_and_no_request_fails() {
    let dir = tempfile::tempdir().unwrap();
    let pods: [Running; 2] = two(dir.path()).await.into();
    let pods = Arc::new(pods);

    let is_over = Arc::new(AtomicBool::new(false));
    let clients = tokio::spawn({
        let (pods, is_over) = (pods.clone(), is_over.clone());
        async move {
            let mut count = 1;
            while !is_over.load(Ordering::Relaxed) {
                for pod in &*pods {
                    count += 1;
                    assert_eq!(pod.get("/ann").await, count.to_string());
                }
            }
            count
        }
    });
    for round in 0..10 {
        let (from, to) = (&pods[round % 2], &pods[(round + 1) % 2]);
        let wanted = json!({ "pod": to.name });
        let moved = ask_to_move(from, &wanted).await;
        assert_eq!(moved, (StatusCode::OK, wanted.clone()));
        let is_there = eventually(async || has_it(to).await && !has_it(from).await);
        assert!(is_there.await, "round {round}");
        // Once more: it is there, and who has it no more says so.
        assert_eq!(ask_to_move(to, &wanted).await, (StatusCode::OK, wanted));
        let (status, _) = ask_to_move(from, &json!({})).await;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(clients.await.unwrap() > 1);
    // Others went back in its place.
    for pod in &*pods {
        pod.has(ALL / 2).await;
    }
    for pod in Arc::into_inner(pods).unwrap() {
        pod.leave().await;
    }
}

async fn a_pod_is_chosen_if_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = two(dir.path()).await;
    let moved = ask_to_move(&from, &json!({})).await;
    assert_eq!(moved, (StatusCode::OK, json!({ "pod": to.name })));
    assert!(eventually(async || has_it(&to).await).await);
    assert_eq!(from.get("/ann").await, "2");
    from.leave().await;
    to.leave().await;
}

async fn a_worker_that_cannot_be_moved_stays_and_it_is_said_why() {
    let setup = Setup::new(COUNTERS);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let new = pod(&store, &setup, 2).await;
    new.has(ALL).await;
    assert_eq!(new.get("/ann").await, "1");
    let refused = async |to: Json, why: &str| {
        let (status, said) = ask_to_move(&new, &to).await;
        assert_eq!(status, StatusCode::CONFLICT);
        let said = said["error"].as_str().unwrap();
        assert!(said.contains(why), "{said}");
    };
    refused(json!({}), "there is no other pod").await;
    let old = pod(&store, &setup, 1).await;
    old.serves().await;
    let is_known = eventually(async || {
        let (_, said) = ask_to_move(&new, &json!({ "pod": "nobody" })).await;
        said["error"].as_str().unwrap().contains(&old.name)
    });
    assert!(is_known.await);
    refused(json!({ "pod": old.name }), "takes no workers").await;
    refused(json!({}), "takes no workers").await;
    assert_eq!(new.get("/ann").await, "2");
    assert!(has_it(&new).await);
    old.leave().await;
    new.leave().await;
}
