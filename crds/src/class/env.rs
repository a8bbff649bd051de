//! The server's environment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// An entry of the server's env. With neither value nor valueFrom it is empty, as in a Pod.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::schema(rules::ENV_ENTRY)))]
pub struct EnvEntry {
    /// The entry's name: letters, digits and underscores, not starting with a digit.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::ENV_NAME)))]
    pub name: String,
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub value: Option<String>,
    /// Where the value is kept instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSource>,
}

/// Where an entry's value is kept: exactly one of the two.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::schema(rules::ENV_SOURCE)))]
pub struct EnvSource {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// The name of a Secret or ConfigMap, and a key in it.
pub type NamedKey<'k> = (&'k str, &'k str);

/// A key of a Secret or ConfigMap of the class's namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The Secret's or ConfigMap's name.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub name: String,
    /// The key in it.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::KEY)))]
    pub key: String,
    /// Leaves the entry out, instead of failing, where the object or the key is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

impl KeyRef {
    /// Which it is.
    #[must_use]
    pub fn named(&self) -> NamedKey<'_> {
        (&self.name, &self.key)
    }
}
