//! The class's definition as the API server takes it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt as _;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::ServerlessWorkerClass;
use crate::rules;

/// The definition to apply to a cluster.
///
/// Its status has a default, so that a class that no operator has seen yet counts as in progress, not as done.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    serde_json::from_value(definition()).expect("its shape is the generated one's")
}

/// The OpenAPI schema of a class: `apiVersion`, `kind`, `metadata`, `spec` and `status`.
#[must_use]
pub fn open_api() -> Value {
    definition()
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .map(Value::take)
        .expect("a definition has a version with a schema")
}

/// [`crd`] as YAML, with comments.
pub const YAML: &str = include_str!("../generated/serverlessworkerclasses.yaml");

fn definition() -> Value {
    let mut crd = serde_json::to_value(ServerlessWorkerClass::crd()).expect("a definition is JSON");
    if let Some(schema) = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        schema["x-kubernetes-validations"] = rules::schema(rules::CLASS);
        schema["properties"]["status"]["default"] = json!({"observedGeneration": -1});
        schema["properties"]["status"]["description"] =
            "What the operator says of the class.".into();
        without_null(schema);
    }
    crd
}

/// Fields are left out, not null: a null would be one more way to say the same.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("nullable");
            fields.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// Networks.
pub(crate) fn networks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {"type": "string", "maxLength": 49}
    })
}

/// Names of namespaces, or `*`.
pub(crate) fn namespaces(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {"type": "string", "maxLength": 63}
    })
}

/// Texts by name, so many of at most such a length.
pub(crate) fn texts<const COUNT: usize, const LENGTH: usize>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": COUNT,
        "additionalProperties": {"type": "string", "maxLength": LENGTH}
    })
}

/// Quantities by name.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "x-kubernetes-validations": rules::schema(rules::RESOURCE)
        }
    })
}

/// What is passed on as it is.
pub(crate) fn opaque(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list of what is passed on as it is.
pub(crate) fn opaques(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 8, "items": opaque(generator)})
}

/// What is passed on, but for its names, which have to differ.
pub(crate) fn named(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "maxLength": 63, "description": "Its name."}},
            "x-kubernetes-preserve-unknown-fields": true
        }
    })
}
