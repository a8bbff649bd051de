//! The gateway, as the class's namespace sees it.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use portside_crds::names;

use super::meta;
use crate::class::validate::Valid;

/// The port of [`service`].
pub(super) const PORT: u16 = 80;

/// A Service without a selector: its addresses are in [`super::endpointslice::slices`].
pub(super) fn service(valid: &Valid) -> Service {
    Service {
        metadata: meta(valid, names::gateway(&valid.key.name)),
        spec: Some(ServiceSpec {
            ports: Some(vec![ServicePort {
                name: Some(names::HTTP_PORT_NAME.to_owned()),
                port: i32::from(PORT),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
