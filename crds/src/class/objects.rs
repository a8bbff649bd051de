//! Durable Objects: the classes that the main module exports.

use portside_core::compatibility::Compatibility;
use portside_core::migrations::{ObjectClass, ObjectStorage, Origin};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// The Durable Objects of an application, as Cloudflare has them.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::schema(rules::DURABLE_OBJECTS)))]
pub struct DurableObjects {
    /// The date as of which the platform behaves, such as 2026-04-07. Default as today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), extend("x-kubernetes-validations" = rules::schema(rules::DATE)))]
    pub compatibility_date: Option<String>,
    /// Changes of behaviour that are switched on or off apart from the date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub compatibility_flags: Vec<String>,
    /// What an object shares. Shared has several in one isolate, with module variables in common, at little cost each. Object gives each
    /// an isolate of its own, which no other's loop, memory or crash can end, at about 2 MB.
    #[serde(default, skip_serializing_if = "Isolation::is_default")]
    pub isolation: Isolation,
    /// The classes that the server's module exports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub classes: Vec<DurableObjectClass>,
    /// The fields of the server's env by which the code reaches their objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub bindings: Vec<DurableObjectBinding>,
}

/// What lives in one isolate.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Objects, and a server.
    #[default]
    Shared,
    /// One object.
    Object,
}

impl Isolation {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A class of Durable Objects.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DurableObjectClass {
    /// The name of the class that the server's module exports.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::ENV_NAME)))]
    pub name: String,
    /// How its objects store things. Cannot be changed without losing them.
    #[serde(default)]
    pub storage: DurableObjectStorage,
    /// How the class began, if it had another name then. Its objects belong to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<DurableObjectOrigin>,
}

/// How objects store things.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DurableObjectStorage {
    /// A SQLite database, which has keys and values, too.
    #[default]
    SQLite,
    /// Keys and values.
    KeyValue,
}

/// How a class began.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DurableObjectOrigin {
    /// The name it had then.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::ENV_NAME)))]
    pub name: String,
    /// The migration that created it; empty if none did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub migration: String,
}

/// A field of the server's env by which the code reaches the objects of a class.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DurableObjectBinding {
    /// The field.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::ENV_NAME)))]
    pub name: String,
    /// The class, by the name it has in classes.
    #[schemars(length(max = 253))]
    pub class: String,
}

impl DurableObjects {
    /// The classes as the runtime knows them, in their order.
    #[must_use]
    pub fn object_classes(&self) -> Vec<ObjectClass> {
        self.classes.iter().map(ObjectClass::from).collect()
    }

    /// What the code was written for; where nothing is said at all, for Portside itself.
    #[must_use]
    pub fn compatibility(&self) -> Compatibility {
        if *self == Self::default() {
            return Compatibility::default();
        }
        let flags = self.compatibility_flags.iter().cloned();
        Compatibility::new(self.compatibility_date.clone(), flags)
    }
}

impl From<&DurableObjectClass> for ObjectClass {
    fn from(class: &DurableObjectClass) -> Self {
        let origin = class.origin.as_ref();
        Self {
            name: class.name.clone(),
            origin: Origin {
                tag: origin.map_or_else(String::new, |origin| origin.migration.clone()),
                name: origin.map_or(&class.name, |origin| &origin.name).clone(),
            },
            storage: match class.storage {
                DurableObjectStorage::SQLite => ObjectStorage::Sqlite,
                DurableObjectStorage::KeyValue => ObjectStorage::KeyValue,
            },
        }
    }
}

impl From<&ObjectClass> for DurableObjectClass {
    fn from(class: &ObjectClass) -> Self {
        let Origin { tag, name } = &class.origin;
        let is_plain = tag.is_empty() && *name == class.name;
        Self {
            name: class.name.clone(),
            storage: match class.storage {
                ObjectStorage::Sqlite => DurableObjectStorage::SQLite,
                ObjectStorage::KeyValue => DurableObjectStorage::KeyValue,
            },
            origin: (!is_plain).then(|| DurableObjectOrigin {
                name: name.clone(),
                migration: tag.clone(),
            }),
        }
    }
}
