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

/// Requests come from the gateway only, questions about workers from their API server, and links to workers from the class's other pods. The admin port, where nothing can be changed, is open to the cluster's pods: the
/// gateway asks there who is active, the operator for numbers, and whoever collects metrics for these. Pods may send to
/// anybody.
pub(super) fn network_policy(valid: &Valid, settings: &Settings) -> NetworkPolicy {
    let peers = NetworkPolicyPeer {
        pod_selector: Some(selector(names::pod_selector(&valid.key.name))),
        ..NetworkPolicyPeer::default()
    };
    let anybody = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let mut ingress = vec![
        rule(component("gateway", settings), names::HTTP_PORT_NAME),
        rule(peers, names::PEER_PORT_NAME),
        rule(anybody, names::ADMIN_PORT_NAME),
    ];
    if settings.apiserver.is_some() {
        let server = component("apiserver", settings);
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

fn rule(from: NetworkPolicyPeer, port: &str) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(vec![from]),
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::String(port.to_owned())),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        }]),
    }
}
