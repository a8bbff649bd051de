//! The gateway's addresses in the class's namespace.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use portside_crds::names;

use super::meta;
use crate::class::validate::Valid;

/// The most endpoints that a slice takes.
const MAX_ENDPOINTS: usize = 1000;

/// Copies of the gateway's ready addresses, a slice for each address family; none while no gateway is ready.
pub(super) fn slices(valid: &Valid) -> Vec<EndpointSlice> {
    let mut families: BTreeMap<(&str, i32), BTreeSet<&str>> = BTreeMap::new();
    for slice in &valid.routing.gateway {
        if let Some(port) = http_port(slice) {
            let addresses = families.entry((&slice.address_type, port)).or_default();
            addresses.extend(ready(slice));
        }
    }
    families.retain(|_, addresses| !addresses.is_empty());
    let numbered = families.into_iter().enumerate();
    numbered
        .map(|(index, ((family, port), addresses))| {
            let mut name = names::gateway(&valid.key.name);
            if index > 0 {
                name = format!("{name}-{}", index + 1);
            }
            slice(valid, name, family, port, addresses)
        })
        .collect()
}

fn slice(
    valid: &Valid,
    name: String,
    family: &str,
    port: i32,
    addresses: BTreeSet<&str>,
) -> EndpointSlice {
    let mut metadata = meta(valid, name);
    let labels = metadata.labels.get_or_insert_default();
    labels.extend([
        (
            "kubernetes.io/service-name".to_owned(),
            names::gateway(&valid.key.name),
        ),
        (
            "endpointslice.kubernetes.io/managed-by".to_owned(),
            names::FIELD_MANAGER.to_owned(),
        ),
    ]);
    let endpoint = |address: &str| Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(true),
            ..EndpointConditions::default()
        }),
        ..Endpoint::default()
    };
    EndpointSlice {
        metadata,
        address_type: family.to_owned(),
        endpoints: addresses
            .into_iter()
            .take(MAX_ENDPOINTS)
            .map(endpoint)
            .collect(),
        ports: Some(vec![EndpointPort {
            name: Some(names::HTTP_PORT_NAME.to_owned()),
            port: Some(port),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

/// The port named `http`, else the first.
fn http_port(slice: &EndpointSlice) -> Option<i32> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let named = ports
        .iter()
        .find(|port| port.name.as_deref() == Some(names::HTTP_PORT_NAME));
    named.or(ports.first())?.port
}

fn ready(slice: &EndpointSlice) -> impl Iterator<Item = &str> {
    let ready = |endpoint: &&Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        // As Kubernetes has it, unknown is ready.
        conditions
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true)
    };
    let endpoints = slice.endpoints.iter().filter(ready);
    endpoints.flat_map(|endpoint| endpoint.addresses.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ready_addresses_of_the_http_port_count() {
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "addressType": "IPv4",
            "ports": [{"name": "admin", "port": 1}, {"name": "http", "port": 2}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"]}
            ]
        }))
        .unwrap();
        assert_eq!(http_port(&slice), Some(2));
        assert_eq!(ready(&slice).collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.3"]);
    }
}
