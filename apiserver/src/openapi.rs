//! What `kubectl explain` reads: the schema of a worker's object, in OpenAPI 3 and 2.

use serde_json::{Map, Value, json};

use crate::{API_VERSION, GROUP, KIND, LIST_KIND, RESOURCE, VERSION};

/// Where the document of [`v3`] is, below `/openapi/v3/`.
pub const V3_PATH: &str = "apis/runtime.portside.dev/v1alpha1";

const PREFIX: &str = "dev.portside.runtime.v1alpha1";

/// What `/openapi/v3` answers: where the documents are.
#[must_use]
pub fn v3_index() -> Value {
    json!({ "paths": { V3_PATH: { "serverRelativeURL": format!("/openapi/v3/{V3_PATH}") } } })
}

/// The document in OpenAPI 3.
#[must_use]
pub fn v3() -> Value {
    let content =
        |schema: Value| json!({ "content": { "application/json": { "schema": schema } } });
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths(&|name| content(reference("#/components/schemas", name))),
        "components": { "schemas": schemas("#/components/schemas") },
    })
}

/// The document in OpenAPI 2.
#[must_use]
pub fn v2() -> Value {
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": paths(&|name| json!({ "schema": reference("#/definitions", name) })),
        "definitions": schemas("#/definitions"),
    })
}

fn info() -> Value {
    json!({ "title": "Portside: workers", "version": VERSION })
}

fn reference(place: &str, name: &str) -> Value {
    json!({ "$ref": format!("{place}/{PREFIX}.{name}") })
}

fn kind(kind: &str) -> Value {
    json!({ "group": GROUP, "version": VERSION, "kind": kind })
}

/// The paths by which clients find the schema of a resource.
fn paths(answer: &dyn Fn(&str) -> Value) -> Value {
    let operation = |action: &str, name: &str| {
        let mut ok = answer(name);
        ok["description"] = json!("OK");
        json!({ "get": {
            "operationId": format!("{action}{KIND}"),
            "responses": { "200": ok },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind(KIND),
        } })
    };
    let base = format!("/apis/{API_VERSION}");
    let mut paths = Map::new();
    let list = format!("{base}/namespaces/{{namespace}}/{RESOURCE}");
    paths.insert(format!("{list}/{{name}}"), operation("get", KIND));
    paths.insert(list, operation("list", LIST_KIND));
    Value::Object(paths)
}

fn schemas(place: &str) -> Value {
    let mut schemas = Map::new();
    schemas.insert(format!("{PREFIX}.{KIND}"), worker());
    let items =
        json!({ "type": "array", "items": reference(place, KIND), "description": "The workers." });
    let mut list = top("Workers of classes.", LIST_KIND);
    list["properties"]["items"] = items;
    list["required"] = json!(["items"]);
    schemas.insert(format!("{PREFIX}.{LIST_KIND}"), list);
    Value::Object(schemas)
}

fn worker() -> Value {
    let mut worker = top(
        "A worker, or a Durable Object, of a ServerlessWorkerClass.",
        KIND,
    );
    worker["properties"]["spec"] = fields(
        "Which worker it is.",
        &[
            ("class", "string", "The class."),
            (
                "id",
                "string",
                "32 hexadecimal digits. No two workers of a class have the same.",
            ),
            (
                "address",
                "string",
                "SCRIPT#NAME; of an object CLASS#NAME, or CLASS#ID if its name is not known.",
            ),
            (
                "script",
                "string",
                "The path of its script. Objects have none.",
            ),
            (
                "objectClass",
                "string",
                "The object's class in the code. Workers have none.",
            ),
            (
                "name",
                "string",
                "What it is called; empty for a script's default worker.",
            ),
            (
                "objectId",
                "string",
                "The object's id, 64 hexadecimal digits.",
            ),
        ],
    );
    let mut status = fields(
        "How it is now.",
        &[
            (
                "state",
                "string",
                "Awake, if it has an instance, or Asleep.",
            ),
            ("pod", "string", "The pod in which it is awake."),
            (
                "revision",
                "string",
                "The revision of the code that it runs there.",
            ),
            (
                "awakeSince",
                "string",
                "Since when it is awake, in RFC 3339.",
            ),
            (
                "lastActive",
                "string",
                "When anything last reached it, in RFC 3339.",
            ),
            (
                "keys",
                "integer",
                "How many keys it has stored, up to 1000. Objects have none.",
            ),
            ("bytes", "integer", "The bytes that it has stored."),
        ],
    );
    status["properties"]["usage"] = fields(
        "What it uses while it is awake.",
        &[
            (
                "memoryBytes",
                "integer",
                "Bytes of its isolate: of its JavaScript heap as of the last collection of garbage, and what it holds outside of that. \
                 Objects share the isolate of a server, and have none.",
            ),
            (
                "runMillis",
                "integer",
                "For how many milliseconds its JavaScript has run since it woke. Objects have none.",
            ),
            (
                "events",
                "integer",
                "How many requests, messages and alarms it has taken since it woke.",
            ),
        ],
    );
    status["properties"]["alarm"] = fields(
        "Its alarm, if one is set.",
        &[
            ("scheduled", "string", "For when it was set, in RFC 3339."),
            ("due", "string", "When it is delivered next, in RFC 3339."),
            ("retries", "integer", "How often it was delivered in vain."),
        ],
    );
    worker["properties"]["status"] = status;
    worker
}

/// What has a kind.
fn top(description: &str, name: &str) -> Value {
    let mut schema = fields(
        description,
        &[
            ("apiVersion", "string", "The version of the API."),
            ("kind", "string", "The kind."),
            ("metadata", "object", "As all objects have it."),
        ],
    );
    schema["x-kubernetes-group-version-kind"] = json!([kind(name)]);
    schema
}

fn fields(description: &str, fields: &[(&str, &str, &str)]) -> Value {
    let field = |(name, kind, description): &(&str, &str, &str)| {
        let mut schema = json!({ "type": kind, "description": description });
        if *kind == "integer" {
            schema["format"] = json!("int64");
        }
        ((*name).to_owned(), schema)
    };
    let properties: Map<String, Value> = fields.iter().map(field).collect();
    json!({ "type": "object", "description": description, "properties": properties })
}

#[cfg(test)]
mod tests {
    use portside_manage::Alarm;

    use super::*;
    use crate::{object, sample};

    /// That each field of an object is in its schema.
    fn assert_described(value: &Value, schema: &Value, path: &str) {
        let Some(fields) = value.as_object() else {
            return;
        };
        for (name, value) in fields {
            let schema = &schema["properties"][name];
            assert!(schema.is_object(), "{path}.{name} is not described");
            if name != "metadata" {
                assert_described(value, schema, &format!("{path}.{name}"));
            }
        }
    }

    #[test]
    fn each_field_is_described() {
        let mut whole = sample::worker();
        whole.class = Some("Cart".into());
        whole.object_id = Some("0".into());
        whole.alarm = Some(Alarm {
            scheduled: "2026-01-01T00:00:00Z".into(),
            due: "2026-01-01T00:00:00Z".into(),
            retries: 1,
        });
        let object = object::object(&sample::class(), &whole, "1");
        assert_described(&object, &worker(), "");
    }

    #[test]
    fn references_lead_somewhere() {
        for (document, place) in [(v3(), "/components/schemas"), (v2(), "/definitions")] {
            let text = document.to_string();
            let targets: Vec<&str> = text
                .split("\"$ref\":\"#")
                .skip(1)
                .filter_map(|it| it.split('"').next())
                .collect();
            assert!(!targets.is_empty());
            for target in targets {
                assert!(target.starts_with(place), "{target}");
                assert!(document.pointer(target).is_some(), "{target}");
            }
        }
    }

    #[test]
    fn the_index_leads_to_the_document() {
        let url = &v3_index()["paths"][V3_PATH]["serverRelativeURL"];
        assert_eq!(url, "/openapi/v3/apis/runtime.portside.dev/v1alpha1");
    }
}
