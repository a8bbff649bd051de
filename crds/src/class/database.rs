//! The database of a class's state.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NamedKey;
use crate::rules;

/// A database, named by the Secret that has its URL.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::schema(rules::DATABASE)))]
pub struct Database {
    /// The Secret's key whose value is a postgres:// URL.
    #[serde(default)]
    pub secret_key_ref: DatabaseSecret,
    /// The authority that has signed the server's certificate, where it is not a public one. With it the certificate is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaSource>,
}

/// Where a database's URL is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSecret {
    /// The Secret, in the class's namespace.
    #[serde(default = "DatabaseSecret::default_name")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub name: String,
    /// The key in it.
    #[serde(default = "DatabaseSecret::default_key")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::KEY)))]
    pub key: String,
}

impl DatabaseSecret {
    /// Which it is.
    #[must_use]
    pub fn named(&self) -> NamedKey<'_> {
        (&self.name, &self.key)
    }

    fn default_name() -> String {
        "portside-database".to_owned()
    }

    fn default_key() -> String {
        "url".to_owned()
    }
}

impl Default for DatabaseSecret {
    fn default() -> Self {
        Self {
            name: Self::default_name(),
            key: Self::default_key(),
        }
    }
}

/// Where the certificates of authorities are, in PEM: exactly one of the two.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::schema(rules::CA_SOURCE)))]
pub struct CaSource {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<CaKey>,
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<CaKey>,
}

/// A key of a Secret or ConfigMap, in the class's namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CaKey {
    /// The Secret's or ConfigMap's name.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub name: String,
    /// The key in it.
    #[serde(default = "CaKey::default_key")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::KEY)))]
    pub key: String,
}

impl CaKey {
    /// Which it is.
    #[must_use]
    pub fn named(&self) -> NamedKey<'_> {
        (&self.name, &self.key)
    }

    fn default_key() -> String {
        "ca.crt".to_owned()
    }
}
