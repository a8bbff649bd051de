//! Where a class's code comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Texts;
use crate::rules;
use crate::schema::texts;

/// Where the code comes from: exactly one of inline, configMap and oci.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::schema(rules::CODE)))]
pub struct Code {
    /// The main module, relative. By default server.ts, server.js or server.mjs, else package.json's main.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::MAIN)))]
    pub main: Option<String>,
    /// Globs of files that belong to the code though no import leads to them, such as workers/*.js.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(max = 253)),
        extend("x-kubernetes-validations" = rules::schema(rules::INCLUDE))
    )]
    pub include: Vec<String>,
    /// The files themselves, by path. 256 KiB in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "texts::<100, 262_144>", extend("x-kubernetes-validations" = rules::schema(rules::INLINE)))]
    pub inline: Option<Texts>,
    /// A ConfigMap whose every key is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapCode>,
    /// An artifact in an OCI registry, such as portside push makes. The pods pull it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciCode>,
}

/// Code in a ConfigMap of the class's namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapCode {
    /// The ConfigMap. A key bundle.json, made by portside bundle, is the whole bundle.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub name: String,
}

/// Code in an OCI registry: an artifact whose layer of type application/vnd.portside.bundle.v1+json is a bundle, and whose
/// second one, if there is one, has its assets.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OciCode {
    /// The artifact, such as registry.example/acme/chat:1.4. Each pod asks for the tag when it starts: if the tag moves,
    /// running pods stay as they are and later ones run what it names then. Set digest to pin it.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = rules::schema(rules::OCI_REFERENCE)))]
    pub reference: String,
    /// The manifest's digest, which portside push prints: sha256: and 64 hexadecimal digits. It pins the artifact: the
    /// tag may then move without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), extend("x-kubernetes-validations" = rules::schema(rules::OCI_DIGEST)))]
    pub digest: Option<String>,
    /// A Secret of type kubernetes.io/dockerconfigjson with the registry's credentials. Only the pods read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<LocalRef>,
}

/// An object of the class's namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// The object's name.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub name: String,
}
