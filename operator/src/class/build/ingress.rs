//! The class's routes for an Ingress controller.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};
use portside_crds::names;

use super::meta;
use crate::class::Settings;
use crate::class::validate::Valid;

/// The Ingress for the routes the class has; `None` if it asks for HTTPRoutes instead.
pub(super) fn ingress(valid: &Valid, settings: &Settings) -> Option<Ingress> {
    let spec = &valid.class.spec;
    if spec.http_route.is_some() {
        return None;
    }
    let mut metadata = meta(valid, names::ingress(&valid.key.name));
    if !spec.ingress.annotations.is_empty() {
        metadata.annotations = Some(spec.ingress.annotations.clone());
    }
    let mut hosts: BTreeMap<&str, Vec<HTTPIngressPath>> = BTreeMap::new();
    for route in &valid.routing.routes {
        let paths = hosts.entry(&route.host).or_default();
        paths.push(path(valid, &route.path));
    }
    let named: Vec<String> = (hosts.keys())
        .filter(|host| !host.is_empty())
        .map(|host| (*host).to_owned())
        .collect();
    let tls = spec.ingress.tls.as_ref().map(|tls| {
        vec![IngressTLS {
            hosts: (!named.is_empty()).then_some(named),
            secret_name: Some(tls.secret_name.clone()),
        }]
    });
    let rules = hosts.into_iter().map(|(host, paths)| IngressRule {
        host: (!host.is_empty()).then(|| host.to_owned()),
        http: Some(HTTPIngressRuleValue { paths }),
    });
    let class_name = spec.ingress.class_name.clone();
    Some(Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: class_name.or_else(|| settings.ingress_class.clone()),
            rules: Some(rules.collect()),
            tls,
            ..IngressSpec::default()
        }),
        status: None,
    })
}

fn path(valid: &Valid, path: &str) -> HTTPIngressPath {
    HTTPIngressPath {
        path: Some(path.to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: names::gateway(&valid.key.name),
                port: Some(ServiceBackendPort {
                    name: Some(names::HTTP_PORT_NAME.to_owned()),
                    number: None,
                }),
            }),
            resource: None,
        },
    }
}
