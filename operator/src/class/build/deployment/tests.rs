//! Revisions, and how pods that share nothing give way to those that do.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

use super::super::tests::{MINIMAL, live};
use super::*;
use crate::class::build::build;
use crate::class::fetch::Live;
use crate::class::testkit::{pod, settings, valid};

const OTHER: &str = "code: { inline: { server.js: y } }";
const THREE: &str = "scaling: { replicas: 3 }";

fn built(spec: &str, live: Live, settings: &Settings) -> Deployment {
    let built = build(valid(spec, live), settings);
    built.objects.deployment.unwrap()
}

/// What the cluster has once a Deployment was written.
fn after(deployment: Deployment) -> Live {
    let mut deployment = deployment;
    deployment.metadata.resource_version = Some("9".to_owned());
    Live {
        deployment: Some(Arc::new(deployment)),
        ..Live::default()
    }
}

/// The revision, as the annotations and the argument have it.
fn revision(deployment: &Deployment) -> u64 {
    let of_deployment = &deployment.annotations()[names::REVISION_ANNOTATION];
    let template = &deployment.spec.as_ref().unwrap().template;
    let of_pods = template
        .metadata
        .as_ref()
        .unwrap()
        .annotations
        .as_ref()
        .unwrap();
    assert_eq!(of_deployment, &of_pods[names::REVISION_ANNOTATION]);
    let args = template.spec.as_ref().unwrap().containers[0]
        .args
        .as_ref()
        .unwrap();
    let place = args.iter().position(|arg| arg == "--revision").unwrap();
    assert_eq!(of_deployment, &args[place + 1]);
    of_deployment.parse().unwrap()
}

fn number(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().unwrap().replicas.unwrap()
}

#[test]
fn each_other_template_is_a_newer_revision_and_nothing_else_is() {
    let first = built(MINIMAL, Live::default(), &settings());
    assert_eq!(
        (revision(&first), &first.metadata.resource_version),
        (1, &None)
    );
    let live = after(first);
    for same in ["", THREE, "suspend: true", "routes: [{ host: a.com }]"] {
        let same = built(&format!("{MINIMAL}\n{same}"), live.clone(), &settings());
        assert_eq!(revision(&same), 1);
        // Nobody may have changed it meanwhile.
        assert_eq!(same.metadata.resource_version.as_deref(), Some("9"));
    }
    let second = built(OTHER, live.clone(), &settings());
    assert_eq!(revision(&second), 2);
    // It counts on from what it replaces.
    assert_eq!(second.metadata.resource_version.as_deref(), Some("9"));
    // Back to what there was is no way back.
    let third = built(MINIMAL, after(second), &settings());
    assert_eq!(revision(&third), 3);

    let mut settings = settings();
    settings.sidecar_image = "portside/sidecar:other".to_owned();
    assert_eq!(revision(&built(MINIMAL, live, &settings)), 2);
}

#[test]
fn a_deployment_that_was_deleted_is_counted_on_from_its_pods() {
    let with = |live, revision: &str| {
        let mut left = (*pod("left", "old", "{}")).clone();
        let annotations = left.metadata.annotations.get_or_insert_default();
        annotations.insert(names::REVISION_ANNOTATION.to_owned(), revision.to_owned());
        Live {
            pods: vec![Arc::new(left)],
            ..live
        }
    };
    let counted = built(MINIMAL, with(Live::default(), "7"), &settings());
    assert_eq!(revision(&counted), 8);
    // Whatever is left or gone later, the number stays while the template does.
    let live = after(counted);
    for left in ["7", "12"] {
        let same = built(MINIMAL, with(live.clone(), left), &settings());
        assert_eq!(revision(&same), 8);
    }
    assert_eq!(revision(&built(MINIMAL, live, &settings())), 8);
    let absurd = with(Live::default(), &u64::MAX.to_string());
    assert_eq!(revision(&built(MINIMAL, absurd, &settings())), u64::MAX);
}

/// What an operator has left that knew nothing of sharing: its Deployment, and a pod of it.
fn unshared(replicas: i32) -> Live {
    let mut left = live(MINIMAL, "0.0.9");
    let mut deployment = Arc::unwrap_or_clone(left.deployment.take().unwrap());
    let annotations = deployment.metadata.annotations.as_mut().unwrap();
    annotations.remove(names::REVISION_ANNOTATION);
    annotations.remove(names::TEMPLATE_ANNOTATION);
    deployment.spec.as_mut().unwrap().replicas = Some(replicas);
    left.deployment = Some(Arc::new(deployment));
    left.pods = vec![pod("left", "old", "{}")];
    left
}

fn shares(deployment: &Deployment) -> bool {
    deployment
        .annotations()
        .contains_key(names::REVISION_ANNOTATION)
}

#[test]
fn pods_that_share_nothing_stay_until_there_are_to_be_more() {
    let scaled = |replicas: i32| format!("{MINIMAL}\nscaling: {{ replicas: {replicas} }}");
    for (before, wanted, shared) in [
        (1, 1, false),
        (2, 2, false),
        (2, 1, false),
        (1, 3, true),
        (0, 3, true),
    ] {
        let now = built(&scaled(wanted), unshared(before), &settings());
        assert_eq!(shares(&now), shared, "{before} to {wanted}");
    }
}

#[test]
fn one_pod_waits_until_those_are_gone_that_share_nothing() {
    let spec = format!("{OTHER}\n{THREE}");
    let now = built(&spec, unshared(3), &settings());
    assert_eq!((revision(&now), number(&now)), (1, 1));
    let mut ended = after(now);
    ended.pods = vec![Arc::new(Pod::default())];
    assert_eq!(number(&built(&spec, ended.clone(), &settings())), 3);
    let mut going = ended;
    going.pods = unshared(3).pods;
    assert_eq!(number(&built(&spec, going.clone(), &settings())), 1);
    let mut evicted = going.clone();
    evicted.pods = vec![pod("left", "old", "phase: Failed")];
    assert_eq!(number(&built(&spec, evicted, &settings())), 3);
    let mut leaving = going.clone();
    for (seconds, replicas) in [(60, 1), (-10, 1), (-60, 3)] {
        let mut pod = (*going.pods[0]).clone();
        let due = Timestamp::now() + SignedDuration::from_secs(seconds);
        pod.metadata.deletion_timestamp = Some(Time(due));
        leaving.pods = vec![Arc::new(pod)];
        let now = built(&spec, leaving.clone(), &settings());
        assert_eq!(number(&now), replicas, "to end in {seconds} s");
    }
    let suspended = format!("{spec}\nsuspend: true");
    assert_eq!(number(&built(&suspended, going, &settings())), 0);
}
