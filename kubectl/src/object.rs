//! Workers from the objects that a cluster shows of them.

use anyhow::Context;
use bytes::Bytes;
use portside_manage::{Alarm, Before, Event, Page, State, Usage, Worker};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A `ServerlessWorker` of `runtime.portside.dev/v1alpha1`.
#[derive(Debug, Deserialize)]
pub struct Object {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    id: String,
    address: String,
    script: Option<String>,
    object_class: Option<String>,
    name: Option<String>,
    object_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    state: String,
    pod: Option<String>,
    revision: Option<String>,
    awake_since: Option<String>,
    last_active: Option<String>,
    usage: Option<Usage>,
    alarm: Option<Alarm>,
    keys: Option<u64>,
    bytes: u64,
}

/// A worker with its object's name.
#[derive(Debug, Serialize)]
pub struct Named {
    /// `CLASS.ID`
    pub object: String,
    /// What a pod tells of it.
    #[serde(flatten)]
    pub worker: Worker,
}

#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMetadata,
    items: Vec<Object>,
}

#[derive(Debug, Default, Deserialize)]
struct ListMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl From<Object> for Named {
    fn from(object: Object) -> Self {
        let Object {
            metadata,
            spec,
            status,
        } = object;
        let state = match &*status.state {
            "Awake" => State::Awake,
            _ => State::Asleep,
        };
        Self {
            object: metadata.name,
            worker: Worker {
                id: spec.id,
                address: spec.address,
                script: spec.script,
                class: spec.object_class,
                name: spec.name,
                object_id: spec.object_id,
                state,
                awake_since: status.awake_since,
                last_active: status.last_active,
                pod: status.pod,
                revision: status.revision,
                usage: status.usage,
                alarm: status.alarm,
                keys: status.keys,
                bytes: status.bytes,
            },
        }
    }
}

/// A worker, from its object.
///
/// # Errors
/// It is none.
pub fn worker(object: Json) -> anyhow::Result<Named> {
    let object: Object = serde_json::from_value(object).context(UNREADABLE)?;
    Ok(object.into())
}

/// A page, from a list.
///
/// # Errors
/// It is none.
pub fn page(list: Json) -> anyhow::Result<Page<Named>> {
    let list: List = serde_json::from_value(list).context(UNREADABLE)?;
    Ok(Page {
        items: list.items.into_iter().map(Named::from).collect(),
        next: list.metadata.next.filter(|next| !next.is_empty()),
    })
}

const UNREADABLE: &str = "the cluster's API server of workers is of another version";

#[derive(Deserialize)]
struct Watched {
    r#type: String,
    object: Json,
}

/// A line of what happens, from one of a watch, nothing for what is no change; and the version from which a watch goes on after it.
///
/// # Errors
/// The watch is over, for this reason.
pub fn event(line: &[u8]) -> anyhow::Result<(Option<Bytes>, Option<String>)> {
    let Watched { r#type, object } = serde_json::from_slice(line).context(UNREADABLE)?;
    let version = object["metadata"]["resourceVersion"].as_str();
    let version = version.map(str::to_owned);
    let was = match object["status"]["state"].as_str() {
        Some("Awake") => Before::Asleep,
        _ => Before::Awake,
    };
    let (before, gone) = match &*r#type {
        "ADDED" => (Before::Absent, false),
        "MODIFIED" => (was, false),
        "DELETED" => (was, true),
        "BOOKMARK" => return Ok((None, version)),
        _ => {
            let why = object["message"].as_str().unwrap_or("the watch has failed");
            anyhow::bail!("{}", portside_verbs::printable(why));
        }
    };
    let Named { object, worker } = worker(object)?;
    let change = Event::Change {
        seq: 0,
        before,
        worker: Box::new(worker),
        gone,
    };
    let mut line = serde_json::to_value(&change)?;
    line["worker"]["object"] = object.into();
    // What it was a watch does not tell.
    line["guessed"] = (r#type == "MODIFIED").into();
    Ok((Some(format!("{line}\n").into()), version))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lobby() -> Json {
        json!({
            "metadata": {"name": "chat.00"},
            "spec": {"class": "chat", "id": "00", "address": "Room#lobby", "objectClass": "Room", "name": "lobby"},
            "status": {"state": "Awake", "pod": "chat-0", "bytes": 7, "alarm": {"scheduled": "a", "due": "b", "retries": 0}},
        })
    }

    #[test]
    fn a_list_is_a_page_and_its_end_has_no_next() {
        let list = |next: &str| json!({"metadata": {"continue": next}, "items": [lobby()]});
        let first = page(list("x")).unwrap();
        assert_eq!(first.next.as_deref(), Some("x"));
        let Named { object, worker } = &first.items[0];
        assert_eq!((&**object, &*worker.address), ("chat.00", "Room#lobby"));
        assert_eq!(
            (worker.state, worker.class.as_deref()),
            (State::Awake, Some("Room"))
        );
        assert_eq!(page(list("")).unwrap().next, None);
        assert!(page(json!({"items": [{}]})).is_err());
    }

    #[test]
    fn a_change_is_an_event_and_an_error_ends_it() {
        let line = |kind: &str, object: Json| json!({"type": kind, "object": object}).to_string();
        let (told, _) = event(line("DELETED", lobby()).as_bytes()).unwrap();
        let told = told.unwrap();
        let Event::Change { worker, gone, .. } = serde_json::from_slice(&told).unwrap() else {
            panic!("a change");
        };
        assert!(gone && worker.pod.as_deref() == Some("chat-0"));
        let mark = json!({"metadata": {"resourceVersion": "7"}});
        let (told, version) = event(line("BOOKMARK", mark).as_bytes()).unwrap();
        assert_eq!((told, version.as_deref()), (None, Some("7")));
        let error = line("ERROR", json!({"message": "too old", "code": 410}));
        assert!(
            event(error.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("too old")
        );
    }
}
