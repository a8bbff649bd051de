//! How a class is reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Texts, is_default};
use crate::rules;
use crate::schema::{namespaces, texts};

/// Requests to a host under a path.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// A host name, or one with * as its first label. Empty for every host.
    #[serde(default)]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::HOST)))]
    pub host: String,
    /// A prefix of the path by whole segments: /a means /a and /a/b, not /ab.
    #[serde(default = "Route::default_path")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = rules::schema(rules::PATH)))]
    pub path: String,
    /// Namespaces that may have routes of this host, too, and under its wildcard, where this class's has it. * for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "namespaces", extend("x-kubernetes-validations" = rules::schema(rules::NAMESPACES)))]
    pub allow_namespaces: Vec<String>,
}

impl Route {
    fn default_path() -> String {
        "/".to_owned()
    }
}

/// The Ingress that is made for the routes.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// The IngressClass, instead of the operator's or the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub class_name: Option<String>,
    /// Annotations of the Ingress, for its controller or for cert-manager.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "texts::<50, 16_384>")]
    pub annotations: Texts,
    /// Serves the routes' hosts over HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<IngressTls>,
}

/// Where an Ingress has its certificate from.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IngressTls {
    /// A Secret of type kubernetes.io/tls, which cert-manager may make.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub secret_name: String,
}

/// The HTTPRoute that is made for the routes.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The Gateways that serve the routes.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentRef>,
}

/// A Gateway of the Gateway API.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The Gateway's name.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub name: String,
    /// The Gateway's namespace, by default the class's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub namespace: Option<String>,
    /// A listener of the Gateway, by default every one that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub section_name: Option<String>,
}
