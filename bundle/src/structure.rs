//! Whether a value has the form that a schema gives it: the class's definition, or that of wrangler's settings.

use portside_crds::validate::{Path, Step};
use serde_json::{Map, Value as Json};

use crate::node::{Key, Node, Value};
use crate::problem::{Place, Problem};

/// Something that is not as the schema has it.
#[derive(Debug)]
pub(crate) struct Misfit {
    /// The value, from the manifest's root.
    pub path: Vec<Step>,
    pub place: Place,
    pub message: String,
    pub help: Option<&'static str>,
    /// Whether it is a field that the schema does not have, and all else fits.
    pub unknown: bool,
}

impl Misfit {
    /// The problem of the file at `path`.
    pub fn problem(self, path: &str) -> Problem {
        Problem {
            help: self.help.map(ToOwned::to_owned),
            ..Problem::at(path, self.place, self.message)
        }
    }
}

/// Compares a document's part at `path` with its schema: unknown and missing fields, types, enumerations, bounds, and
/// items of a list that must differ.
///
/// Returns what fits, to be looked at further, `None` if the part itself does not.
pub(crate) fn check(
    node: &Node,
    schema: &Json,
    path: &[Step],
    misfits: &mut Vec<Misfit>,
) -> Option<Json> {
    let mut checker = Checker {
        path: path.to_vec(),
        misfits,
    };
    checker.value(node, schema)
}

struct Checker<'m> {
    path: Vec<Step>,
    misfits: &'m mut Vec<Misfit>,
}

impl Checker<'_> {
    fn report(&mut self, place: Place, what: impl std::fmt::Display) -> Option<Json> {
        self.misfits.push(Misfit {
            path: self.path.clone(),
            place,
            message: format!("{} {what}", Path(&self.path)),
            help: None,
            unknown: false,
        });
        None
    }

    fn within(&mut self, step: Step, node: &Node, schema: &Json) -> Option<Json> {
        self.path.push(step);
        let value = self.value(node, schema);
        self.path.pop();
        value
    }

    fn value(&mut self, node: &Node, schema: &Json) -> Option<Json> {
        if schema["x-kubernetes-int-or-string"] == true {
            return match &node.value {
                Value::Text(_) => Some(node.json()),
                Value::Number(_) if node.json().is_i64() => Some(node.json()),
                _ => self.report(node.place, "must be a quantity"),
            };
        }
        match (schema["type"].as_str(), &node.value) {
            (Some("object"), Value::Map(fields)) => self.map(node, fields, schema),
            (Some("array"), Value::List(items)) => self.list(node, items, schema),
            (Some("string"), Value::Text(text)) => self.text(node, text, schema),
            (Some("integer"), Value::Number(_)) => self.integer(node, schema),
            (Some("boolean"), Value::Bool(_)) | (None, _) => Some(node.json()),
            (Some(expected), _) => self.wrong_type(node, expected, schema),
        }
    }

    fn wrong_type(&mut self, node: &Node, expected: &str, schema: &Json) -> Option<Json> {
        let what = match expected {
            "object" => "must be a map",
            "array" => "must be a list",
            "integer" => "must be a whole number",
            "boolean" => "must be true or false",
            // What the text has to be says more than that it has to be text.
            _ => schema["x-kubernetes-validations"][0]["message"]
                .as_str()
                .unwrap_or("must be text"),
        };
        self.report(node.place, what);
        let scalar = matches!(node.value, Value::Bool(_) | Value::Number(_));
        if let (true, "must be text", Some(misfit)) = (scalar, what, self.misfits.last_mut()) {
            misfit.help = Some("put it in quotes");
        }
        None
    }

    fn map(&mut self, node: &Node, fields: &[(Key, Node)], schema: &Json) -> Option<Json> {
        let mut fitting = Map::new();
        for (key, value) in fields {
            let known = schema["properties"].get(&key.name);
            let Some(inner) = known.or_else(|| schema.get("additionalProperties")) else {
                if schema["x-kubernetes-preserve-unknown-fields"] == true {
                    fitting.insert(key.name.clone(), value.json());
                } else {
                    let message = format!("unknown field {}.{}", Path(&self.path), key.name);
                    self.misfits.push(Misfit {
                        path: self.path.clone(),
                        place: key.place,
                        message,
                        help: None,
                        unknown: true,
                    });
                }
                continue;
            };
            // As in the API server, null is nothing where there is a default.
            if matches!(value.value, Value::Null) && inner.get("default").is_some() {
                continue;
            }
            if let Some(value) = self.within(Step::Field(key.name.clone()), value, inner) {
                fitting.insert(key.name.clone(), value);
            }
        }
        let mut whole = true;
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            whole &= fitting.contains_key(name);
            if node.field(name).is_none() {
                self.path.push(Step::Field(name.to_owned()));
                self.report(node.place, "is missing");
                self.path.pop();
            }
        }
        if let Some(most) = bound(schema, "maxProperties").filter(|most| fields.len() > *most) {
            self.report(node.place, format!("must have at most {most} entries"));
        }
        whole.then(|| fitting.into())
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &Json) -> Option<Json> {
        let fitting: Vec<Option<Json>> = (items.iter().enumerate())
            .map(|(n, item)| self.within(Step::Item(n), item, &schema["items"]))
            .collect();
        if let Some(least) = bound(schema, "minItems").filter(|least| items.len() < *least) {
            self.report(node.place, format!("must have at least {least} item"));
        }
        if let Some(most) = bound(schema, "maxItems").filter(|most| items.len() > *most) {
            self.report(node.place, format!("must have at most {most} items"));
        }
        self.differ(items, schema);
        // Items keep their numbers, or there is no list.
        fitting
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .map(Json::from)
    }

    /// Reports items whose keys are those of an earlier one.
    fn differ(&mut self, items: &[Node], schema: &Json) {
        let keys: Vec<&str> = (schema["x-kubernetes-list-map-keys"].as_array())
            .map(|keys| keys.iter().filter_map(Json::as_str).collect())
            .unwrap_or_default();
        if keys.is_empty() {
            return;
        }
        let mut seen = std::collections::BTreeSet::new();
        for item in items {
            let of = |key: &&str| match item.field(key) {
                Some(value) => value.json(),
                None => schema["items"]["properties"][key]["default"].clone(),
            };
            let values: Vec<Json> = keys.iter().map(of).collect();
            let shown: Vec<&str> = values.iter().filter_map(Json::as_str).collect();
            // An item without its keys is reported for that.
            if shown.len() < keys.len() || seen.insert(shown.join("\n")) {
                continue;
            }
            let what = match (&*keys, &*shown) {
                ([_], [name]) => (*name).to_owned(),
                _ => {
                    let pairs = keys
                        .iter()
                        .zip(&shown)
                        .map(|(key, text)| format!("{key} {text}"));
                    pairs.collect::<Vec<_>>().join(", ")
                }
            };
            self.report(item.place, format!("has {what} twice"));
        }
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Json) -> Option<Json> {
        let allowed: Vec<&str> = (schema["enum"].as_array().into_iter().flatten())
            .filter_map(Json::as_str)
            .collect();
        if !allowed.is_empty() && !allowed.contains(&text) {
            return self.report(node.place, format!("must be {}", allowed.join(" or ")));
        }
        let length = text.chars().count();
        if let Some(most) = bound(schema, "maxLength").filter(|most| length > *most) {
            return self.report(
                node.place,
                format!("must be at most {most} characters long"),
            );
        }
        Some(text.into())
    }

    fn integer(&mut self, node: &Node, schema: &Json) -> Option<Json> {
        let value = node.json();
        let Some(number) = value.as_i64() else {
            return self.wrong_type(node, "integer", schema);
        };
        // The generated bounds are whole, though written as if they were not.
        let whole = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
        if let Some(least) = whole("minimum").filter(|least| number < *least) {
            return self.report(node.place, format!("must be at least {least}"));
        }
        if let Some(most) = whole("maximum").filter(|most| number > *most) {
            return self.report(node.place, format!("must be at most {most}"));
        }
        Some(value)
    }
}

fn bound(schema: &Json, name: &str) -> Option<usize> {
    usize::try_from(schema[name].as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word that the definition uses and this does not know would go unchecked.
    #[test]
    fn every_word_of_the_schema_is_known() {
        const KNOWN: [&str; 19] = [
            "type",
            "properties",
            "additionalProperties",
            "items",
            "required",
            "enum",
            "default",
            "description",
            "title",
            "format",
            "minimum",
            "maximum",
            "minItems",
            "maxItems",
            "maxLength",
            "maxProperties",
            "x-kubernetes-validations",
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
        ];
        const FREE: [&str; 2] = [
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-int-or-string",
        ];
        fn walk(schema: &Json, unknown: &mut Vec<String>) {
            for (word, value) in schema.as_object().unwrap() {
                if !KNOWN.contains(&&**word) && !FREE.contains(&&**word) {
                    unknown.push(word.clone());
                }
                match &**word {
                    "properties" => {
                        value
                            .as_object()
                            .unwrap()
                            .values()
                            .for_each(|inner| walk(inner, unknown));
                    }
                    "items" | "additionalProperties" => walk(value, unknown),
                    _ => {}
                }
            }
        }
        let mut unknown = vec![];
        walk(
            &portside_crds::schema::open_api()["properties"]["spec"],
            &mut unknown,
        );
        assert_eq!(unknown, Vec::<String>::new());
    }
}
