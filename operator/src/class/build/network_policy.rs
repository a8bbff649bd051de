//! Who may connect to the pods.

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

/// `app.kubernetes.io/name` of the operator's and the gateway's pods.
const APPLICATION: &str = "portside";

/// The gateway may send requests and ask for ownership, the operator ask for numbers; pods may send to anybody.
pub(super) fn network_policy(valid: &Valid, settings: &Settings) -> NetworkPolicy {
    NetworkPolicy {
        metadata: meta(valid, names::workers(&valid.key.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(names::pod_selector(&valid.key.name)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                rule(
                    "gateway",
                    &[names::HTTP_PORT_NAME, names::ADMIN_PORT_NAME],
                    settings,
                ),
                rule("operator", &[names::ADMIN_PORT_NAME], settings),
            ]),
            egress: None,
        }),
    }
}

fn rule(component: &str, ports: &[&str], settings: &Settings) -> NetworkPolicyIngressRule {
    let labels = |labels| {
        Some(LabelSelector {
            match_labels: Some(labels),
            ..LabelSelector::default()
        })
    };
    let port = |name: &&str| NetworkPolicyPort {
        port: Some(IntOrString::String((*name).to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer {
            namespace_selector: labels(texts([(
                "kubernetes.io/metadata.name",
                &settings.namespace,
            )])),
            pod_selector: labels(texts([
                (names::NAME_LABEL, APPLICATION),
                ("app.kubernetes.io/component", component),
            ])),
            ip_block: None,
        }]),
        ports: Some(ports.iter().map(port).collect()),
    }
}
