//! How a class is reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Texts, is_default};

/// Requests to a host under a path.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// A host name, or one with * as its first label. Empty for every host.
    #[serde(default)]
    pub host: String,
    /// A prefix of the path by whole segments: /a means /a and /a/b, not /ab.
    #[serde(default = "Route::default_path")]
    pub path: String,
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
    pub class_name: Option<String>,
    /// Annotations of the Ingress, for its controller or for cert-manager.
    #[serde(default, skip_serializing_if = "is_default")]
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
    pub secret_name: String,
}

/// The HTTPRoute that is made for the routes.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The Gateways that serve the routes.
    pub parent_refs: Vec<ParentRef>,
}

/// A Gateway of the Gateway API.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The Gateway's name.
    pub name: String,
    /// The Gateway's namespace, by default the class's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A listener of the Gateway, by default every one that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}
