//! The gateway's addresses in the class's namespace.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use portside_crds::names;

use super::meta;
use crate::class::validate::Valid;

/// The most endpoints that a slice takes.
const MAX_ENDPOINTS: usize = 1000;

/// Copies of the gateway's ready endpoints, a slice for each address family; none while no gateway is ready.
///
/// The slices keep their names when a family comes or goes.
pub(super) fn slices(valid: &Valid) -> Vec<EndpointSlice> {
    let mut families: BTreeMap<(&str, i32), BTreeMap<&str, &Endpoint>> = BTreeMap::new();
    for slice in &valid.routing.gateway {
        if let Some(port) = http_port(slice) {
            let endpoints = families.entry((&slice.address_type, port)).or_default();
            endpoints.extend(ready(slice));
        }
    }
    families.retain(|_, endpoints| !endpoints.is_empty());
    let mut taken = BTreeSet::new();
    let mut slices = vec![];
    for ((family, port), endpoints) in families {
        let mut name = names::gateway(&valid.key.name);
        if family != "IPv4" {
            name = format!("{name}-{}", family.to_ascii_lowercase());
        }
        // While the port changes there are two.
        if !taken.insert(family) {
            name = format!("{name}-{port}");
        }
        slices.push(slice(valid, name, family, port, endpoints));
    }
    slices
}

fn slice(
    valid: &Valid,
    name: String,
    family: &str,
    port: i32,
    endpoints: BTreeMap<&str, &Endpoint>,
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
    EndpointSlice {
        metadata,
        address_type: family.to_owned(),
        endpoints: endpoints
            .into_iter()
            .take(MAX_ENDPOINTS)
            .map(|(address, endpoint)| copy(address, endpoint))
            .collect(),
        ports: Some(vec![EndpointPort {
            name: Some(names::HTTP_PORT_NAME.to_owned()),
            port: Some(port),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

/// With the pod, its node and its zone: some controllers ignore endpoints that name no pod, others prefer those near them.
fn copy(address: &str, endpoint: &Endpoint) -> Endpoint {
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(true),
            ..EndpointConditions::default()
        }),
        node_name: endpoint.node_name.clone(),
        target_ref: endpoint.target_ref.clone(),
        zone: endpoint.zone.clone(),
        ..Endpoint::default()
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

fn ready(slice: &EndpointSlice) -> impl Iterator<Item = (&str, &Endpoint)> {
    let ready = |endpoint: &&Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        // As Kubernetes has it, unknown is ready.
        conditions
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true)
    };
    let endpoints = slice.endpoints.iter().filter(ready);
    endpoints.flat_map(|endpoint| {
        let addresses = endpoint.addresses.iter();
        addresses.map(move |address| (address.as_str(), endpoint))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::class::fetch::Live;
    use crate::class::testkit::valid;

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
        let addresses: Vec<_> = ready(&slice).map(|(address, _)| address).collect();
        assert_eq!(addresses, ["10.0.0.1", "10.0.0.3"]);
    }

    fn slices_of(gateway: &[serde_json::Value]) -> Vec<EndpointSlice> {
        let mut valid = valid("code: { inline: { server.js: x } }", Live::default());
        let read = |slice: &serde_json::Value| serde_json::from_value(slice.clone()).unwrap();
        valid.routing.gateway = gateway.iter().map(|one| Arc::new(read(one))).collect();
        slices(&valid)
    }

    #[test]
    fn each_family_keeps_its_slice_whether_or_not_there_is_another() {
        let gateway = |family: &str, port: u16, address: &str| {
            serde_json::json!({
                "addressType": family,
                "ports": [{"name": "http", "port": port}],
                "endpoints": [{"addresses": [address]}]
            })
        };
        let names = |gateway: &[serde_json::Value]| -> Vec<String> {
            let named = |slice: EndpointSlice| slice.metadata.name.unwrap();
            slices_of(gateway).into_iter().map(named).collect()
        };
        let four = gateway("IPv4", 80, "10.0.0.1");
        let six = gateway("IPv6", 80, "fd00::1");
        let other = gateway("IPv6", 81, "fd00::2");
        assert_eq!(names(std::slice::from_ref(&four)), ["chat-gateway"]);
        assert_eq!(names(std::slice::from_ref(&six)), ["chat-gateway-ipv6"]);
        assert_eq!(
            names(&[six.clone(), four]),
            ["chat-gateway", "chat-gateway-ipv6"]
        );
        assert_eq!(
            names(&[six, other]),
            ["chat-gateway-ipv6", "chat-gateway-ipv6-81"]
        );
    }

    #[test]
    fn endpoints_say_which_pod_they_are_and_where() {
        let endpoint = serde_json::json!({
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": true},
            "nodeName": "node-1",
            "targetRef": {
                "kind": "Pod", "namespace": "portside-system", "name": "gateway-a", "uid": "1"
            },
            "zone": "zone-1"
        });
        let slices = slices_of(&[serde_json::json!({
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 80}],
            "endpoints": [endpoint]
        })]);
        let copied = serde_json::to_value(&slices[0].endpoints[0]).unwrap();
        assert_eq!(copied, endpoint);
    }
}
