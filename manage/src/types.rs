//! Questions and answers, in JSON.
//!
//! | | | answer |
//! |---|---|---|
//! | `GET` | `/workers?limit=&after=&script=&state=` | [`Workers`] |
//! | `GET` | `/workers/WORKER` | [`Worker`] |
//! | `DELETE` | `/workers/WORKER` | nothing |
//! | `POST` | `/workers/WORKER/wake`, `/workers/WORKER/sleep` | nothing |
//! | `POST` | `/workers/WORKER/move` | [`Moved`]; [`Move`] is asked |
//! | `GET` | `/workers/WORKER/keys?prefix=&after=&limit=` | [`Entries`] |
//! | `GET`, `PUT`, `DELETE` | `/workers/WORKER/key?name=KEY` | [`Entry`]; a value as [`crate::json`] has it is put |
//! | `POST` | `/workers/WORKER/exec` | [`Evaluated`]; [`Exec`] is asked. 409 for what it throws |
//! | `POST` | `/workers/WORKER/inspect` | [`Inspected`], in a cluster |
//! | `POST` | `/workers/WORKER/sql` | [`Rows`]; [`Sql`] is asked |
//! | `GET` | `/workers/WORKER/log?follow=&tail=`, `/log?follow=&tail=` | text, a line each |
//! | `GET` | `/events?start=&after=` | [`Event`]s, a line each, until it ends; 410 if the pod no longer knows what followed |
//! | `GET` | `/identity` | [`Identity`], in a cluster |
//!
//! `WORKER` is a worker's id, 32 hexadecimal digits, or its address, `SCRIPT#NAME`; of a Durable Object `CLASS#NAME` or `CLASS#ID`; it is percent-encoded.
//! What goes wrong is a [`Problem`]: 400 for what cannot be meant, 404 for what is not there, 409 for what
//! cannot be done now, 503 for what the database does not answer. 421: another process has the worker, so ask that.

use portside_core::ids::WorkerId;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Where `portside dev` answers, before `/workers`.
pub const PATH: &str = "/cdn-cgi/portside";

/// How people say which worker they mean, for those who have said something else.
pub const ADDRESSES: &str = "a worker is SCRIPT#NAME, an object CLASS#NAME or CLASS#ID, or either by its id of 32 hexadecimal digits";

/// For whom a pod's token is by which it proves to the API server of workers who it is.
pub const AUDIENCE: &str = "runtime.portside.dev";

/// The name in that API server's certificate.
pub const API_SERVER: &str = "apiserver.runtime.portside.dev";

/// More keys of a worker are not counted.
pub const MOST_KEYS: u64 = portside_core::stored::Size::MOST_KEYS;

/// Whether a worker has an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has, or is about to.
    Awake,
    /// It is stored, and has none.
    Asleep,
}

/// What a worker was before it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Before {
    /// Neither stored nor awake.
    Absent,
    /// See [`State::Awake`].
    Awake,
    /// See [`State::Asleep`].
    Asleep,
}

/// What a pod tells of its workers, in the order in which it happened: a line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// The first line: what comes follows after `seq` of this start of the pod.
    Begin {
        /// No two starts of pods have the same.
        start: String,
        /// The number of the last event before.
        seq: u64,
    },
    /// A worker woke, went to sleep, came or went.
    Change {
        /// Its number, one more than that of the event before.
        seq: u64,
        /// What the worker was.
        before: Before,
        /// What it is; of one that is gone what it was.
        worker: Box<Worker>,
        /// Whether it is neither stored nor awake any more.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        gone: bool,
    },
    /// Nothing has happened for a while.
    Alive {
        /// The number of the last event.
        seq: u64,
    },
    /// The pod ends. Of all of its workers it has told before that they sleep.
    End,
}

/// Who a pod is.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Its service account's token, for that API server alone. A secret.
    pub token: String,
}

/// An alarm that is armed. Times are in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// For when it was set.
    pub scheduled: String,
    /// When it is delivered next.
    pub due: String,
    /// How often it was delivered in vain.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
}

/// A worker, or a Durable Object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// 32 hexadecimal digits. No two workers of an application have the same.
    pub id: String,
    /// `SCRIPT#NAME`; of an object `CLASS#NAME`, or `CLASS#ID` if its name is not known.
    pub address: String,
    /// The path of its script; of an object nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The object's class, by the name that it has now; of a worker nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What it is called. Empty for a script's default worker; nothing for an object whose name is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The object's id, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
    /// Whether it is awake.
    pub state: State,
    /// Since when, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awake_since: Option<String>,
    /// When anything last reached it, in RFC 3339; of one that is asleep nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_active: Option<String>,
    /// The pod in which it is awake, if that has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The revision of the code that it runs there, if that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What it uses; of one that is asleep nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Its alarm, if one is armed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Alarm>,
    /// How many keys it has, up to [`MOST_KEYS`]; nothing for an object, whose database is stored in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// The bytes of these keys and their values, or of the parts of its database.
    pub bytes: u64,
}

/// What a worker that is awake uses. An object lives in the isolate of a server, with others: what is its of that nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Bytes of its isolate: of its JavaScript heap as of its last collection of garbage, and of what it holds outside of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// For how many milliseconds its JavaScript has run since it woke. What else kept the processor meanwhile counts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_millis: Option<u64>,
    /// How many requests, messages and alarms it has taken since it woke.
    pub events: u64,
}

/// A part of a list, which may be long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// Some of it.
    pub items: Vec<T>,
    /// What to ask for `after`, if there may be more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            next: None,
        }
    }
}

/// Workers, in the order of [`WorkerId::shard`] and then of ids.
pub type Workers = Page<Worker>;

/// Keys, in the order of their bytes.
pub type Entries = Page<Entry>;

/// A key of a worker, with its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value, as [`crate::json`] has it; nothing if that cannot be shown.
    #[serde(default)]
    pub value: Json,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// The bytes of the value.
    pub bytes: u64,
}

/// A question to an object's database. Nothing that it changes stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sql {
    /// One or more statements; the rows of the last are the answer.
    pub query: String,
}

/// Where a worker is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The name of the pod that is to have it; else the one of the others that has the fewest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

/// Where it is now. It stays there until workers move to even out what pods have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The name of the pod.
    pub pod: String,
}

/// An expression to be evaluated in a worker's instance, which is woken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// In JavaScript; `await` may be in it. `this` is the object, or what a worker's script exports by default; `module` is all that it
    /// exports. If it is no expression it is statements, of which `return` gives the value.
    pub expression: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// As the console shows it.
    pub text: String,
    /// As [`crate::json`] has it; nothing if it cannot be cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
}

/// Where debuggers that speak Chrome's DevTools protocol attach to a worker's isolate, which has begun anew for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspected {
    /// The pod that has it, if that has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The port of the pod's loopback address.
    pub port: u16,
    /// The path of the isolate's WebSocket. A secret: whoever knows it, and reaches the port, can run code in the worker.
    pub path: String,
}

/// The rows of a statement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows' fields: texts, numbers and nulls as they are, whole numbers beyond 2⁵³ and blobs as [`crate::json`] has them.
    pub rows: Vec<Vec<Json>>,
    /// Whether there are more, which were left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// For people.
    pub error: String,
}

impl Worker {
    /// All of its texts may have so many bytes together: those with the longest names have fewer.
    pub const MOST_TEXT: usize = 16 << 10;

    /// The bytes of its texts.
    #[must_use]
    pub fn text(&self) -> usize {
        let alarm = self.alarm.as_ref();
        let there = [
            self.script.as_ref(),
            self.class.as_ref(),
            self.name.as_ref(),
            self.object_id.as_ref(),
            self.awake_since.as_ref(),
            self.last_active.as_ref(),
            self.pod.as_ref(),
            self.revision.as_ref(),
            alarm.map(|it| &it.scheduled),
            alarm.map(|it| &it.due),
        ];
        let there: usize = there.into_iter().flatten().map(String::len).sum();
        self.id.len() + self.address.len() + there
    }

    /// Whether there can be such a one: its id is one, as it is written, and its texts are not too long.
    #[must_use]
    pub fn can_be(&self) -> bool {
        let is_written = !self.id.bytes().any(|it| it.is_ascii_uppercase());
        is_written && self.place().is_some() && self.text() <= Self::MOST_TEXT
    }

    /// Its place in the order of pages.
    pub(crate) fn place(&self) -> Option<WorkerId> {
        parse_id(&self.id)
    }
}

/// The id in 32 hexadecimal digits.
#[must_use]
pub fn parse_id(text: &str) -> Option<WorkerId> {
    let is_id = text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_id)?;
    Some(WorkerId(number.to_be_bytes()))
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde has it.
fn is_zero(number: &u32) -> bool {
    *number == 0
}
