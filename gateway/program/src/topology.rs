//! What the cluster's objects mean to a gateway. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::{ADMIN_PORT_NAME, CLASS_LABEL, HTTP_PORT_NAME, workers};
use portside_crds::routes::{Claim, ClassKey, Routes};
use portside_gateway::{ClassFacts, Endpoint, Stopped, Topology};

/// The label by which an EndpointSlice names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// How much longer than the class's own limit the gateway waits.
const GRACE: Duration = Duration::from_secs(10);

/// Puts together what the API server has.
#[must_use]
pub fn topology<'o>(
    classes: impl IntoIterator<Item = &'o ServerlessWorkerClass>,
    slices: impl IntoIterator<Item = &'o EndpointSlice>,
) -> Topology {
    let classes: BTreeMap<ClassKey, &ServerlessWorkerClass> = classes
        .into_iter()
        .map(|class| (key(class), class))
        .collect();
    let routes = Routes::new(classes.iter().map(|(key, class)| Claim {
        class: key.clone(),
        created: class.creation_timestamp(),
        routes: &class.spec.routes,
    }));
    let mut facts: BTreeMap<ClassKey, ClassFacts> = routes
        .classes()
        .into_iter()
        .filter_map(|key| Some((key.clone(), facts(classes.get(key)?))))
        .collect();
    for slice in slices {
        if let Some(class) = class_of(slice).and_then(|key| facts.get_mut(&key)) {
            class.endpoints.extend(endpoints(slice));
        }
    }
    Topology {
        routes,
        classes: facts,
    }
}

fn key(class: &ServerlessWorkerClass) -> ClassKey {
    ClassKey {
        namespace: class.namespace().unwrap_or_default(),
        name: class.name_any(),
    }
}

fn facts(class: &ServerlessWorkerClass) -> ClassFacts {
    ClassFacts {
        uid: class.uid().unwrap_or_default(),
        stopped: stopped(class),
        request_timeout: class.spec.limits.over_defaults().request + GRACE,
        endpoints: BTreeSet::new(),
    }
}

fn stopped(class: &ServerlessWorkerClass) -> Option<Stopped> {
    if class.spec.suspend {
        Some(Stopped::Suspended)
    } else {
        (class.spec.scaling.replicas == 0).then_some(Stopped::ScaledToZero)
    }
}

/// The class whose pods are in a slice. The slices that lead to the gateway itself bear the class's label as well, so
/// the Service decides.
fn class_of(slice: &EndpointSlice) -> Option<ClassKey> {
    let name = slice.labels().get(CLASS_LABEL)?;
    (slice.labels().get(SERVICE_LABEL) == Some(&workers(name))).then(|| ClassKey {
        namespace: slice.namespace().unwrap_or_default(),
        name: name.clone(),
    })
}

fn endpoints(slice: &EndpointSlice) -> Vec<Endpoint> {
    let port = |name: &str| {
        let ports = slice.ports.as_deref().unwrap_or_default();
        let port = ports.iter().find(|port| port.name.as_deref() == Some(name));
        port.and_then(|port| u16::try_from(port.port?).ok())
    };
    let (Some(http), Some(admin)) = (port(HTTP_PORT_NAME), port(ADMIN_PORT_NAME)) else {
        return Vec::new();
    };
    let addressed = slice.endpoints.iter().filter_map(|endpoint| {
        let pod = endpoint.target_ref.as_ref()?.name.clone()?;
        // All addresses of an endpoint are interchangeable.
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        Some(Endpoint {
            pod,
            http: SocketAddr::new(address, http),
            admin: SocketAddr::new(address, admin),
        })
    });
    addressed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(name: &str, spec: serde_json::Value) -> ServerlessWorkerClass {
        let mut spec = spec;
        spec["code"] = json!({"inline": {"server.js": ""}});
        serde_json::from_value(json!({
            "apiVersion": "portside.dev/v1alpha1",
            "kind": "ServerlessWorkerClass",
            "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}")},
            "spec": spec,
        }))
        .unwrap()
    }

    fn slice(class: &str, service: &str, addresses: &[&str]) -> EndpointSlice {
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|address| {
                json!({
                    "addresses": [address],
                    "conditions": {"ready": false},
                    "targetRef": {"kind": "Pod", "name": format!("pod-{address}")},
                })
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {
                "namespace": "shop",
                "name": format!("{service}-abc"),
                "labels": {"portside.dev/class": class, "kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "ports": [
                {"name": "http", "port": 8080},
                {"name": "admin", "port": 9090},
            ],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn shop(name: &str) -> ClassKey {
        ClassKey {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_class_gets_the_pods_of_its_own_service() {
        let classes = [
            class(
                "chat",
                json!({"routes": [{"host": "chat.example.com"}], "limits": {"requestTimeout": "5s"}}),
            ),
            class("internal", json!({})),
            class(
                "off",
                json!({"routes": [{"host": "off.example.com"}], "suspend": true}),
            ),
            class(
                "zero",
                json!({"routes": [{"host": "zero.example.com"}], "scaling": {"replicas": 0}}),
            ),
        ];
        let slices = [
            slice("chat", "chat-workers", &["10.0.0.1", "10.0.0.2"]),
            slice("chat", "chat-workers", &["fd00::3"]),
            slice("chat", "chat-gateway", &["10.0.0.99"]),
            slice("internal", "internal-workers", &["10.0.0.4"]),
            slice("gone", "gone-workers", &["10.0.0.5"]),
        ];
        let topology = topology(&classes, &slices);
        assert_eq!(
            topology.routes.find("chat.example.com", "/"),
            Some(&shop("chat"))
        );
        assert_eq!(topology.classes.len(), 3, "only those with routes");
        let chat = &topology.classes[&shop("chat")];
        assert_eq!(chat.uid, "uid-chat");
        assert_eq!(chat.request_timeout, GRACE + Duration::from_secs(5));
        assert_eq!(chat.stopped, None);
        let addresses: Vec<_> = chat.endpoints.iter().map(|e| e.http.to_string()).collect();
        assert_eq!(
            addresses,
            ["10.0.0.1:8080", "10.0.0.2:8080", "[fd00::3]:8080"]
        );
        assert_eq!(
            chat.endpoints.first().unwrap().admin,
            "10.0.0.1:9090".parse().unwrap()
        );
        let off = &topology.classes[&shop("off")];
        assert_eq!(off.stopped, Some(Stopped::Suspended));
        assert!(off.endpoints.is_empty());
        let zero = &topology.classes[&shop("zero")];
        assert_eq!(zero.stopped, Some(Stopped::ScaledToZero));
    }

    #[test]
    fn a_host_has_one_namespace() {
        let own = |namespace: &str, second: u32, path: &str| {
            let mut class = class(
                namespace,
                json!({"routes": [{"host": "a.com", "path": path}]}),
            );
            class.metadata.namespace = Some(namespace.to_owned());
            let time = format!("2026-01-01T00:00:0{second}Z");
            class.metadata.creation_timestamp = Some(serde_json::from_value(json!(time)).unwrap());
            class
        };
        let classes = [own("bank", 1, "/"), own("evil", 2, "/login")];
        let topology = topology(&classes, []);
        let found = topology.routes.find("a.com", "/login").unwrap();
        assert_eq!(found.namespace, "bank");
        assert_eq!(topology.classes.len(), 1);
    }

    #[test]
    fn what_cannot_be_reached_is_left_out() {
        let classes = [class("chat", json!({"routes": [{"host": "a"}]}))];
        let mut nameless = slice("chat", "chat-workers", &["10.0.0.1"]);
        nameless.endpoints[0].target_ref = None;
        let mut portless = slice("chat", "chat-workers", &["10.0.0.2"]);
        portless.ports.as_mut().unwrap().pop();
        let named = slice("chat", "chat-workers", &["pod.example.com"]);
        let topology = topology(&classes, &[nameless, portless, named]);
        assert!(topology.classes[&shop("chat")].endpoints.is_empty());
    }
}
