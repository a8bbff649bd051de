//! An API server that keeps what it is given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::{Asked, failure};

/// Objects by their paths. Cloning gives another handle.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<(u64, BTreeMap<String, Value>)>>);

impl Store {
    /// What it has there.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().1.get(path).cloned()
    }

    /// The contents of a Secret there.
    pub(crate) fn secret(&self, path: &str) -> Option<BTreeMap<String, String>> {
        let secret: Secret = serde_json::from_value(self.get(path)?).unwrap();
        let data = secret.data.unwrap_or_default().into_iter();
        Some(
            data.map(|(key, value)| (key, String::from_utf8(value.0).unwrap()))
                .collect(),
        )
    }

    /// Somebody puts something there.
    pub(crate) fn put(&self, path: &str, object: Value) -> Value {
        let (version, all) = &mut *self.0.lock().unwrap();
        *version += 1;
        let mut object = object;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        all.insert(path.to_owned(), object.clone());
        object
    }

    /// Somebody deletes what is there.
    pub(crate) fn remove(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().1.remove(path)
    }

    /// Answers as an API server does.
    pub(crate) fn answer(&self, asked: &Asked) -> (u16, Value) {
        let there = self.get(&asked.path);
        let missing = || failure(404, "not found");
        match (&*asked.method, there) {
            ("GET", there) => there.map_or_else(missing, |there| (200, there)),
            ("POST", _) => {
                let name = asked.body["metadata"]["name"].as_str().unwrap_or("event");
                let path = format!("{}/{name}", asked.path);
                match self.get(&path) {
                    Some(_) => failure(409, "already exists"),
                    None => (201, self.put(&path, asked.body.clone())),
                }
            }
            ("PUT", Some(there)) => {
                let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                match version(&there) == version(&asked.body) {
                    true => (200, self.put(&asked.path, asked.body.clone())),
                    false => failure(409, "the object has been modified"),
                }
            }
            ("PATCH", there) => {
                let mut object = there.unwrap_or_else(|| json!({}));
                merge(&mut object, &asked.body);
                (200, self.put(&asked.path, object))
            }
            ("DELETE", Some(_)) => {
                self.remove(&asked.path);
                (
                    200,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
                )
            }
            _ => missing(),
        }
    }
}

/// As a merge patch does.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => {
                object.as_object_mut().unwrap().remove(key);
            }
            value => merge(&mut object[key], value),
        }
    }
}
