//! The definition of the class, and whether the cluster has it as this program knows it.

use std::io::Write as _;
use std::time::Duration;

use http::Request;
use kube::Client;
use portside_crds::{GROUP, KIND, VERSION};
use serde_json::Value;

/// Between two looks at a definition that is missing or too old.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Prints the definition.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn print() -> anyhow::Result<()> {
    std::io::stdout().write_all(portside_crds::schema::YAML.as_bytes())?;
    Ok(())
}

/// What the cluster has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Served {
    /// No definition.
    Nothing,
    /// One without this field, and perhaps others: what is written there is lost.
    Older(String),
    /// All that this program knows.
    Current,
}

/// Looks at the schema that the API server publishes, which needs no right to read definitions.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn served(client: &Client) -> Result<Served, kube::Error> {
    let request = Request::get(format!("/openapi/v3/apis/{GROUP}/{VERSION}"));
    let request = request.body(vec![]).map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(document) => Ok(compare(&document)),
        Err(error) if crate::api::is_not_found(&error) => Ok(Served::Nothing),
        Err(error) => Err(error),
    }
}

fn compare(document: &Value) -> Served {
    let schemas = document
        .pointer("/components/schemas")
        .and_then(Value::as_object);
    let of_class = schemas
        .into_iter()
        .flatten()
        .map(|(_, schema)| schema)
        .find(|schema| {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array();
            kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"] == KIND))
        });
    let Some(served) = of_class else {
        return Served::Nothing;
    };
    let known = portside_crds::schema::open_api();
    for part in ["spec", "status"] {
        let known = &known["properties"][part];
        if let Some(field) = missing(known, &served["properties"][part], part) {
            return Served::Older(field);
        }
    }
    Served::Current
}

/// The first field of `known` that `served` lacks.
fn missing(known: &Value, served: &Value, path: &str) -> Option<String> {
    if let Some(fields) = known["properties"].as_object() {
        for (name, field) in fields {
            let path = format!("{path}.{name}");
            let Some(other) = served["properties"].get(name) else {
                return Some(path);
            };
            if let Some(lacking) = missing(field, other, &path) {
                return Some(lacking);
            }
        }
    }
    let items = known.get("items")?;
    missing(items, &served["items"], &format!("{path}[]"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(schema: &Value) -> Value {
        let mut schema = schema.clone();
        schema["x-kubernetes-group-version-kind"] = json!([{"group": GROUP, "kind": KIND}]);
        json!({"components": {"schemas": {"dev.portside": schema}}})
    }

    #[test]
    fn a_field_that_is_missing_is_named() {
        let mut schema = portside_crds::schema::open_api();
        assert_eq!(compare(&document(&schema)), Served::Current);
        schema["properties"]["spec"]["properties"]["more"] = json!({});
        assert_eq!(compare(&document(&schema)), Served::Current);
        let routes = schema.pointer_mut("/properties/spec/properties/routes/items/properties");
        routes.unwrap().as_object_mut().unwrap().remove("path");
        assert_eq!(
            compare(&document(&schema)),
            Served::Older("spec.routes[].path".to_owned())
        );
        assert_eq!(compare(&json!({})), Served::Nothing);
    }
}
