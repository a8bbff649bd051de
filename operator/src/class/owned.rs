//! What a class owns, by kind and name.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use portside_crds::routes::ClassKey;

use super::uptake::HttpRouteSeen;
use crate::caches::{Caches, Indexed};

/// The kinds that are made for classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    Deployment,
    EndpointSlice,
    HttpRoute,
    Ingress,
    Job,
    NetworkPolicy,
    PodDisruptionBudget,
    Service,
    ServiceAccount,
}

impl Kind {
    /// As a manifest's `kind`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Deployment => "Deployment",
            Self::EndpointSlice => "EndpointSlice",
            Self::HttpRoute => "HTTPRoute",
            Self::Ingress => "Ingress",
            Self::Job => "Job",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Service => "Service",
            Self::ServiceAccount => "ServiceAccount",
        }
    }
}

/// An object that a class owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid, so that nothing is deleted that took its place.
    pub uid: Option<String>,
    /// See [`fingerprint`].
    pub fingerprint: u64,
}

/// Whether the class with `uid` controls an object.
pub(crate) fn is_owned(meta: &ObjectMeta, uid: Option<&str>) -> bool {
    let owners = meta.owner_references.iter().flatten();
    uid.is_some()
        && owners
            .filter(|owner| owner.controller == Some(true))
            .any(|owner| Some(owner.uid.as_str()) == uid)
}

/// What `kubectl apply` leaves: the whole object as it was applied. It is not kept in the caches.
pub(crate) const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Annotations that say nothing of what an object is to be.
const NOT_PRINTED: [&str; 2] = [LAST_APPLIED_ANNOTATION, "deployment.kubernetes.io/revision"];

/// What changes when somebody changes an object, but not when only its status changes, where Kubernetes tells these apart.
pub(crate) fn fingerprint(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Some(generation) = meta.generation else {
        meta.resource_version.hash(&mut hasher);
        return hasher.finish();
    };
    generation.hash(&mut hasher);
    meta.labels.hash(&mut hasher);
    let annotations = meta.annotations.iter().flatten();
    for annotation in annotations.filter(|(name, _)| !NOT_PRINTED.contains(&name.as_str())) {
        annotation.hash(&mut hasher);
    }
    for owner in meta.owner_references.iter().flatten() {
        owner.uid.hash(&mut hasher);
    }
    hasher.finish()
}

/// Everything that the class owns, as the caches have it; HTTPRoutes if they are known.
pub(crate) fn list(
    caches: &Caches,
    http_routes: Option<&Indexed<HttpRouteSeen>>,
    key: &ClassKey,
    uid: Option<&str>,
) -> Vec<Owned> {
    let mut found = vec![];
    collect(&caches.config_maps, Kind::ConfigMap, key, uid, &mut found);
    collect(&caches.deployments, Kind::Deployment, key, uid, &mut found);
    collect(
        &caches.endpoint_slices,
        Kind::EndpointSlice,
        key,
        uid,
        &mut found,
    );
    if let Some(http_routes) = http_routes {
        collect(http_routes, Kind::HttpRoute, key, uid, &mut found);
    }
    collect(&caches.ingresses, Kind::Ingress, key, uid, &mut found);
    collect(&caches.jobs, Kind::Job, key, uid, &mut found);
    collect(
        &caches.network_policies,
        Kind::NetworkPolicy,
        key,
        uid,
        &mut found,
    );
    collect(
        &caches.disruption_budgets,
        Kind::PodDisruptionBudget,
        key,
        uid,
        &mut found,
    );
    collect(&caches.services, Kind::Service, key, uid, &mut found);
    collect(
        &caches.service_accounts,
        Kind::ServiceAccount,
        key,
        uid,
        &mut found,
    );
    found
}

fn collect<K>(
    store: &Indexed<K>,
    kind: Kind,
    key: &ClassKey,
    uid: Option<&str>,
    found: &mut Vec<Owned>,
) where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    for object in store.of(key) {
        let meta = object.meta();
        if is_owned(meta, uid) {
            found.push(Owned {
                kind,
                name: meta.name.clone().unwrap_or_default(),
                uid: meta.uid.clone(),
                fingerprint: fingerprint(meta),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_a_controlling_class_owns() {
        let owner = |uid: &str, controller: bool| {
            meta(json!({"ownerReferences": [{
                "apiVersion": "v", "kind": "k", "name": "n", "uid": uid, "controller": controller
            }]}))
        };
        assert!(is_owned(&owner("1", true), Some("1")));
        assert!(!is_owned(&owner("2", true), Some("1")));
        assert!(!is_owned(&owner("1", false), Some("1")));
        assert!(!is_owned(&ObjectMeta::default(), None));
    }

    #[test]
    fn a_status_leaves_the_fingerprint() {
        let print = |value| fingerprint(&meta(value));
        let base = print(json!({"generation": 1, "resourceVersion": "5"}));
        let rolled = json!({
            "generation": 1, "resourceVersion": "6",
            "annotations": {"deployment.kubernetes.io/revision": "2"}
        });
        assert_eq!(print(rolled), base);
        // The caches do not have it, the answer to a write does.
        let applied = json!({"generation": 1, "annotations": {LAST_APPLIED_ANNOTATION: "{}"}});
        assert_eq!(print(applied), base);
        assert_ne!(
            print(json!({"generation": 2, "resourceVersion": "5"})),
            base
        );
        assert_ne!(print(json!({"generation": 1, "labels": {"a": "b"}})), base);
        assert_ne!(
            print(json!({"resourceVersion": "5"})),
            print(json!({"resourceVersion": "6"}))
        );
    }
}
