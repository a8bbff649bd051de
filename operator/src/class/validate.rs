//! The second step: whether what was read can work, and the decisions that follow. Pure.

use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use portside_crds::class::Route;
use portside_crds::names;
use portside_crds::routes::{ClassKey, Conflict};
use portside_crds::{Reason, ServerlessWorkerClass};

use super::code::{self, Files};
use super::fetch::{Fetched, Live, Source};
use super::passed_on::{PassedOn, passed_on};
use super::uptake::Uptake;

/// The most bytes that the keys and values of a ConfigMap may have
/// (<https://kubernetes.io/docs/concepts/configuration/configmap/>).
const MAX_CONFIG_MAP_BYTES: usize = 1 << 20;

/// A class that was looked through.
pub(crate) struct Valid {
    /// The class.
    pub class: Arc<ServerlessWorkerClass>,
    /// Its key.
    pub key: ClassKey,
    /// What there is of it.
    pub live: Live,
    /// What its pods run, or why they cannot. Everything else is made either way.
    pub workload: Result<Workload, Rejection>,
    /// How it is reached.
    pub routing: Routing,
}

/// What a class's pods run.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    /// The code, without a manifest. None of an artifact's.
    pub files: Arc<Files>,
    /// The digest of `files`, or of what names the artifact.
    pub digest: String,
    /// The effective manifest.
    pub manifest: String,
    /// See [`code::inputs`].
    pub inputs: String,
    /// The name of the ConfigMap that has files and manifest.
    pub config_map: String,
    /// `spec.pod`'s passed-on parts.
    pub passed_on: PassedOn,
}

/// How a class is reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routing {
    /// The routes it has.
    pub routes: Vec<Route>,
    /// The routes that others have.
    pub conflicts: Vec<Conflict>,
    /// The gateway's slices.
    pub gateway: Vec<Arc<EndpointSlice>>,
    /// The gateway's Service, with its namespace.
    pub gateway_name: String,
    /// Whether the cluster has HTTPRoutes, if that is known.
    pub has_http_routes: Option<bool>,
    /// What becomes of the objects that lead to the class.
    pub uptake: Uptake,
}

/// Why a class cannot work until it, or what it names, is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// In one word.
    pub reason: Reason,
    /// With the place and the next step.
    pub message: String,
}

/// Decides what is to be made.
pub(crate) fn validate(fetched: Fetched) -> Valid {
    let Fetched {
        class,
        key,
        source,
        live,
        conflicts,
        gateway,
        gateway_name,
        has_http_routes,
        uptake,
    } = fetched;
    let routes = class.spec.routes.iter();
    let routes = routes
        .filter(|route| !conflicts.iter().any(|conflict| conflict.route == **route))
        .cloned()
        .collect();
    Valid {
        workload: workload(&class, &key, source),
        routing: Routing {
            routes,
            conflicts,
            gateway,
            gateway_name,
            has_http_routes,
            uptake,
        },
        class,
        key,
        live,
    }
}

fn workload(
    class: &ServerlessWorkerClass,
    key: &ClassKey,
    source: Source,
) -> Result<Workload, Rejection> {
    let violations = portside_crds::validate::validate(class);
    if !violations.is_empty() {
        // The API server refuses these, unless its definition of the class is another.
        let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
        return Err(Rejection {
            reason: Reason::ClassInvalid,
            message: all.join("; "),
        });
    }
    let files = files(key, source)?;
    let passed_on = passed_on(&class.spec.pod)?;
    let manifest = code::manifest(class);
    let keys: usize = names::file_keys(files.keys().map(String::as_str))
        .values()
        .map(String::len)
        .sum();
    let contents: usize = files.values().map(Vec::len).sum();
    let size = keys + contents + names::MANIFEST_FILE.len() + manifest.len();
    if size > MAX_CONFIG_MAP_BYTES {
        return Err(Rejection {
            reason: Reason::CodeTooLarge,
            message: format!(
                "the code and its configuration have {} KiB, a ConfigMap takes 1024 KiB; \
                 make a smaller bundle with `portside bundle`",
                size.div_ceil(1024)
            ),
        });
    }
    let mut all = match &class.spec.code.oci {
        Some(oci) => code::artifact(oci),
        None => (*files).clone(),
    };
    let digest = code::digest(&all);
    // The name covers the manifest as well: the ConfigMap cannot change.
    all.insert(
        names::MANIFEST_FILE.to_owned(),
        manifest.clone().into_bytes(),
    );
    Ok(Workload {
        config_map: names::code_config_map(&key.name, &code::digest(&all)),
        inputs: code::inputs(class, &digest),
        files,
        digest,
        manifest,
        passed_on,
    })
}

fn files(key: &ClassKey, source: Source) -> Result<Arc<Files>, Rejection> {
    let rejected = |reason, message| Err(Rejection { reason, message });
    let (files, place) = match source {
        Source::Inline(files) => (files, "spec.code.inline".to_owned()),
        Source::ConfigMap { name, files } => {
            (Arc::unwrap_or_clone(files), format!("ConfigMap {name}"))
        }
        Source::Missing { name } => {
            let namespace = &key.namespace;
            let message = format!(
                "ConfigMap {name} does not exist in namespace {namespace}; make it with \
                 `kubectl create configmap {name} --namespace {namespace} --from-file=DIR`"
            );
            return rejected(Reason::CodeMissing, message);
        }
        Source::Oci => return Ok(Arc::default()),
        Source::None => {
            let message = "spec.code names no code; give one of inline, configMap and oci";
            return rejected(Reason::CodeMissing, message.to_owned());
        }
    };
    let files = code::effective(files);
    if files.is_empty() {
        let message = format!("{place} has no files; add server.js");
        return rejected(Reason::CodeMissing, message);
    }
    Ok(Arc::new(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(source: Source) -> Rejection {
        let key = ClassKey {
            namespace: "team-a".into(),
            name: "chat".into(),
        };
        workload(&class(), &key, source).unwrap_err()
    }

    fn class() -> ServerlessWorkerClass {
        crate::class::testkit::class("code: {}")
    }

    fn inline(path: &str, content: Vec<u8>) -> Source {
        Source::Inline([(path.to_owned(), content)].into())
    }

    #[test]
    fn what_is_wrong_is_said_with_the_next_step() {
        let missing = Source::Missing {
            name: "chat-code".into(),
        };
        let empty = Source::ConfigMap {
            name: "chat-code".into(),
            files: Arc::default(),
        };
        let all: Vec<String> = [
            missing,
            empty,
            inline("server.js", vec![b' '; 1 << 20]),
            Source::None,
        ]
        .map(reject)
        .into_iter()
        .map(|one| format!("{}: {}", one.reason, one.message))
        .collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn what_the_definition_would_refuse_is_refused() {
        let class = crate::class::testkit::class("code: { inline: { ../server.js: x } }");
        let key = crate::class::queue::key_of(&class.metadata);
        let rejection = workload(&class, &key, inline("../server.js", vec![])).unwrap_err();
        assert_eq!(rejection.reason, Reason::ClassInvalid);
        assert!(
            rejection
                .message
                .starts_with("spec.code.inline must have relative paths"),
            "{}",
            rejection.message
        );
    }

    #[test]
    fn the_config_map_is_named_by_all_it_holds() {
        let key = ClassKey {
            namespace: "a".into(),
            name: "chat".into(),
        };
        let mut class = class();
        let code = || inline("server.js", b"x".to_vec());
        let one = workload(&class, &key, code()).unwrap();
        class.spec.concurrency.input_gate = true;
        let two = workload(&class, &key, code()).unwrap();
        assert_eq!(one.digest, two.digest);
        assert_ne!(one.config_map, two.config_map);
        assert_ne!(one.inputs, two.inputs);

        let artifact = |oci: &str| {
            let class = crate::class::testkit::class(&format!("code: {{ oci: {oci} }}"));
            workload(&class, &key, Source::Oci).unwrap()
        };
        let tag = artifact("{ reference: a.b/c:1 }");
        let digest = "0".repeat(64);
        let pinned = artifact(&format!(
            "{{ reference: a.b/c:1, digest: 'sha256:{digest}' }}"
        ));
        assert_ne!(
            tag.config_map,
            artifact("{ reference: a.b/c:2 }").config_map
        );
        assert_ne!(tag.config_map, pinned.config_map);
        assert_ne!(tag.digest, pinned.digest);
    }
}
