//! What a path leads to.

use http::Method;

use crate::openapi::V3_PATH;
use crate::{API_VERSION, GROUP, RESOURCE};

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Whether the process runs: for anybody.
    Live,
    /// Whether it is ready: for anybody.
    Ready,
    /// What clients learn before they ask for workers.
    Document(Document),
    /// Workers.
    Workers(Target),
}

/// What is the same for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The groups, or all of discovery in one.
    Groups,
    /// The group.
    Group,
    /// The group's resources.
    Resources,
    /// Where the schemas are.
    OpenApi3Index,
    /// The schemas.
    OpenApi3,
    /// The same in the version before.
    OpenApi2,
}

/// Workers, one of them, or something about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Nothing: of all namespaces.
    pub namespace: Option<String>,
    /// One worker's object.
    pub name: Option<String>,
    /// Something about it.
    pub subresource: Option<String>,
}

impl Route {
    /// Reads a path; nothing if it leads nowhere.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let trimmed = path.trim_matches('/');
        if let Some(rest) = trimmed.strip_prefix("apis/")
            && let Some(rest) = rest.strip_prefix(API_VERSION)
            && let Some(rest) = rest.strip_prefix('/')
        {
            return target(rest).map(Self::Workers);
        }
        let document = match trimmed {
            "livez" | "healthz" => return Some(Self::Live),
            "readyz" => return Some(Self::Ready),
            "apis" => Document::Groups,
            "openapi/v3" => Document::OpenApi3Index,
            "openapi/v2" => Document::OpenApi2,
            other => match (
                other.strip_prefix("apis/"),
                other.strip_prefix("openapi/v3/"),
            ) {
                (Some(GROUP), _) => Document::Group,
                (Some(API_VERSION), _) => Document::Resources,
                (_, Some(V3_PATH)) => Document::OpenApi3,
                _ => return None,
            },
        };
        Some(Self::Document(document))
    }
}

fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let owned = |it: &&str| Some((*it).to_owned());
    match &*parts {
        [RESOURCE] => Some(Target::default()),
        ["namespaces", namespace, RESOURCE, rest @ ..] if rest.len() <= 2 => Some(Target {
            namespace: owned(namespace),
            name: rest.first().and_then(owned),
            subresource: rest.get(1).and_then(owned),
        }),
        _ => None,
    }
}

/// What is done to a target, as rules of access have it; nothing if nothing is.
#[must_use]
pub fn verb(method: &Method, target: &Target, watches: bool) -> Option<&'static str> {
    let is_collection = target.name.is_none();
    let is_object = !is_collection && target.subresource.is_none();
    match *method {
        Method::GET if is_collection && watches => Some("watch"),
        Method::GET if is_collection => Some("list"),
        Method::GET => Some("get"),
        Method::DELETE if !is_collection => Some("delete"),
        Method::POST if !is_collection && !is_object => Some("create"),
        Method::PUT if !is_collection && !is_object => Some("update"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(namespace: Option<&str>, name: Option<&str>, sub: Option<&str>) -> Option<Route> {
        Some(Route::Workers(Target {
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: sub.map(str::to_owned),
        }))
    }

    #[test]
    fn paths_lead_to_workers() {
        let base = "/apis/runtime.portside.dev/v1alpha1";
        let parse = |rest: &str| Route::parse(&format!("{base}{rest}"));
        let list = "/namespaces/a/serverlessworkers";
        assert_eq!(parse("/serverlessworkers"), workers(None, None, None));
        assert_eq!(parse(list), workers(Some("a"), None, None));
        assert_eq!(
            parse(&format!("{list}/x.1")),
            workers(Some("a"), Some("x.1"), None)
        );
        assert_eq!(
            parse(&format!("{list}/x.1/log")),
            workers(Some("a"), Some("x.1"), Some("log"))
        );
        for wrong in [
            "/others",
            "/namespaces/a",
            "/namespaces//serverlessworkers",
            "/namespaces/a/serverlessworkers/x/log/y",
            "/watch/serverlessworkers",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn paths_lead_to_documents() {
        for (path, document) in [
            ("/apis", Document::Groups),
            ("/apis/", Document::Groups),
            ("/apis/runtime.portside.dev", Document::Group),
            ("/apis/runtime.portside.dev/v1alpha1", Document::Resources),
            ("/openapi/v2", Document::OpenApi2),
            ("/openapi/v3", Document::OpenApi3Index),
            (
                "/openapi/v3/apis/runtime.portside.dev/v1alpha1",
                Document::OpenApi3,
            ),
        ] {
            assert_eq!(Route::parse(path), Some(Route::Document(document)));
        }
        assert_eq!(Route::parse("/healthz"), Some(Route::Live));
        assert_eq!(Route::parse("/apis/apps"), None);
        assert_eq!(Route::parse("/"), None);
    }

    #[test]
    fn verbs_are_those_of_rules() {
        let all = Target::default();
        let one = Target {
            namespace: Some("a".into()),
            name: Some("x".into()),
            subresource: None,
        };
        let sub = Target {
            subresource: Some("state".into()),
            ..one.clone()
        };
        assert_eq!(verb(&Method::GET, &all, true), Some("watch"));
        assert_eq!(verb(&Method::GET, &all, false), Some("list"));
        assert_eq!(verb(&Method::GET, &one, false), Some("get"));
        assert_eq!(verb(&Method::DELETE, &one, false), Some("delete"));
        assert_eq!(verb(&Method::POST, &sub, false), Some("create"));
        assert_eq!(verb(&Method::PUT, &sub, false), Some("update"));
        assert_eq!(verb(&Method::DELETE, &all, false), None);
        assert_eq!(verb(&Method::POST, &all, false), None);
        assert_eq!(verb(&Method::PUT, &one, false), None);
        assert_eq!(verb(&Method::PATCH, &one, false), None);
    }
}
