//! The status besides its conditions, and the events.

use std::sync::Arc;

use portside_crds::class::Route;

use portside_crds::status::WorkerCounts;

use super::*;
use crate::class::fetch::Live;
use crate::class::testkit::{deployment, pod, valid};

const READY: &str = "conditions: [{ type: Ready, status: 'True' }]";

fn applied(spec: &str) -> Applied {
    let mut old = (*pod("z-old", "old", READY)).clone();
    old.metadata.creation_timestamp = Some(time(1));
    let live = Live {
        pods: vec![
            pod("a-new", "new", READY),
            Arc::new(old),
            pod("b", "new", "{}"),
        ],
        ..Live::default()
    };
    Applied {
        failure: None,
        valid: valid(spec, live),
        deployment: Some(deployment(
            "metadata: { name: chat-workers, generation: 2, annotations: { portside.dev/inputs: new } }\n\
             spec: { replicas: 2, selector: {}, template: { spec: { containers: [\
             { name: log, image: log }, { name: sidecar, image: 'side:1' }] } } }\n\
             status: { observedGeneration: 2, replicas: 3, updatedReplicas: 2, readyReplicas: 2 }",
        )),
        refusals: vec![],
    }
}

fn time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

const SPEC: &str =
    "code: { inline: { server.js: x } }\nroutes: [{ host: '*.a.com' }, { host: a.com, path: /x }]";

#[test]
fn numbers_and_names_are_what_the_cluster_has() {
    let applied = applied(SPEC);
    let workers = WorkerCounts {
        awake: 1,
        stored: None,
    };
    let sample = |serving| Sample {
        workers: Some(workers.clone()),
        serving,
    };
    let with = |sample| compute(&applied.valid.class, &applied, sample, &time(5));
    assert_eq!(with(None).serving_replicas, None);
    assert_eq!(with(Some(sample(3))).serving_replicas, Some(2));
    let status = with(Some(sample(1)));
    assert_eq!(status.serving_replicas, Some(1));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(status.url.as_deref(), Some("http://a.com/x"));
    assert_eq!((status.replicas, status.ready_replicas), (3, 2));
    assert_eq!(status.workers, Some(workers));
    assert_eq!(status.sidecar_image.as_deref(), Some("side:1"));
    let selector = "portside.dev/class=chat,portside.dev/component=sidecar";
    assert_eq!(status.selector.as_deref(), Some(selector));
    let code = status.code.unwrap();
    assert_eq!(code.observed_digest.as_deref(), Some("sha256:of-old"));
    assert!(code.digest.unwrap().starts_with("sha256:"));
}

#[test]
fn nothing_known_of_code_is_left_out() {
    let mut applied = applied("code: { configMap: { name: gone } }");
    applied.valid.live.pods.clear();
    let status = compute(&applied.valid.class, &applied, None, &time(5));
    assert_eq!(status.code, None);
}

#[test]
fn the_same_twice_is_the_same() {
    let applied = applied(SPEC);
    let mut class = (*applied.valid.class).clone();
    let first = compute(&class, &applied, None, &time(5));
    class.status = Some(first.clone());
    assert_eq!(compute(&class, &applied, None, &time(9)), first);
}

#[test]
fn the_url_is_of_a_route_the_class_has() {
    let tls = format!("{SPEC}\ningress: {{ tls: {{ secretName: t }} }}");
    let mut applied = applied(&tls);
    let https = url(&applied.valid.class, &applied.valid.routing);
    assert_eq!(https.as_deref(), Some("https://a.com/x"));
    applied.valid.routing.routes = vec![Route {
        host: String::new(),
        path: "/".to_owned(),
        ..Route::default()
    }];
    assert_eq!(url(&applied.valid.class, &applied.valid.routing), None);
}

#[test]
fn events_tell_of_turns_only() {
    let status = |ready: Finding| ServerlessWorkerClassStatus {
        conditions: conditions::merge(&[], &[ready], 1, &time(1)),
        ..Default::default()
    };
    let working = status(Finding::unknown(
        ConditionType::Ready,
        Reason::Progressing,
        "1 of 2",
    ));
    let further = status(Finding::unknown(
        ConditionType::Ready,
        Reason::Progressing,
        "2 of 2",
    ));
    let broken = status(Finding::no(
        ConditionType::Ready,
        Reason::CodeInvalid,
        "é".repeat(1000),
    ));
    assert!(event(None, &working).is_some());
    assert!(event(Some(&working), &further).is_none());
    let told = event(Some(&further), &broken).unwrap();
    assert_eq!(
        (told.type_, told.reason.as_str()),
        (EventType::Warning, "CodeInvalid")
    );
    assert!(told.note.unwrap().len() <= 1000);
}

#[test]
fn conditions_survive_being_read_back() {
    let all = [
        Finding::yes(ConditionType::Ready, Reason::Succeeded, "a"),
        Finding::no(ConditionType::Available, Reason::NoPodReady, "b"),
        Finding::unknown(ConditionType::StorageReady, Reason::Progressing, "c"),
    ];
    let conditions = conditions::merge(&[], &all, 1, &time(1));
    let back: Vec<Finding> = conditions.iter().filter_map(finding).collect();
    assert_eq!(back, all);
}
