//! Workers as `kubectl get` prints them: `meta.k8s.io/v1` Table.

use jiff::Timestamp;
use portside_manage::Worker;
use serde_json::{Value, json};

use crate::object::{self, Class};
use crate::status::Refusal;

/// What comes along with each row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Include {
    /// The cells alone.
    None,
    /// The object's metadata.
    #[default]
    Metadata,
    /// The object.
    Object,
}

impl Include {
    /// Reads the parameter `includeObject`.
    ///
    /// # Errors
    ///
    /// It has another value.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(Refusal::bad_request(format!(
                "includeObject is {other:?}: it may be None, Metadata or Object"
            ))),
        }
    }
}

/// Name, type, priority and description of each column.
const COLUMNS: [(&str, &str, u8, &str); 15] = [
    ("Name", "string", 0, "The class and the worker's id."),
    ("Class", "string", 0, "The class."),
    (
        "Address",
        "string",
        0,
        "The script, or the object's class, and the name.",
    ),
    ("State", "string", 0, "Whether the worker is awake."),
    ("Pod", "string", 0, "The pod in which it is awake."),
    ("Awake", "string", 0, "For how long it has been awake."),
    (
        "Last-Active",
        "string",
        0,
        "How long ago anything last reached it.",
    ),
    ("Next-Alarm", "string", 0, "In how long its alarm is due."),
    (
        "Keys",
        "integer",
        0,
        "How many keys it has stored, up to 1000.",
    ),
    ("Bytes", "integer", 0, "The bytes that it has stored."),
    (
        "Revision",
        "string",
        1,
        "The revision of the code that it runs.",
    ),
    ("Script", "string", 1, "The path of its script."),
    ("Memory", "string", 1, "The memory of its isolate."),
    (
        "Run",
        "string",
        1,
        "For how long its JavaScript has run since it woke.",
    ),
    (
        "Events",
        "integer",
        1,
        "How many requests, messages and alarms it has taken since it woke.",
    ),
];

/// What each column of a row is.
#[must_use]
pub fn columns() -> Vec<Value> {
    let column = |(name, kind, priority, description): (&str, &str, u8, &str)| {
        json!({
            "name": name,
            "type": kind,
            "format": if name == "Name" { "name" } else { "" },
            "description": description,
            "priority": priority,
        })
    };
    COLUMNS.into_iter().map(column).collect()
}

/// A worker's row, as of `now`. `version` is the `resourceVersion`.
#[must_use]
pub fn row(
    class: &Class,
    worker: &Worker,
    version: &str,
    include: Include,
    now: Timestamp,
) -> Value {
    let mut row = json!({ "cells": cells(class, worker, now) });
    match include {
        Include::None => {}
        Include::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object::metadata(class, worker, version),
            });
        }
        Include::Object => row["object"] = object::object(class, worker, version),
    }
    row
}

fn cells(class: &Class, worker: &Worker, now: Timestamp) -> Vec<Value> {
    let ago = |time: Option<&String>| seconds(time, now).map(|it| age(-it));
    let usage = worker.usage;
    let due = worker.alarm.as_ref().map(|it| &it.due);
    vec![
        json!(object::name(&class.name, &worker.id)),
        json!(class.name),
        json!(worker.address),
        json!(object::state(worker.state)),
        text(worker.pod.clone()),
        text(ago(worker.awake_since.as_ref())),
        text(ago(worker.last_active.as_ref())),
        text(seconds(due, now).map(age)),
        json!(worker.keys),
        json!(worker.bytes),
        text(worker.revision.clone()),
        text(worker.script.clone()),
        text(usage.and_then(|it| it.memory_bytes).map(memory)),
        text(usage.and_then(|it| it.run_millis).map(run)),
        json!(usage.map(|it| it.events)),
    ]
}

fn text(cell: Option<String>) -> Value {
    json!(cell.unwrap_or_else(|| "-".to_owned()))
}

/// Bytes as `kubectl top` has them.
fn memory(bytes: u64) -> String {
    format!("{}Mi", bytes.div_ceil(1 << 20))
}

/// A time that programs ran.
fn run(millis: u64) -> String {
    format!("{}.{:03}s", millis / 1000, millis % 1000)
}

/// From now until then.
fn seconds(time: Option<&String>, now: Timestamp) -> Option<i64> {
    let time: Timestamp = time?.parse().ok()?;
    Some(time.as_second() - now.as_second())
}

/// A duration as people of Kubernetes read it: roughly two digits. What clocks that differ make negative is none.
fn age(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let two = |unit: i64, name: &str, part: i64, part_name: &str| {
        let rest = seconds % unit / part;
        let whole = seconds / unit;
        if rest == 0 {
            format!("{whole}{name}")
        } else {
            format!("{whole}{name}{rest}{part_name}")
        }
    };
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, "d", HOUR, "h"),
        _ => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let row = row(
            &sample::class(),
            &sample::worker(),
            "1",
            Include::Metadata,
            now,
        );
        let cells = row["cells"].as_array().unwrap();
        assert_eq!(cells.len(), COLUMNS.len());
        assert_eq!(
            cells[3..],
            [
                json!("Awake"),
                json!("shop-1"),
                json!("60m"),
                json!("60s"),
                json!("-"),
                json!(4),
                json!(2048),
                json!("3"),
                json!("cart"),
                json!("3Mi"),
                json!("1.500s"),
                json!(12),
            ]
        );
        assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    }

    #[test]
    fn includes_what_is_asked() {
        let row = |include| {
            row(
                &sample::class(),
                &sample::worker(),
                "1",
                include,
                Timestamp::UNIX_EPOCH,
            )
        };
        assert!(row(Include::None).get("object").is_none());
        assert_eq!(row(Include::Object)["object"]["kind"], "ServerlessWorker");
        assert_eq!(Include::parse("Object"), Ok(Include::Object));
        assert_eq!(Include::parse("All").unwrap_err().code, 400);
    }

    #[test]
    fn ages_are_short() {
        let ages = [
            -5, 0, 119, 125, 540, 3_600, 10_860, 86_400, 180_000, 864_000,
        ];
        let texts = [
            "0s", "0s", "119s", "2m5s", "9m", "60m", "3h1m", "24h", "2d2h", "10d",
        ];
        assert_eq!(ages.map(age), texts);
    }
}
