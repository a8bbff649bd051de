//! What clients learn of the group before they ask for anything.
//!
//! `delete` is served, and not told of: for each resource with delete, list and watch the garbage collector holds all objects, and
//! where a namespace ends its controller deletes what can be deleted. Workers belong to their class, and go with it.

use serde_json::{Value, json};

use crate::{API_VERSION, GROUP, KIND, RESOURCE, VERSION};

/// The media type of [`aggregated`].
pub const AGGREGATED_TYPE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

const SINGULAR: &str = "serverlessworker";
const SHORT_NAMES: [&str; 2] = ["sw", "swk"];
const VERBS: [&str; 3] = ["get", "list", "watch"];

/// Subresources, with the verbs that are told.
const SUBRESOURCES: [(&str, &[&str]); 8] = [
    ("exec", &["create"]),
    ("inspect", &["create"]),
    ("log", &["get"]),
    ("move", &["create"]),
    ("sleep", &["create"]),
    ("sql", &["create"]),
    ("state", &["get", "update"]),
    ("wake", &["create"]),
];

/// What `/apis` answers to those who do not ask for [`aggregated`].
#[must_use]
pub fn groups() -> Value {
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [bare_group()] })
}

/// What `/apis/runtime.portside.dev` answers.
#[must_use]
pub fn group() -> Value {
    let mut group = bare_group();
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    group
}

fn bare_group() -> Value {
    let version = json!({ "groupVersion": API_VERSION, "version": VERSION });
    json!({ "name": GROUP, "versions": [version], "preferredVersion": version })
}

/// What `/apis/runtime.portside.dev/v1alpha1` answers.
#[must_use]
pub fn resources() -> Value {
    let mut resources = vec![json!({
        "name": RESOURCE,
        "singularName": SINGULAR,
        "namespaced": true,
        "kind": KIND,
        "verbs": VERBS,
        "shortNames": SHORT_NAMES,
    })];
    resources.extend(SUBRESOURCES.map(|(name, verbs)| {
        json!({
            "name": format!("{RESOURCE}/{name}"),
            "singularName": "",
            "namespaced": true,
            "kind": KIND,
            "verbs": verbs,
        })
    }));
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": API_VERSION,
        "resources": resources,
    })
}

/// What `/apis` answers to those who ask for `as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io`.
#[must_use]
pub fn aggregated() -> Value {
    let kind = json!({ "group": GROUP, "version": VERSION, "kind": KIND });
    let subresources = SUBRESOURCES
        .map(|(name, verbs)| json!({ "subresource": name, "responseKind": kind, "verbs": verbs }));
    let resource = json!({
        "resource": RESOURCE,
        "responseKind": kind,
        "scope": "Namespaced",
        "singularResource": SINGULAR,
        "verbs": VERBS,
        "shortNames": SHORT_NAMES,
        "subresources": subresources,
    });
    let version = json!({ "version": VERSION, "resources": [resource], "freshness": "Current" });
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [{ "metadata": { "name": GROUP, "creationTimestamp": null }, "versions": [version] }],
    })
}

/// Whether the header `Accept` asks for [`aggregated`].
#[must_use]
pub fn is_aggregated_asked(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let has = |wanted: &str| range.split(';').any(|part| part.trim() == wanted);
        has("as=APIGroupDiscoveryList") && has("v=v2") && has("g=apidiscovery.k8s.io")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With them, controllers of the cluster would hold and delete workers.
    #[test]
    fn workers_can_be_got_listed_and_watched_and_no_more() {
        let verbs = json!(["get", "list", "watch"]);
        assert_eq!(resources()["resources"][0]["verbs"], verbs);
        let resource = &aggregated()["items"][0]["versions"][0]["resources"][0];
        assert_eq!(resource["verbs"], verbs);
        for document in [resources(), aggregated()] {
            assert!(!document.to_string().contains("delete"));
        }
    }

    #[test]
    fn both_documents_have_the_same_subresources() {
        let of = |value: &Value, key: &str| -> Vec<String> {
            let items = value.as_array().unwrap();
            let names = items.iter().filter_map(|it| it[key].as_str());
            names
                .filter_map(|it| it.rsplit('/').next())
                .map(str::to_owned)
                .collect()
        };
        let legacy = of(&resources()["resources"], "name");
        let resource = &aggregated()["items"][0]["versions"][0]["resources"][0];
        assert_eq!(legacy[1..], of(&resource["subresources"], "subresource"));
    }

    #[test]
    fn the_aggregated_document_is_for_those_who_ask() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
            application/json";
        assert!(is_aggregated_asked(kubectl));
        assert!(!is_aggregated_asked("application/json"));
        assert!(!is_aggregated_asked(
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
        ));
    }

    #[test]
    fn the_group_has_its_version() {
        assert_eq!(group()["preferredVersion"]["groupVersion"], API_VERSION);
        assert_eq!(groups()["groups"][0]["name"], GROUP);
    }
}
