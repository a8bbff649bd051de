//! The application: a server that sends each request to a worker, and workers that keep a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use portside_core::alarm::Alarm;
use portside_core::ids::WorkerKey;
use portside_core::keys::KeyRange;
use portside_core::write::Value;
use portside_exchange::{Body, Request as Fetch};
use portside_worker::engine::Shared;
use portside_worker::event::Delivered;
use portside_worker::instance::Instance;
use portside_worker::link::{Content, Failure, Head, LinkId};

use crate::checker::{ALARM, Entry, Kind, Wrong};
use crate::host::Host;

/// Has how many entries there are.
const LENGTH: &str = "length";
/// Is there in the middle of a turn that appends.
const HALF: &str = "half";
/// Has the entry that set the alarm last.
const ARMED: &str = "armed";

/// What runs an instance's events.
pub(crate) type Code = Box<dyn FnMut(&Shared, Delivered) -> Result<(), String>>;

/// What a client asks of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Operation {
    pub key: usize,
    pub appends: Option<Entry>,
    /// With an entry: sets the alarm for so many milliseconds later, which appends another entry.
    pub alarm_in: Option<u64>,
}

impl Operation {
    /// As the request of a client.
    pub fn fetch(self) -> Fetch {
        let (append, alarm) = (
            self.appends.unwrap_or_default(),
            self.alarm_in.unwrap_or_default(),
        );
        Fetch {
            method: Method::GET,
            url: format!("http://sim/{}/{append}/{alarm}", self.key),
            headers: HeaderMap::new(),
            body: Body::Empty,
            websocket: false,
        }
    }

    /// The same from a URL, or from what the server sends to the worker.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(4, '/').map(str::parse);
        let mut next = || parts.next()?.ok();
        let (alarm, append): (u64, u64) = (next()?, next()?);
        Some(Self {
            key: next()? as usize,
            appends: (append != 0).then_some(append),
            alarm_in: (alarm != 0).then_some(alarm),
        })
    }
}

fn number(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

fn value(number: u64) -> Value {
    Value::from(number.to_be_bytes().as_slice())
}

/// The list in an answer.
pub(crate) fn answered_list(body: &[u8]) -> Vec<Entry> {
    body.chunks(8).filter_map(number).collect()
}

/// The server: one port for each request.
pub(crate) fn server(keys: Vec<WorkerKey>) -> Code {
    let mut requests: BTreeMap<LinkId, LinkId> = BTreeMap::new();
    Box::new(move |instance, event| {
        let mut instance = instance.borrow_mut();
        match event {
            Delivered::Fetch { link, request, .. } => {
                let Some(operation) = Operation::parse(&request.url) else {
                    instance.respond_failed(link, Failure::failed("not a request"));
                    return Ok(());
                };
                let port = instance.open_port(keys[operation.key].clone(), Some(link));
                instance.start_port(port);
                requests.insert(port, link);
                // On a port that could not be opened the failure is heard as an event.
                let _ = instance.post(port, request.url.as_bytes(), Some(link));
            }
            Delivered::Message { port, data } => {
                if let Some(link) = requests.remove(&port) {
                    respond(&mut instance, link, data);
                    instance.close_port(port);
                }
            }
            Delivered::PortFailed { port, .. } | Delivered::PortClosed { port, .. } => {
                if let Some(link) = requests.remove(&port) {
                    instance.respond_failed(link, Failure::failed("the worker went away"));
                    instance.end_request(link);
                }
            }
            _ => {}
        }
        Ok(())
    })
}

fn respond(instance: &mut Instance, link: LinkId, body: Vec<u8>) {
    let head = Head {
        status: StatusCode::OK,
        reason: Bytes::new(),
        headers: HeaderMap::new(),
        content: Content::Full(Bytes::from(body)),
    };
    instance.respond(link, head);
    instance.end_request(link);
}

/// A worker: each message may append, and is answered with the whole list. Some turns are killed after half of their
/// writes.
pub(crate) fn worker(host: Arc<Host>) -> Code {
    Box::new(move |instance, event| {
        let mut instance = instance.borrow_mut();
        match event {
            Delivered::Connected { port } => instance.start_port(port),
            Delivered::Message { port, data } => {
                let is_killed = host.kills();
                let text = std::str::from_utf8(&data).ok();
                let operation = text.and_then(Operation::parse);
                if let Some(operation) = operation {
                    if let Some(entry) = operation.appends {
                        append(&mut instance, entry, is_killed)?;
                        if let Some(delay) = operation.alarm_in {
                            instance.put(ARMED.to_owned(), value(entry));
                            let at = host.now_ms() + delay as i64;
                            instance.set_alarm(Some(Alarm::at(at)));
                        }
                    } else if is_killed {
                        return Err("killed".to_owned());
                    }
                }
                let list = list(&instance);
                // Whoever has gone needs no answer.
                let _ = instance.post(port, &list, None);
            }
            Delivered::Alarm(_) => {
                let armed = instance.storage.peek(ARMED).flatten();
                let armed = armed.and_then(|value| number(value)).unwrap_or_default();
                append(&mut instance, armed | ALARM, host.kills())?;
                instance.alarm_ended(true, host.now_ms());
            }
            _ => {}
        }
        Ok(())
    })
}

/// Writes an entry, and then how many there are: unless it is killed in between.
fn append(instance: &mut Instance, entry: Entry, is_killed: bool) -> Result<(), String> {
    let length = instance.storage.peek(LENGTH).flatten();
    let length = length.and_then(|value| number(value)).unwrap_or_default();
    instance.put(HALF.to_owned(), value(entry));
    instance.put(format!("entry {length:06}"), value(entry));
    if is_killed {
        return Err("killed".to_owned());
    }
    instance.delete(HALF.to_owned());
    instance.put(LENGTH.to_owned(), value(length + 1));
    Ok(())
}

fn entries() -> KeyRange {
    KeyRange {
        prefix: Some("entry ".to_owned()),
        ..KeyRange::default()
    }
}

fn list(instance: &Instance) -> Vec<u8> {
    let entries = instance.storage.select(&entries(), None);
    entries
        .iter()
        .flat_map(|(_, value)| value.iter().copied())
        .collect()
}

/// The list that a worker has stored. An error if its parts are not the work of whole turns.
pub(crate) fn read_list(stored: &BTreeMap<String, Value>) -> Result<Vec<Entry>, Wrong> {
    let length = stored.get(LENGTH).and_then(|value| number(value));
    let (mut list, mut is_gapless) = (Vec::new(), true);
    for (key, value) in stored {
        if entries().contains(key) {
            is_gapless &= *key == format!("entry {:06}", list.len());
            list.extend(number(value));
        }
    }
    let length = length.unwrap_or_default() as usize;
    let kind = if stored.contains_key(HALF) {
        Kind::HalfTurn
    } else if is_gapless && list.len() > length {
        Kind::Overwritten
    } else if !is_gapless || list.len() < length {
        Kind::Gap
    } else {
        return Ok(list);
    };
    let keys: Vec<_> = stored.keys().collect();
    Err(Wrong::new(
        kind,
        format_args!("the length is {length}, the keys are {keys:?}"),
    ))
}
