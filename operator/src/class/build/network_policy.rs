//! Who may connect to the pods.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portside_crds::names;

use super::{meta, texts};
use crate::class::Settings;
use crate::class::validate::Valid;

/// Requests come from the gateway only, questions about workers from their API server, and links to workers from the class's other pods. At
/// the admin port, where nothing can be changed, the gateway asks who is active, the operator for numbers, and whoever collects metrics for
/// these: any pod of the cluster, unless the platform says which. Pods may send to anybody.
pub(super) fn network_policy(valid: &Valid, settings: &Settings) -> NetworkPolicy {
    let peers = NetworkPolicyPeer {
        pod_selector: Some(selector(names::pod_selector(&valid.key.name))),
        ..NetworkPolicyPeer::default()
    };
    let gateway = vec![component("gateway", settings)];
    let mut ingress = vec![
        rule(gateway, names::HTTP_PORT_NAME),
        rule(vec![peers], names::PEER_PORT_NAME),
        rule(metrics_from(settings), names::ADMIN_PORT_NAME),
    ];
    if settings.apiserver.is_some() {
        let server = vec![component("apiserver", settings)];
        ingress.push(rule(server, names::MANAGE_PORT_NAME));
    }
    NetworkPolicy {
        metadata: meta(valid, names::workers(&valid.key.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(names::pod_selector(&valid.key.name))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            egress: None,
        }),
    }
}

/// Who may ask the admin port.
fn metrics_from(settings: &Settings) -> Vec<NetworkPolicyPeer> {
    if settings.metrics_from.is_empty() {
        return vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        }];
    }
    let own = ["gateway", "operator"].map(|name| component(name, settings));
    own.into_iter()
        .chain(settings.metrics_from.iter().cloned())
        .collect()
}

/// The pods of a part of Portside, by the labels that the chart gives them.
fn component(name: &str, settings: &Settings) -> NetworkPolicyPeer {
    let pods = texts([
        (names::NAME_LABEL, "portside"),
        ("app.kubernetes.io/component", name),
    ]);
    let namespace = texts([("kubernetes.io/metadata.name", &settings.namespace)]);
    NetworkPolicyPeer {
        namespace_selector: Some(selector(namespace)),
        pod_selector: Some(selector(pods)),
        ip_block: None,
    }
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

fn rule(from: Vec<NetworkPolicyPeer>, port: &str) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(from),
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::String(port.to_owned())),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        }]),
    }
}
