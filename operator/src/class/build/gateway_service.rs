//! The gateway, as the class's namespace sees it.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use portside_crds::names;

use super::meta;
use crate::args::HostPort;
use crate::class::validate::Valid;

/// The port of [`service`].
pub(super) const PORT: u16 = 80;

/// A Service without a selector: its addresses are in [`super::endpointslice::slices`].
pub(super) fn service(valid: &Valid) -> Service {
    let spec = ServiceSpec {
        ports: ports(PORT),
        ..ServiceSpec::default()
    };
    of(valid, spec)
}

/// A Service that leads to the gateway's own, whose addresses Kubernetes keeps.
pub(super) fn by_name(valid: &Valid, name: &HostPort) -> Service {
    let spec = ServiceSpec {
        type_: Some("ExternalName".to_owned()),
        external_name: Some(name.host.clone()),
        ports: ports(name.port),
        ..ServiceSpec::default()
    };
    of(valid, spec)
}

fn of(valid: &Valid, spec: ServiceSpec) -> Service {
    Service {
        metadata: meta(valid, names::gateway(&valid.key.name)),
        spec: Some(spec),
        status: None,
    }
}

fn ports(port: u16) -> Option<Vec<ServicePort>> {
    Some(vec![ServicePort {
        name: Some(names::HTTP_PORT_NAME.to_owned()),
        port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }])
}
