//! The application: a server that sends each request to a worker, and workers that keep a list.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use portside_core::alarm::Alarm;
use portside_core::ids::WorkerKey;
use portside_core::keys::KeyRange;
use portside_core::migrations::Origin;
use portside_core::objects::ObjectId;
use portside_core::write::Value;
use portside_exchange::{Body, Request as Fetch};
use portside_worker::engine::Shared;
use portside_worker::event::Delivered;
use portside_worker::host::{Identity, Object};
use portside_worker::instance::Instance;
use portside_worker::link::{Content, Failure, Head, LinkId};

use crate::checker::{ALARM, Entry, Kind, Wrong};
use crate::database::Database;
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
    /// As the request of a client, which may ask for a WebSocket.
    pub fn fetch(self, websocket: bool) -> Fetch {
        Fetch {
            method: Method::GET,
            url: self.url(),
            headers: HeaderMap::new(),
            body: Body::Empty,
            websocket,
        }
    }

    /// As it is sent on a WebSocket.
    pub fn url(self) -> String {
        let append = self.appends.unwrap_or_default();
        let alarm = self.alarm_in.unwrap_or_default();
        format!("http://sim/{}/{append}/{alarm}", self.key)
    }

    /// The same from a URL, or from what the server sends to the worker.
    pub fn parse(text: &str) -> Option<Self> {
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
    instance.respond(link, full(body));
    instance.end_request(link);
}

/// An answer with this list.
pub(crate) fn full(list: Vec<u8>) -> Head {
    Head {
        status: StatusCode::OK,
        reason: Bytes::new(),
        headers: HeaderMap::new(),
        content: Content::Full(Bytes::from(list)),
    }
}

/// A worker: each message may append, and is answered with the whole list. Some turns are killed after half of their
/// writes.
pub(crate) fn worker(host: Arc<Host>) -> Code {
    Box::new(move |instance, event| {
        let mut instance = instance.borrow_mut();
        let mut keys = Keys {
            instance: &mut instance,
            database: None,
        };
        match event {
            Delivered::Connected { port, .. } => keys.instance.start_port(port),
            Delivered::Message { port, data } => {
                let operation = std::str::from_utf8(&data).ok().and_then(Operation::parse);
                let list = keys.perform(&host, operation)?;
                // Whoever has gone needs no answer.
                let _ = keys.instance.post(port, &list, None);
            }
            Delivered::Alarm(_) => keys.alarm(&host)?,
            _ => {}
        }
        Ok(())
    })
}

/// The class of objects.
fn class() -> Origin {
    Origin {
        tag: String::new(),
        name: "List".to_owned(),
    }
}

/// Who a worker or an object is.
pub(crate) fn address(key: usize, is_object: bool) -> Option<WorkerKey> {
    let name = key.to_string();
    match is_object {
        true => Some(ObjectId::of_name(&class(), &name).address(&class())),
        false => WorkerKey::new("w.js", &name).ok(),
    }
}

/// Who an object is, as its instance knows it.
pub(crate) fn object(key: usize) -> Identity {
    let (class, name) = (class(), key.to_string());
    let id = ObjectId::of_name(&class, &name);
    Identity::Object(Object {
        address: id.address(&class),
        class: class.name.into(),
        id,
        name: Some(name.into()),
    })
}

/// Where an instance has its list: in its keys, or, if it is an object's, in its database.
pub(crate) struct Keys<'a> {
    pub instance: &'a mut Instance,
    pub database: Option<&'a RefCell<Database>>,
}

impl Keys<'_> {
    /// Does what a client asks for; returns the whole list. An error says that the turn is killed.
    pub fn perform(
        &mut self,
        host: &Host,
        operation: Option<Operation>,
    ) -> Result<Vec<u8>, String> {
        let is_killed = host.kills();
        if let Some(operation) = operation {
            if let Some(entry) = operation.appends {
                self.append(entry, is_killed)?;
                if let Some(delay) = operation.alarm_in {
                    self.put(ARMED.to_owned(), entry);
                    let at = host.now_ms() + delay as i64;
                    self.instance.set_alarm(Some(Alarm::at(at)));
                }
            } else if is_killed {
                return Err("killed".to_owned());
            }
        }
        Ok(self.list())
    }

    /// The alarm has come: appends what it is to append. An error says that the turn is killed.
    pub fn alarm(&mut self, host: &Host) -> Result<(), String> {
        let armed = self.get(ARMED);
        self.append(armed | ALARM, host.kills())?;
        self.instance.alarm_ended(true, host.now_ms());
        Ok(())
    }

    /// Writes an entry, and then how many there are: unless it is killed in between.
    fn append(&mut self, entry: Entry, is_killed: bool) -> Result<(), String> {
        let length = self.get(LENGTH);
        self.put(HALF.to_owned(), entry);
        self.put(format!("entry {length:06}"), entry);
        if is_killed {
            return Err("killed".to_owned());
        }
        self.write(HALF.to_owned(), None);
        self.put(LENGTH.to_owned(), length + 1);
        Ok(())
    }

    /// Zero if there is none.
    fn get(&self, key: &str) -> u64 {
        let value = match self.database {
            Some(database) => database.borrow().rows().get(key).cloned(),
            None => self.instance.storage.peek(key).flatten().cloned(),
        };
        value.and_then(|value| number(&value)).unwrap_or_default()
    }

    fn put(&mut self, key: String, number: u64) {
        self.write(key, Some(value(number)));
    }

    fn write(&mut self, key: String, value: Option<Value>) {
        match (self.database, value) {
            (Some(database), value) => {
                database.borrow_mut().write(key, value);
                self.instance.database_changed();
            }
            (None, Some(value)) => drop(self.instance.put(key, value)),
            (None, None) => drop(self.instance.delete(key)),
        }
    }

    fn list(&self) -> Vec<u8> {
        let entries = match self.database {
            Some(database) => {
                let rows = database.borrow();
                let rows = rows
                    .rows()
                    .iter()
                    .filter(|(key, _)| entries().contains(key));
                rows.map(|(_, value)| value.clone()).collect()
            }
            None => {
                let entries = self.instance.storage.select(&entries(), None);
                entries
                    .into_iter()
                    .map(|(_, value)| value)
                    .collect::<Vec<_>>()
            }
        };
        entries
            .iter()
            .flat_map(|value| value.iter().copied())
            .collect()
    }
}

fn entries() -> KeyRange {
    KeyRange {
        prefix: Some("entry ".to_owned()),
        ..KeyRange::default()
    }
}

/// The list that the store has of a worker, or of an object. An error if its parts are not the work of whole turns.
pub(crate) fn stored_list(
    entries: &BTreeMap<String, Value>,
    is_object: bool,
) -> Result<Vec<Entry>, Wrong> {
    match is_object {
        true => read_list(Database::load(entries)?.rows()),
        false => read_list(entries),
    }
}

fn read_list(stored: &BTreeMap<String, Value>) -> Result<Vec<Entry>, Wrong> {
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
