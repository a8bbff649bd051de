//! The second step: whether what was read can work, and the decisions that follow. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use portside_crds::class::Route;
use portside_crds::names;
use portside_crds::routes::{ClassKey, Conflict};
use portside_crds::{Reason, ServerlessWorkerClass};

use super::code::{self, Files, Summary};
use super::fetch::{Fetched, Live};
use super::passed_on::{PassedOn, passed_on};
use super::source::Source;
use super::uptake::Uptake;
use crate::certificates::Trust;

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
    /// Whom its pods are to believe.
    pub trust: Trust,
}

/// What a class's pods run.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    /// The code, without a manifest, unless its ConfigMap is there. Nothing of an artifact's.
    pub files: Option<Arc<Files>>,
    /// The code's files.
    pub paths: Vec<String>,
    /// The digest of the code, or of what names the artifact.
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
        trust,
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
        trust,
    }
}

fn workload(
    class: &ServerlessWorkerClass,
    key: &ClassKey,
    source: Source,
) -> Result<Workload, Rejection> {
    let violations = portside_crds::validate::validate(&with_paths(class, &source));
    if !violations.is_empty() {
        // The API server refuses these, unless its definition of the class is another.
        let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
        return Err(Rejection {
            reason: Reason::ClassInvalid,
            message: all.join("; "),
        });
    }
    let manifest = code::manifest(class);
    let (summary, files) = code(class, key, source, &manifest)?;
    let passed_on = passed_on(&class.spec.pod)?;
    if summary.bytes > MAX_CONFIG_MAP_BYTES {
        return Err(Rejection {
            reason: Reason::CodeTooLarge,
            message: format!(
                "the code and its configuration have {} KiB, a ConfigMap takes 1024 KiB; \
                 make a smaller bundle with `portside bundle`",
                summary.bytes.div_ceil(1024)
            ),
        });
    }
    Ok(Workload {
        // The name covers the manifest as well: the ConfigMap cannot change.
        config_map: names::code_config_map(&key.name, &summary.whole),
        inputs: code::inputs(class, &summary.digest),
        files,
        paths: summary.paths.clone(),
        digest: summary.digest.clone(),
        manifest,
        passed_on,
    })
}

/// The class with the paths of inline code, for the rules about these: the caches have it without.
fn with_paths<'c>(
    class: &'c ServerlessWorkerClass,
    source: &Source,
) -> Cow<'c, ServerlessWorkerClass> {
    let code = &class.spec.code;
    let Source::Code(read) = source else {
        return Cow::Borrowed(class);
    };
    if code.inline.is_some() || code.config_map.is_some() {
        return Cow::Borrowed(class);
    }
    let mut whole = class.clone();
    let paths = read.summary.paths.iter();
    whole.spec.code.inline = Some(paths.map(|path| (path.clone(), String::new())).collect());
    Cow::Owned(whole)
}

/// What the code is, and its files if they were read.
fn code(
    class: &ServerlessWorkerClass,
    key: &ClassKey,
    source: Source,
    manifest: &str,
) -> Result<(Arc<Summary>, Option<Arc<Files>>), Rejection> {
    let rejected = |message| {
        Err(Rejection {
            reason: Reason::CodeMissing,
            message,
        })
    };
    match source {
        Source::Code(code) if code.summary.paths.is_empty() => {
            rejected(format!("{} has no files; add server.js", code.place))
        }
        Source::Code(code) => Ok((code.summary, code.files)),
        Source::Missing { name } => {
            let namespace = &key.namespace;
            rejected(format!(
                "ConfigMap {name} does not exist in namespace {namespace}; make it with \
                 `kubectl create configmap {name} --namespace {namespace} --from-file=DIR`"
            ))
        }
        Source::Oci => {
            let artifact = class.spec.code.oci.clone().unwrap_or_default();
            let summary = Summary::of_artifact(&artifact, manifest);
            Ok((Arc::new(summary), Some(Arc::default())))
        }
        Source::None => {
            rejected("spec.code names no code; give one of inline, configMap and oci".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::source::Code;

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
        inline_of(&class(), path, content)
    }

    fn inline_of(class: &ServerlessWorkerClass, path: &str, content: Vec<u8>) -> Source {
        let files = [(path.to_owned(), content)].into();
        Source::Code(Code::read(
            "spec.code.inline",
            files,
            &code::manifest(class),
        ))
    }

    #[test]
    fn what_is_wrong_is_said_with_the_next_step() {
        let missing = Source::Missing {
            name: "chat-code".into(),
        };
        let empty = Source::Code(Code::read("ConfigMap chat-code", Files::new(), ""));
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
        // As the caches have it, without its code.
        let class = class();
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
        let code = |class: &_| inline_of(class, "server.js", b"x".to_vec());
        let one = workload(&class, &key, code(&class)).unwrap();
        class.spec.concurrency.input_gate = true;
        let two = workload(&class, &key, code(&class)).unwrap();
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
