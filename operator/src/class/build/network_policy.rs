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

/// `app.kubernetes.io/name` and `…/component` of the gateway's pods.
const GATEWAY: [(&str, &str); 2] = [
    (names::NAME_LABEL, "portside"),
    ("app.kubernetes.io/component", "gateway"),
];

/// Requests come from the gateway only, and links to workers from the class's other pods. The admin port, where nothing can be changed, is open to the cluster's pods: the
/// gateway asks there who is active, the operator for numbers, and whoever collects metrics for these. Pods may send to
/// anybody.
pub(super) fn network_policy(valid: &Valid, settings: &Settings) -> NetworkPolicy {
    let gateway = NetworkPolicyPeer {
        namespace_selector: Some(selector(texts([(
            "kubernetes.io/metadata.name",
            &settings.namespace,
        )]))),
        pod_selector: Some(selector(texts(GATEWAY))),
        ip_block: None,
    };
    let peers = NetworkPolicyPeer {
        pod_selector: Some(selector(names::pod_selector(&valid.key.name))),
        ..NetworkPolicyPeer::default()
    };
    let anybody = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicy {
        metadata: meta(valid, names::workers(&valid.key.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(names::pod_selector(&valid.key.name))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                rule(gateway, names::HTTP_PORT_NAME),
                rule(peers, names::PEER_PORT_NAME),
                rule(anybody, names::ADMIN_PORT_NAME),
            ]),
            egress: None,
        }),
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
