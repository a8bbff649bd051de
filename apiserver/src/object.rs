//! A worker as an object of Kubernetes.

use portside_crds::names::{CLASS_LABEL, MANAGED_BY, MANAGED_BY_LABEL};
use portside_manage::{State, Worker, parse_id};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{API_VERSION, KIND};

/// A class whose workers are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid. Another class of the same name has other workers.
    pub uid: Uuid,
}

/// The name of a worker's object: `CLASS.ID`.
#[must_use]
pub fn name(class: &str, id: &str) -> String {
    format!("{class}.{id}")
}

/// The class and the id of a worker by its object's name; nothing if no worker can have that name.
#[must_use]
pub fn parse_name(name: &str) -> Option<(&str, &str)> {
    let (class, id) = name.rsplit_once('.')?;
    // One worker has one name: that with lower-case digits.
    let is_id = parse_id(id).is_some() && !id.bytes().any(|it| it.is_ascii_uppercase());
    (is_id && !class.is_empty()).then_some((class, id))
}

/// The worker's object. `version` is the `resourceVersion`.
#[must_use]
pub fn object(class: &Class, worker: &Worker, version: &str) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata(class, worker, version),
        "spec": spec(class, worker),
        "status": status(worker),
    })
}

/// The part of [`object`] that all kinds have.
#[must_use]
pub fn metadata(class: &Class, worker: &Worker, version: &str) -> Value {
    json!({
        "name": name(&class.name, &worker.id),
        "namespace": class.namespace,
        "uid": uid(class, &worker.id).to_string(),
        "resourceVersion": version,
        // Nobody knows when a worker came, and clients expect the field.
        "creationTimestamp": null,
        "labels": { CLASS_LABEL: class.name, MANAGED_BY_LABEL: MANAGED_BY },
    })
}

/// The uid of a worker's object: it stays as long as the class does.
#[must_use]
pub fn uid(class: &Class, id: &str) -> Uuid {
    Uuid::new_v5(&class.uid, id.as_bytes())
}

/// How a worker's state is called.
#[must_use]
pub fn state(state: State) -> &'static str {
    match state {
        State::Awake => "Awake",
        State::Asleep => "Asleep",
    }
}

fn spec(class: &Class, worker: &Worker) -> Value {
    present([
        ("class", Some(json!(class.name))),
        ("id", Some(json!(worker.id))),
        ("address", Some(json!(worker.address))),
        ("script", worker.script.as_ref().map(|it| json!(it))),
        ("objectClass", worker.class.as_ref().map(|it| json!(it))),
        ("name", worker.name.as_ref().map(|it| json!(it))),
        ("objectId", worker.object_id.as_ref().map(|it| json!(it))),
    ])
}

fn status(worker: &Worker) -> Value {
    let alarm = worker
        .alarm
        .as_ref()
        .map(|it| json!({ "scheduled": it.scheduled, "due": it.due, "retries": it.retries }));
    let usage = worker.usage.map(|it| {
        present([
            ("memoryBytes", it.memory_bytes.map(|it| json!(it))),
            ("runMillis", it.run_millis.map(|it| json!(it))),
            ("events", Some(json!(it.events))),
        ])
    });
    present([
        ("state", Some(json!(state(worker.state)))),
        ("pod", worker.pod.as_ref().map(|it| json!(it))),
        ("revision", worker.revision.as_ref().map(|it| json!(it))),
        (
            "awakeSince",
            worker.awake_since.as_ref().map(|it| json!(it)),
        ),
        (
            "lastActive",
            worker.last_active.as_ref().map(|it| json!(it)),
        ),
        ("usage", usage),
        ("alarm", alarm),
        ("keys", worker.keys.map(|it| json!(it))),
        ("bytes", Some(json!(worker.bytes))),
    ])
}

/// An object of the fields that have a value.
fn present<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let mut map = Map::new();
    for (name, value) in fields {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_name_is_split_at_its_last_dot() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(parse_name(&name("a.b", id)), Some(("a.b", id)));
        assert_eq!(parse_name(&format!(".{id}")), None);
        assert_eq!(parse_name(&format!("a.{}", id.to_uppercase())), None);
        assert_eq!(parse_name("a.b"), None);
        assert_eq!(parse_name(id), None);
    }

    #[test]
    fn the_uid_is_of_the_class_and_the_worker() {
        let (class, worker) = (sample::class(), sample::worker());
        let uid = |class: &Class| metadata(class, &worker, "1")["uid"].clone();
        let other = Class {
            uid: Uuid::from_u128(2),
            ..class.clone()
        };
        assert_eq!(uid(&class), uid(&class.clone()));
        assert_ne!(uid(&class), uid(&other));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let object = object(&sample::class(), &sample::worker(), "7");
        assert_eq!(object["apiVersion"], "runtime.portside.dev/v1alpha1");
        assert_eq!(object["metadata"]["resourceVersion"], "7");
        assert_eq!(object["metadata"]["labels"]["portside.dev/class"], "shop");
        assert!(object["metadata"]["creationTimestamp"].is_null());
        assert_eq!(object["spec"]["script"], "cart");
        assert!(object["spec"].get("objectClass").is_none());
        assert_eq!(object["status"]["state"], "Awake");
        assert!(object["status"].get("alarm").is_none());
    }
}
