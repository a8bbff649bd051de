//! What clients asked of one worker and what they were told, with times of one clock.

use std::collections::HashMap;

use serde_json::Value;

use crate::sockets::BROKE;

/// Microseconds since the round began, by the lab's own monotonic clock.
pub type Micros = u64;

/// One copy of the worker's module in memory, as a number that is the lab's own.
pub type Instance = u32;

/// One entry of a worker's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Unique in a round.
    pub value: u32,
    /// Who appended it.
    pub by: Instance,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Append a value and answer.
    Append(u32),
    /// The same, and tell another worker of it.
    Relay(u32),
    /// Remember a value, for an alarm to append.
    Later(u32),
    /// Write half of an append and loop until the CPU limit: never answered, and to have no effect.
    Half(u32),
    /// Read all of it.
    Read,
}

/// What a read told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The list.
    pub first: Vec<Entry>,
    /// The same list as its other key has it.
    pub second: Vec<Entry>,
    /// Values that wait for an alarm.
    pub pending: Vec<u32>,
    /// The times for which the alarm was set, each once.
    pub sets: Vec<u64>,
    /// The times at which it came, and whether that was a retry.
    pub fired: Vec<(u64, bool)>,
    /// Of a book: the marks of entries, of which each append deletes the one before.
    pub marks: Option<Vec<usize>>,
}

/// A client's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Appended, as the entry of this index.
    Appended(usize),
    /// Remembered for the alarm.
    Accepted,
    /// Read.
    Contents(Contents),
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Which client. It waits for each answer, but for appends that it sends one right after another.
    pub client: u32,
    /// Whether it asked a pod itself, and not the front door.
    pub at_pod: bool,
    /// The value that it sent just before on the same socket, without waiting for the answer.
    pub after: Option<u32>,
    /// What it asked for.
    pub action: Action,
    /// Just before it asked.
    pub invoked: Micros,
    /// Just after it was told.
    pub completed: Micros,
    /// What it was told, and by whom; or why it does not know what became of it.
    pub outcome: Result<(Instance, Answer), String>,
}

impl Operation {
    /// The answer, where there is one.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        self.outcome.as_ref().ok().map(|(_, answer)| answer)
    }

    /// Whether it was a request to the gateway and has no answer.
    #[must_use]
    pub fn failed_at_gateway(&self) -> bool {
        !self.at_pod && self.outcome.as_ref().is_err_and(|why| why != BROKE)
    }

    /// What a read told, if this is one.
    #[must_use]
    pub fn contents(&self) -> Option<&Contents> {
        match self.answer() {
            Some(Answer::Contents(contents)) => Some(contents),
            _ => None,
        }
    }
}

/// Everything that was asked of one worker.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The worker's name.
    pub worker: String,
    /// In any order.
    pub operations: Vec<Operation>,
    /// What had left this worker.
    pub mirrored: Vec<Mirrored>,
    /// Values that still waited for their alarm long after the last fault.
    pub overdue: Vec<u32>,
    /// It did not answer long after the last fault.
    pub silent: bool,
    /// What is wrong with its database in the store.
    pub damage: Option<String>,
}

/// A relay that its mirror knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirrored {
    /// The relay's value.
    pub value: u32,
    /// Whether it got the message, or a port alone.
    pub told: bool,
}

/// Names of instances as numbers, in the order in which they were first heard of.
#[derive(Debug, Default)]
pub struct Instances(HashMap<String, Instance>);

impl Instances {
    /// The instance of a name.
    pub fn number(&mut self, name: &str) -> Instance {
        let next = Instance::try_from(self.0.len()).unwrap_or(Instance::MAX);
        *self.0.entry(name.to_owned()).or_insert(next)
    }

    /// Reads a worker's answer to an action; `Err` says what is wrong with it.
    pub fn parse(&mut self, action: Action, reply: &Value) -> Result<(Instance, Answer), String> {
        let malformed = || format!("not an answer: {reply}");
        if let Some(error) = reply["error"].as_str() {
            return Err(format!("the worker threw: {error}"));
        }
        let instance = self.number(reply["instance"].as_str().ok_or_else(malformed)?);
        let answer = match action {
            Action::Append(_) | Action::Relay(_) => {
                let index = reply["index"].as_u64().ok_or_else(malformed)?;
                Answer::Appended(usize::try_from(index).map_err(|_| malformed())?)
            }
            Action::Later(_) | Action::Half(_) => Answer::Accepted,
            Action::Read => {
                let list = |entries: &Value, instances: &mut Self| -> Option<Vec<Entry>> {
                    let entries = entries.as_array()?.iter();
                    entries.map(|entry| instances.entry(entry)).collect()
                };
                let numbers = |name: &str| -> Option<Vec<u64>> {
                    let numbers = reply[name].as_array()?.iter();
                    numbers.map(Value::as_u64).collect()
                };
                let fired = reply["fired"].as_array().ok_or_else(malformed)?.iter();
                let small = |numbers: Vec<u64>| numbers.into_iter().map(u32::try_from).collect();
                let pending: Result<_, _> = small(numbers("pending").ok_or_else(malformed)?);
                Answer::Contents(Contents {
                    first: list(&reply["first"], self).ok_or_else(malformed)?,
                    second: list(&reply["second"], self).ok_or_else(malformed)?,
                    pending: pending.map_err(|_| malformed())?,
                    sets: numbers("sets").ok_or_else(malformed)?,
                    fired: fired
                        .map(|it| Some((it[0].as_u64()?, it[1].as_bool()?)))
                        .collect::<Option<_>>()
                        .ok_or_else(malformed)?,
                    marks: numbers("marks")
                        .map(|marks| marks.into_iter().map(|mark| mark as usize).collect()),
                })
            }
        };
        Ok((instance, answer))
    }

    fn entry(&mut self, entry: &Value) -> Option<Entry> {
        let (value, by) = entry.as_str()?.split_once('~')?;
        Some(Entry {
            value: value.parse().ok()?,
            by: self.number(by),
        })
    }
}
