//! Watches classes and pods.

use std::sync::Arc;

use futures::future::select_all;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use kube::core::PartialObjectMeta;
use kube::{Client, ResourceExt};
use portside_admin::Readiness;
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::{COMPONENT_LABEL, COMPONENT_SIDECAR, SIDECAR_CONTAINER};
use portside_watches::{Known, gathered, known, watching};
use tokio::sync::{Notify, watch};

use super::Classes;

/// What readiness waits for.
pub const CLASSES: &str = "the first list of classes";
/// What readiness waits for, too.
pub const PODS: &str = "the first list of pods";

type ClassMeta = PartialObjectMeta<ServerlessWorkerClass>;

/// Keeps `seen` as it is in these namespaces, or in all if there are none; what cannot be watched changes nothing. Does not end.
pub async fn follow(
    client: Client,
    namespaces: &[String],
    seen: watch::Sender<Arc<Classes>>,
    readiness: Readiness,
) {
    let (changed, mut filling) = (Arc::new(Notify::new()), vec![]);
    let everything = watching();
    let labels = format!("{COMPONENT_LABEL}={COMPONENT_SIDECAR}");
    let of_pods = everything.clone().labels(&labels);
    let mut classes = known::<ClassMeta>(
        &client,
        namespaces,
        &everything,
        &changed,
        |class| class.annotations_mut().clear(),
        &mut filling,
    );
    let mut pods = known::<Pod>(&client, namespaces, &of_pods, &changed, trim, &mut filling);
    let applying = async {
        classes.synced().await;
        readiness.done(CLASSES);
        pods.synced().await;
        loop {
            apply(&classes, &pods, &seen);
            readiness.done(PODS);
            gathered(&changed).await;
        }
    };
    tokio::select! {
        () = applying => {}
        _ = select_all(filling) => {}
    }
}

fn apply(classes: &Known<ClassMeta>, pods: &Known<Pod>, seen: &watch::Sender<Arc<Classes>>) {
    let (classes, pods) = (classes.objects(), pods.objects());
    let now = Classes::new(classes.iter().map(|it| &**it), pods.iter().map(|it| &**it));
    seen.send_if_modified(|before| {
        let is_new = **before != now;
        if is_new {
            *before = Arc::new(now);
        }
        is_new
    });
}

/// Leaves what is looked at.
fn trim(pod: &mut Pod) {
    pod.annotations_mut().clear();
    let spec = pod.spec.take().unwrap_or_default();
    let init = spec.init_containers.into_iter().flatten();
    let sidecars = spec.containers.into_iter().chain(init);
    let sidecars = sidecars.filter(|it| it.name == SIDECAR_CONTAINER);
    let containers = sidecars.map(|it| Container {
        name: it.name,
        ports: it.ports,
        ..Container::default()
    });
    pod.spec = Some(PodSpec {
        containers: containers.collect(),
        ..PodSpec::default()
    });
    let status = pod.status.take().unwrap_or_default();
    pod.status = Some(PodStatus {
        phase: status.phase,
        pod_ip: status.pod_ip,
        conditions: status.conditions,
        ..PodStatus::default()
    });
}
