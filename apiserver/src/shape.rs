//! In what form workers are told of: as objects, as their metadata, or as rows of a table.

use jiff::Timestamp;
use portside_manage::Worker;
use serde_json::{Value, json};

use crate::object::{self, Class};
use crate::status::Refusal;
use crate::table::{self, Include};
use crate::{API_VERSION, KIND, LIST_KIND};

/// In what form workers are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As they are.
    Object,
    /// What all kinds have.
    Metadata,
    /// As `kubectl get` prints them.
    Table(Include),
}

const META_VERSION: &str = "meta.k8s.io/v1";

impl Shape {
    /// The first of those in a header `Accept` that can be answered.
    ///
    /// # Errors
    ///
    /// None can.
    pub fn parse(accept: &str, include: Include) -> Result<Self, Refusal> {
        if accept.trim().is_empty() {
            return Ok(Self::Object);
        }
        let mut shapes = accept.split(',').filter_map(|range| shape(range, include));
        shapes.next().ok_or_else(Refusal::not_acceptable)
    }

    /// One worker among others: an item of a list, or a table's row.
    #[must_use]
    pub fn item(self, class: &Class, worker: &Worker, version: &str) -> Value {
        match self {
            Self::Object => object::object(class, worker, version),
            Self::Metadata => partial(&object::metadata(class, worker, version)),
            Self::Table(include) => table::row(class, worker, version, include, Timestamp::now()),
        }
    }

    /// One worker alone. `first`: whether a table says what its columns are.
    #[must_use]
    pub fn alone(self, class: &Class, worker: &Worker, version: &str, first: bool) -> Value {
        let item = self.item(class, worker, version);
        match self {
            Self::Table(_) => one_table(&[item], version, first),
            _ => item,
        }
    }

    /// How far a watch is.
    #[must_use]
    pub fn bookmark(self, version: &str) -> Value {
        let metadata = json!({ "resourceVersion": version, "creationTimestamp": null });
        match self {
            Self::Object => {
                json!({ "kind": KIND, "apiVersion": API_VERSION, "metadata": metadata })
            }
            Self::Metadata => partial(&metadata),
            Self::Table(_) => one_table(&[], version, false),
        }
    }

    /// A list's text up to its first item.
    #[must_use]
    pub fn begin(self) -> String {
        match self {
            Self::Object => list(LIST_KIND, API_VERSION),
            Self::Metadata => list("PartialObjectMetadataList", META_VERSION),
            Self::Table(_) => {
                let columns = json!(table::columns());
                format!(
                    r#"{{"kind":"Table","apiVersion":"{META_VERSION}","columnDefinitions":{columns},"rows":["#
                )
            }
        }
    }

    /// A list's text after its last item.
    #[must_use]
    pub fn end(version: &str, proceed: Option<&str>) -> String {
        let mut metadata = json!({ "resourceVersion": version });
        if let Some(proceed) = proceed {
            metadata["continue"] = json!(proceed);
        }
        format!(r#"],"metadata":{metadata}}}"#)
    }
}

fn shape(range: &str, include: Include) -> Option<Shape> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?;
    if !matches!(media, "application/json" | "application/*" | "*/*") {
        return None;
    }
    let parameters: Vec<(&str, &str)> = parts.filter_map(|it| it.split_once('=')).collect();
    let value = |name: &str| parameters.iter().find(|it| it.0 == name).map(|it| it.1);
    let is_meta = value("g") == Some("meta.k8s.io") && value("v") == Some("v1");
    match value("as") {
        None => Some(Shape::Object),
        Some("Table") if is_meta => Some(Shape::Table(include)),
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") if is_meta => {
            Some(Shape::Metadata)
        }
        Some(_) => None,
    }
}

fn partial(metadata: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": META_VERSION, "metadata": metadata })
}

fn list(kind: &str, api_version: &str) -> String {
    format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","items":["#)
}

fn one_table(rows: &[Value], version: &str, with_columns: bool) -> Value {
    let columns = if with_columns {
        table::columns()
    } else {
        vec![]
    };
    json!({
        "kind": "Table",
        "apiVersion": META_VERSION,
        "metadata": { "resourceVersion": version },
        "columnDefinitions": columns,
        "rows": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn clients_get_what_they_ask_for_first() {
        let parse = |accept| Shape::parse(accept, Include::None);
        let table = Ok(Shape::Table(Include::None));
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,\
            application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(parse(kubectl), table);
        assert_eq!(parse(""), Ok(Shape::Object));
        assert_eq!(parse("*/*"), Ok(Shape::Object));
        assert_eq!(
            parse("application/json, application/json;as=Table;v=v1;g=meta.k8s.io"),
            Ok(Shape::Object)
        );
        assert_eq!(
            parse(
                "application/vnd.kubernetes.protobuf, application/json;as=Table;g=meta.k8s.io;v=v1"
            ),
            table
        );
        assert_eq!(
            parse("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Ok(Shape::Metadata)
        );
        assert_eq!(parse("application/yaml").unwrap_err().code, 406);
        assert_eq!(
            parse("application/json;as=Table;v=v1beta1;g=meta.k8s.io")
                .unwrap_err()
                .code,
            406
        );
    }

    #[test]
    fn lists_are_whole_documents() {
        let (class, worker) = (sample::class(), sample::worker());
        for (shape, items) in [
            (Shape::Object, "items"),
            (Shape::Metadata, "items"),
            (Shape::Table(Include::Object), "rows"),
        ] {
            let item = shape.item(&class, &worker, "7").to_string();
            let text = format!(
                "{}{item},{item}{}",
                shape.begin(),
                Shape::end("7", Some("x"))
            );
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value[items].as_array().unwrap().len(), 2);
            assert_eq!(value["metadata"]["continue"], "x");
            assert_eq!(value["metadata"]["resourceVersion"], "7");
        }
    }
}
