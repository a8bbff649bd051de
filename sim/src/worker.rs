//! A worker on a pod: loaded when somebody asks it something, and then in memory.

use std::collections::{BTreeMap, VecDeque};

use portside_core::ids::Fence;
use portside_core::write::{Value, WriteBatch};

use crate::checker::Entry;
use crate::mechanism::Mechanism;

/// A request on its way through a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub gateway: usize,
    pub number: u64,
    pub key: usize,
    pub appends: Option<Entry>,
    /// Sent on a connection that is open already, on which nobody asks who is active.
    pub on_link: bool,
}

/// What a pod says to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The worker's list.
    List(Vec<Entry>),
    /// It was not run: ask whoever is active.
    NotRun,
    /// Nobody knows whether it was run.
    Failed,
}

/// What a worker has in its pod besides its memory.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    pub inbox: VecDeque<Request>,
    pub phase: Phase,
    /// Commits whose fate is not known, of this instance or an earlier one.
    pub open_commits: usize,
}

#[derive(Debug, Default)]
pub(crate) enum Phase {
    #[default]
    Asleep,
    Loading,
    Awake(Instance),
}

/// A worker's memory, and its output gate.
#[derive(Debug)]
pub(crate) struct Instance {
    pub number: u64,
    pub fence: Fence,
    pub list: Vec<Entry>,
    issued: u64,
    durable: u64,
    held: VecDeque<(u64, Request, Answer)>,
}

impl Instance {
    /// What the stored entries say. An error if they are not the work of whole turns.
    pub fn load(
        number: u64,
        fence: Fence,
        entries: &BTreeMap<String, Value>,
    ) -> Result<Self, String> {
        Ok(Self {
            number,
            fence,
            list: read_list(entries)?,
            issued: 0,
            durable: 0,
            held: VecDeque::new(),
        })
    }

    /// Appends to the list; the number of the commit, and what it is to write.
    pub fn append(&mut self, entry: Entry) -> (u64, WriteBatch) {
        let mut batch = self.torn(entry);
        self.list.push(entry);
        batch.write("length".into(), Some(value(self.list.len() as u64)));
        self.issued += 1;
        (self.issued, batch)
    }

    /// What a turn has written that is killed before its end.
    pub fn torn(&self, entry: Entry) -> WriteBatch {
        let mut batch = WriteBatch::default();
        batch.write(format!("entry {:06}", self.list.len()), Some(value(entry)));
        batch
    }

    /// Passes an answer through the gate, or holds it back.
    pub fn answer(
        &mut self,
        request: Request,
        is_leased: bool,
        without: Option<Mechanism>,
    ) -> Option<(Request, Answer)> {
        let answer = Answer::List(self.list.clone());
        self.held.push_back((self.issued, request, answer));
        match without {
            Some(Mechanism::OutputGate) if is_leased => {
                self.held.pop_back().map(|(_, to, it)| (to, it))
            }
            _ => self.release(is_leased, without),
        }
    }

    pub fn settle(&mut self, seq: u64) {
        self.durable = self.durable.max(seq);
    }

    /// The next answer that may leave.
    pub fn release(
        &mut self,
        is_leased: bool,
        without: Option<Mechanism>,
    ) -> Option<(Request, Answer)> {
        let may_leave = is_leased || without == Some(Mechanism::LeaseInGate);
        if !may_leave || self.held.front()?.0 > self.durable {
            return None;
        }
        self.held.pop_front().map(|(_, to, it)| (to, it))
    }

    pub fn is_quiet(&self) -> bool {
        self.held.is_empty() && self.issued == self.durable
    }

    /// Those that get no answer any more.
    pub fn into_held(self) -> impl Iterator<Item = Request> {
        self.held.into_iter().map(|(_, request, _)| request)
    }
}

fn value(number: u64) -> Value {
    Value::from(number.to_be_bytes().as_slice())
}

/// The list that a worker has stored. An error if its parts do not belong together.
pub(crate) fn read_list(entries: &BTreeMap<String, Value>) -> Result<Vec<Entry>, String> {
    let number = |value: &Value| Some(u64::from_be_bytes(value[..].try_into().ok()?));
    let length = entries.get("length").map_or(Some(0), number);
    let list: Option<Vec<Entry>> = entries
        .iter()
        .filter(|(key, _)| *key != "length")
        .map(|(_, value)| number(value))
        .collect();
    let list = list.ok_or("a stored value is not a number")?;
    let mut places = entries.keys().filter(|key| *key != "length").enumerate();
    let is_whole = places.all(|(place, key)| format!("entry {place:06}") == *key);
    if length != Some(list.len() as u64) || !is_whole {
        let keys: Vec<_> = entries.keys().collect();
        return Err(format!(
            "a torn state: the length is {length:?}, the keys are {keys:?}"
        ));
    }
    Ok(list)
}
