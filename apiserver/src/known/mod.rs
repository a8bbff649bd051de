//! The classes that there are, and their pods: as the cluster's API server has them.

mod feed;

pub use feed::{CLASSES, PODS, follow};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::{
    CLASS_LABEL, COMPONENT_LABEL, COMPONENT_SIDECAR, MANAGE_PORT_NAME, SIDECAR_CONTAINER,
};
use uuid::Uuid;

use crate::object::Class;

/// A pod that may answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid. Another pod of the same name is another one.
    pub uid: String,
    /// Where it answers.
    pub address: SocketAddr,
    /// Whether it was ready when it was looked at last. It may answer before.
    pub ready: bool,
}

/// A class, and its pods in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The class.
    pub class: Arc<Class>,
    /// Those that may answer.
    pub pods: Vec<Arc<Pod>>,
}

/// All classes, by namespace and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classes(BTreeMap<(String, String), Known>);

impl Classes {
    /// One of them.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Known> {
        self.0.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Those of a namespace, or all, in order.
    pub fn of<'a>(&'a self, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Known> {
        let all = self.0.values();
        all.filter(move |it| namespace.is_none_or(|namespace| it.class.namespace == namespace))
    }

    /// Sorts pods to their classes.
    pub fn new<'a>(
        classes: impl Iterator<Item = &'a PartialObjectMeta<ServerlessWorkerClass>>,
        pods: impl Iterator<Item = &'a v1::Pod>,
    ) -> Self {
        let classes = classes.filter_map(class);
        let known = |class: Class| Known {
            class: Arc::new(class),
            pods: vec![],
        };
        let key = |class: &Class| (class.namespace.clone(), class.name.clone());
        let mut all: BTreeMap<_, Known> = classes.map(|it| (key(&it), known(it))).collect();
        for it in pods {
            let Some((class, pod)) = pod(it) else {
                continue;
            };
            if let Some(known) = all.get_mut(&(pod.namespace.clone(), class)) {
                known.pods.push(Arc::new(pod));
            }
        }
        for known in all.values_mut() {
            known.pods.sort_by(|one, other| one.name.cmp(&other.name));
        }
        Self(all)
    }
}

fn class(object: &PartialObjectMeta<ServerlessWorkerClass>) -> Option<Class> {
    Some(Class {
        namespace: object.namespace()?,
        name: object.name_any(),
        uid: Uuid::parse_str(&object.uid()?).ok()?,
    })
}

/// The name of its class, and what is to be known of it; nothing of one that does not run or has no such port.
fn pod(object: &v1::Pod) -> Option<(String, Pod)> {
    let labels = object.labels();
    if labels.get(COMPONENT_LABEL)? != COMPONENT_SIDECAR {
        return None;
    }
    let status = object.status.as_ref()?;
    if status.phase.as_deref() != Some("Running") {
        return None;
    }
    let mut conditions = status.conditions.iter().flatten();
    let pod = Pod {
        namespace: object.namespace()?,
        name: object.name_any(),
        uid: object.uid()?,
        address: SocketAddr::new(status.pod_ip.as_deref()?.parse().ok()?, port(object)?),
        ready: conditions.any(|it| it.type_ == "Ready" && it.status == "True"),
    };
    Some((labels.get(CLASS_LABEL)?.clone(), pod))
}

fn port(object: &v1::Pod) -> Option<u16> {
    let spec = object.spec.as_ref()?;
    // It may be among those that start first and stay.
    let all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let mut sidecars = all.filter(|it| it.name == SIDECAR_CONTAINER);
    let ports = sidecars.next()?.ports.as_ref()?;
    let port = ports
        .iter()
        .find(|it| it.name.as_deref() == Some(MANAGE_PORT_NAME))?;
    u16::try_from(port.container_port).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, phase: &str, port: &str) -> v1::Pod {
        let value: Value = json!({
            "metadata": {
                "namespace": "ns", "name": name, "uid": format!("uid-{name}"),
                "labels": { CLASS_LABEL: "shop", COMPONENT_LABEL: COMPONENT_SIDECAR },
            },
            "spec": { "containers": [
                { "name": "other", "ports": [{ "name": "manage", "containerPort": 1 }] },
                { "name": SIDECAR_CONTAINER, "ports": [{ "name": port, "containerPort": 9091 }] },
            ] },
            "status": {
                "phase": phase, "podIP": "10.0.0.1",
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        serde_json::from_value(value).unwrap()
    }

    fn shop() -> PartialObjectMeta<ServerlessWorkerClass> {
        serde_json::from_value(json!({
            "apiVersion": "portside.dev/v1alpha1", "kind": "ServerlessWorkerClass",
            "metadata": { "namespace": "ns", "name": "shop", "uid": Uuid::from_u128(1) },
        }))
        .unwrap()
    }

    #[test]
    fn pods_go_to_their_classes() {
        let pods = [
            object("b", "Running", "manage"),
            object("a", "Running", "manage"),
            object("old", "Running", "http"),
            object("new", "Pending", "manage"),
        ];
        let all = Classes::new([shop()].iter(), pods.iter());
        let known = all.get("ns", "shop").unwrap();
        let names: Vec<_> = known.pods.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(known.pods[0].address, "10.0.0.1:9091".parse().unwrap());
        assert!(known.pods[0].ready);
        assert_eq!(all.of(Some("other")).count(), 0);
        assert_eq!(all.of(None).count(), 1);
    }

    #[test]
    fn pods_of_no_class_are_not_asked() {
        let pods = [object("a", "Running", "manage")];
        assert_eq!(Classes::new([].iter(), pods.iter()), Classes::default());
    }
}
