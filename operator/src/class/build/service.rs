//! The pods' names and addresses.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portside_crds::names;

use super::meta;
use crate::class::validate::Valid;

/// The headless Service, through whose EndpointSlices the gateway finds the pods.
pub(super) fn service(valid: &Valid) -> Service {
    let port = |name: &str, port: u16| ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    Service {
        metadata: meta(valid, names::workers(&valid.key.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(names::pod_selector(&valid.key.name)),
            ports: Some(vec![
                port(names::HTTP_PORT_NAME, names::HTTP_PORT),
                port(names::ADMIN_PORT_NAME, names::ADMIN_PORT),
            ]),
            publish_not_ready_addresses: Some(false),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
