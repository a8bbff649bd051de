//! Watches the pods of this server's own Deployment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::select_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use portside_watches::{Known, gathered, known, watching};
use tokio::sync::{Notify, watch};

/// The name of the port at which a replica answers.
const PORT: &str = "https";

/// Which pods are replicas of this server, and which one it is itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The namespace of all.
    pub namespace: String,
    /// The name of its own pod.
    pub name: String,
    /// The labels that all have, and no other pod.
    pub labels: BTreeMap<String, String>,
}

/// Another replica, which is ready.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Replica {
    /// The name of its pod.
    pub name: String,
    /// Its pod's uid.
    pub uid: String,
    /// Where it answers.
    pub address: SocketAddr,
}

/// Keeps `ready` as the pods are; what cannot be watched changes nothing. Does not end.
pub async fn follow(client: Client, own: Option<Own>, ready: watch::Sender<Vec<Replica>>) {
    let Some(own) = own else {
        return std::future::pending().await;
    };
    let pairs = own
        .labels
        .iter()
        .map(|(label, value)| format!("{label}={value}"));
    let labels = pairs.collect::<Vec<_>>().join(",");
    let config = watching().labels(&labels);
    let (changed, mut filling) = (Arc::new(Notify::new()), vec![]);
    let namespaces = [own.namespace.clone()];
    let pods = known::<Pod>(
        &client,
        &namespaces,
        &config,
        &changed,
        |_| {},
        &mut filling,
    );
    let keeping = async {
        loop {
            gathered(&changed).await;
            keep(&pods, &own, &ready);
        }
    };
    tokio::select! {
        () = keeping => {}
        _ = select_all(filling) => {}
    }
}

fn keep(pods: &Known<Pod>, own: &Own, ready: &watch::Sender<Vec<Replica>>) {
    let pods = pods.objects();
    let mut now: Vec<Replica> = pods.iter().filter_map(|it| replica(it, own)).collect();
    now.sort_by(|one, other| one.name.cmp(&other.name));
    ready.send_if_modified(|before| {
        let is_new = *before != now;
        *before = now;
        is_new
    });
}

/// Another replica; nothing of a pod that is none, is not ready, or is this server's own.
fn replica(pod: &Pod, own: &Own) -> Option<Replica> {
    let labels = pod.labels();
    let is_one = own
        .labels
        .iter()
        .all(|(label, it)| labels.get(label) == Some(it));
    let name = pod.name_any();
    let is_there = pod.namespace().as_ref() == Some(&own.namespace);
    if !is_one || !is_there || name == own.name || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    if !conditions.any(|it| it.type_ == "Ready" && it.status == "True") {
        return None;
    }
    let containers = &pod.spec.as_ref()?.containers;
    let mut ports = containers.iter().flat_map(|it| it.ports.iter().flatten());
    let port = ports.find(|it| it.name.as_deref() == Some(PORT))?;
    let port = u16::try_from(port.container_port).ok()?;
    Some(Replica {
        name,
        uid: pod.uid()?,
        address: SocketAddr::new(status.pod_ip.as_deref()?.parse().ok()?, port),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, component: &str, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "namespace": "ns", "name": name, "uid": format!("uid-{name}"),
                "labels": { "component": component, "other": "x" },
            },
            "spec": { "containers": [{ "name": "apiserver", "ports": [
                { "name": "admin", "containerPort": 9090 }, { "name": "https", "containerPort": 8443 },
            ] }] },
            "status": { "podIP": "10.0.0.7", "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    #[test]
    fn others_that_are_ready_are_replicas() {
        let own = Own {
            namespace: "ns".into(),
            name: "self".into(),
            labels: [("component".to_owned(), "apiserver".to_owned())].into(),
        };
        let is = |name, component, ready| replica(&pod(name, component, ready), &own);
        let other = is("other", "apiserver", "True").unwrap();
        assert_eq!(other.address, "10.0.0.7:8443".parse().unwrap());
        assert_eq!(is("self", "apiserver", "True"), None);
        assert_eq!(is("other", "apiserver", "False"), None);
        assert_eq!(is("other", "gateway", "True"), None);
        let elsewhere = Own {
            namespace: "b".into(),
            ..own
        };
        assert_eq!(
            replica(&pod("other", "apiserver", "True"), &elsewhere),
            None
        );
    }
}
