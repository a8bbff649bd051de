//! Classes, objects and caches for tests, written as YAML.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use portside_crds::ServerlessWorkerClass;
use portside_crds::class::Code;
use serde::de::DeserializeOwned;

use super::Settings;
use super::code;
use super::fetch::{Fetched, Live};
use super::queue::key_of;
use super::source::{self, Source};
use super::uptake::Uptake;
use super::validate::{Valid, validate};
use crate::certificates::Trust;

/// An operator in namespace `portside-system`.
pub(crate) fn settings() -> Settings {
    Settings {
        namespace: "portside-system".to_owned(),
        gateway_service: "portside-gateway".to_owned(),
        gateway_dns_name: None,
        apiserver: Some("portside-apiserver".to_owned()),
        metrics_from: vec![],
        sidecar_image: "portside/sidecar:0.1.0".to_owned(),
        sidecar_pull_policy: "IfNotPresent",
        ingress_class: None,
        version: "0.1.0".to_owned(),
        instance: "portside-system/portside-operator".to_owned(),
    }
}

/// What the API server refuses with.
pub(crate) fn refusal(code: u16, message: &str) -> kube::Error {
    kube::Error::Api(Box::new(kube::core::Status {
        code,
        message: message.to_owned(),
        ..kube::core::Status::default()
    }))
}

/// Reads YAML.
pub(crate) fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap()
}

/// A class `chat` in `team-a` with this spec.
pub(crate) fn class(spec: &str) -> ServerlessWorkerClass {
    let mut class: ServerlessWorkerClass = yaml(
        "metadata: { name: chat, namespace: team-a, uid: class-uid, generation: 3, resourceVersion: '7' }\n\
         spec: { code: {} }",
    );
    class.spec = yaml(spec);
    class
}

/// What fetching would give without a cluster: inline code, or that of `map`.
pub(crate) fn fetched(class: ServerlessWorkerClass, map: Option<ConfigMap>, live: Live) -> Fetched {
    let manifest = code::manifest(&class);
    let source = match (&class.spec.code, map) {
        (
            Code {
                inline: Some(inline),
                ..
            },
            _,
        ) => {
            let files = inline.iter();
            let files = files.map(|(path, text)| (path.clone(), text.clone().into_bytes()));
            let code = source::Code::read("spec.code.inline", files.collect(), &manifest);
            Source::Code(code)
        }
        (
            Code {
                config_map: Some(code),
                ..
            },
            Some(map),
        ) => {
            let place = format!("ConfigMap {}", code.name);
            Source::Code(source::Code::read(place, source::files_in(map), &manifest))
        }
        (
            Code {
                config_map: Some(code),
                ..
            },
            None,
        ) => Source::Missing {
            name: code.name.clone(),
        },
        (Code { oci: Some(_), .. }, _) => Source::Oci,
        _ => Source::None,
    };
    Fetched {
        key: key_of(&class.metadata),
        class: Arc::new(class),
        source,
        live,
        conflicts: vec![],
        gateway: vec![],
        gateway_name: "portside-system/portside-gateway".to_owned(),
        has_http_routes: Some(true),
        uptake: Uptake::Done,
        trust: Trust::In("authorities\n".into()),
    }
}

/// The class, looked through.
pub(crate) fn valid(spec: &str, live: Live) -> Valid {
    validate(fetched(class(spec), None, live))
}

/// A Deployment, as the cluster has it.
pub(crate) fn deployment(text: &str) -> Arc<Deployment> {
    Arc::new(yaml(text))
}

/// A sidecar's pod of these inputs, with this status.
pub(crate) fn pod(name: &str, inputs: &str, status: &str) -> Arc<Pod> {
    let mut pod: Pod = yaml(&format!(
        "metadata:\n  name: {name}\n  namespace: team-a\n  creationTimestamp: '2026-01-01T00:00:00Z'\n  \
         labels: {{ portside.dev/class: chat, portside.dev/component: sidecar }}\n  \
         annotations: {{ portside.dev/inputs: '{inputs}', portside.dev/code-digest: 'sha256:of-{inputs}' }}\nspec:\n  containers: []\n  \
         volumes: [{{ name: database, secret: {{ secretName: portside-database, items: [{{ key: url, path: url }}] }} }}]\n"
    ));
    pod.status = Some(yaml(status));
    Arc::new(pod)
}
