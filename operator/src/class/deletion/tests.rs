//! What comes next for a class that is being deleted.

use std::sync::Arc;

use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;

use super::*;
use crate::class::fetch::Live;
use crate::class::testkit::{deployment, pod, valid, yaml};

const SPEC: &str = "code: { inline: { server.js: x } }\nstorage: { deletionPolicy: Delete }";

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

fn job(attempt: u32, condition: &str, at: &str) -> Job {
    yaml(&format!(
        "metadata: {{ annotations: {{ portside.dev/attempt: '{attempt}' }} }}\nstatus:\n  conditions:\n  \
         - {{ type: {condition}, status: 'True', lastTransitionTime: '{at}', message: no luck }}"
    ))
}

fn next(live: Live, job: Option<&Job>, tried: u32) -> Step {
    step(&valid(SPEC, live), job, tried, now())
}

/// A pod of a purge Job with this status.
fn purge_pod(status: &str) -> Arc<Pod> {
    let mut pod = (*pod("a", "1", status)).clone();
    let component = (
        names::COMPONENT_LABEL.to_owned(),
        COMPONENT_PURGE.to_owned(),
    );
    pod.metadata.labels = Some([component].into());
    Arc::new(pod)
}

#[test]
fn a_purge_pod_that_does_not_start_is_told() {
    let told = |status: &str| {
        let live = Live {
            pods: vec![pod("b", "1", "{}"), purge_pod(status)],
            ..Live::default()
        };
        purge_trouble(&valid(SPEC, live))
    };
    let no_node = "conditions: [{ type: PodScheduled, status: 'False', reason: Unschedulable, message: full }]";
    assert!(
        told(no_node)
            .unwrap()
            .starts_with("pod a fits no node: full;")
    );
    assert_eq!(told("conditions: [{ type: Ready, status: 'True' }]"), None);
    let ended = format!("phase: Failed\n{no_node}");
    assert_eq!(told(&ended), None, "the Job tells how it ended");
}

#[test]
fn pods_go_before_the_state() {
    let made = Live {
        deployment: Some(deployment("metadata: { name: chat-workers }")),
        pods: vec![pod("a", "1", "{}")],
        owned: vec![],
    };
    assert_eq!(next(made.clone(), None, 0), Step::EndPods);
    let ending = Live {
        deployment: None,
        ..made
    };
    assert_eq!(next(ending, None, 0), Step::AwaitPods);
    assert_eq!(next(Live::default(), None, 0), Step::Purge(1));
}

#[test]
fn what_another_class_of_the_name_has_left_says_nothing() {
    let job = |uid: &str| -> Job {
        let mut job = job(1, "Complete", "2026-01-01T00:00:59Z");
        job.metadata.name = Some("chat-purge".to_owned());
        job.metadata.namespace = Some("team-a".to_owned());
        job.metadata.owner_references = Some(yaml(&format!(
            "[{{ apiVersion: v, kind: k, name: chat, uid: {uid}, controller: true }}]"
        )));
        job
    };
    let found = |uid: &str| {
        let mut jobs = Writer::new(());
        jobs.apply_watcher_event(&Event::Apply(job(uid)));
        own_job(&jobs.as_reader(), &valid(SPEC, Live::default()))
    };
    assert!(found("class-uid").is_some());
    assert!(found("of-an-earlier-class").is_none());
}

#[test]
fn a_try_is_waited_for() {
    let running: Job = yaml("metadata: { name: chat-purge }");
    assert_eq!(next(Live::default(), Some(&running), 1), Step::AwaitPurge);
    let done = job(1, "Complete", "2026-01-01T00:00:59Z");
    assert_eq!(next(Live::default(), Some(&done), 1), Step::Done);
    // An earlier try whose Job is on its way out says nothing of the next one.
    assert_eq!(next(Live::default(), Some(&done), 2), Step::AwaitPurge);
    assert_eq!(next(Live::default(), None, 2), Step::Purge(2));
}

#[test]
fn a_failed_try_is_repeated_later_and_later() {
    let ended = purge_pod(
        "containerStatuses:\n- name: sidecar\n  image: i\n  imageID: ''\n  ready: false\n  restartCount: 0\n  \
         state: { terminated: { exitCode: 1, message: '{\"reason\":\"DatabaseUnavailable\",\"message\":\"no answer\"}' } }",
    );
    let live = Live {
        pods: vec![ended],
        ..Live::default()
    };
    let third = job(3, "Failed", "2026-01-01T00:00:30Z");
    assert_eq!(
        next(live, Some(&third), 3),
        Step::Failed {
            attempt: 3,
            message: "no answer".to_owned(),
            again: "2026-01-01T00:01:10Z".parse().unwrap(),
        }
    );
    let early = job(1, "Failed", "2026-01-01T00:00:50Z");
    assert_eq!(next(Live::default(), Some(&early), 1), Step::Purge(2));
    let unsaid = job(2, "Failed", "2026-01-01T00:00:50Z");
    let Step::Failed { message, .. } = next(Live::default(), Some(&unsaid), 2) else {
        panic!("not failed");
    };
    assert_eq!(message, "no luck");
}
