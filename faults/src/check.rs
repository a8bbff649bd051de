//! Whether a history is one that a correct system can produce. Pure.
//!
//! A worker's list only grows, and every value is appended once, so the last read tells the order in which everything
//! happened: the append of entry `p` is at place `2p + 1`, a read of `n` entries at place `2n`. The history is linearizable
//! if no operation began after another one had ended that has a later place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::history::{
    Action, Answer, Contents, Entry, History, Instance, Micros, Mirrored, Operation,
};

/// What may be wrong with a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A database in the store is not whole, or lacks what was read.
    Damaged,
    /// An answered write, or one that was read, is gone.
    Lost,
    /// Of what one turn wrote only a part is there, or a turn that was ended half-way has left something.
    Torn,
    /// One append is there twice.
    Twice,
    /// An answer does not have what was known before it was asked for.
    Stale,
    /// An answer has what nobody had asked for yet, or appends are in another order than they were made in.
    Order,
    /// An instance went on after another one of the same worker had begun.
    TwoOwners,
    /// Something left the worker that is not in it.
    Leaked,
    /// An alarm that was set did not come.
    NoAlarm,
    /// An alarm came that nobody had set, or once more for one setting, though not as a retry.
    WrongAlarm,
    /// The worker did not answer although others did.
    Unanswered,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged",
            Self::Lost => "lost",
            Self::Torn => "torn",
            Self::Twice => "twice",
            Self::Stale => "stale",
            Self::Order => "order",
            Self::TwoOwners => "two owners",
            Self::Leaked => "leaked",
            Self::NoAlarm => "no alarm",
            Self::WrongAlarm => "wrong alarm",
            Self::Unanswered => "unanswered",
        })
    }
}

/// One thing that is wrong: the first of its kind in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub kind: Kind,
    /// What was seen, for people.
    pub message: String,
    /// The value it is about, if one.
    pub value: Option<u32>,
    /// When it could first be seen.
    pub at: Micros,
}

/// Everything that is wrong with a history, at most one of each kind, by time.
///
/// The history must end with an answered read that began when nothing else was under way; without one there is nothing to
/// check but that, and [`Kind::Unanswered`] is what is wrong.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Found::default();
    let mut reads: Vec<&Operation> = history.operations.iter().collect();
    reads.retain(|operation| operation.contents().is_some());
    reads.sort_by_key(|read| read.invoked);
    let Some((last, truth)) = reads
        .last()
        .and_then(|read| Some((*read, read.contents()?)))
    else {
        let at = history.operations.iter().map(|it| it.completed).max();
        found.add(Kind::Unanswered, None, at.unwrap_or(0), || {
            "no read was ever answered".to_owned()
        });
        return found.sorted();
    };
    if history.silent {
        let message = || "it did not answer although the faults were over".to_owned();
        found.add(Kind::Unanswered, None, last.completed, message);
    }
    if let Some(value) = history.overdue.first() {
        found.add(Kind::NoAlarm, Some(*value), last.completed, || {
            format!("{value} still waited for its alarm although the faults were over")
        });
    }
    if let Some(damage) = &history.damage {
        found.add(Kind::Damaged, None, last.completed, || damage.clone());
    }
    for read in &reads {
        if let Some(contents) = read.contents() {
            check_read(read, contents, truth, &mut found);
        }
    }
    check_presence(history, &reads, last, truth, &mut found);
    check_order(history, truth, &mut found);
    check_owners(history, truth, &mut found);
    check_alarms(truth, last.completed, &mut found);
    for Mirrored { value, told } in &history.mirrored {
        if !truth.first.iter().any(|entry| entry.value == *value) {
            let what = if *told {
                "a port and a message"
            } else {
                "a port"
            };
            found.add(Kind::Leaked, Some(*value), last.completed, || {
                format!("another worker got {what} with {value}, which is not there")
            });
        }
    }
    found.sorted()
}

#[derive(Default)]
struct Found(BTreeMap<Kind, Violation>);

impl Found {
    fn add(
        &mut self,
        kind: Kind,
        value: Option<u32>,
        at: Micros,
        message: impl FnOnce() -> String,
    ) {
        if self.0.get(&kind).is_some_and(|known| known.at <= at) {
            return;
        }
        let message = message();
        let violation = Violation {
            kind,
            message,
            value,
            at,
        };
        self.0.insert(kind, violation);
    }

    fn sorted(self) -> Vec<Violation> {
        let mut all: Vec<_> = self.0.into_values().collect();
        all.sort_by_key(|violation| violation.at);
        all
    }
}

/// What one read shows by itself, and beside the last one.
fn check_read(read: &Operation, contents: &Contents, truth: &Contents, found: &mut Found) {
    let at = read.completed;
    let Contents {
        first,
        second,
        pending,
        marks,
        ..
    } = contents;
    if let Some(marks) = marks
        && !marks.iter().copied().eq(first.len().checked_sub(1))
    {
        found.add(Kind::Torn, None, at, || {
            format!(
                "of {} entries the marks {marks:?} are there, and each deletes that of the one before",
                first.len()
            )
        });
    }
    if let Some(place) =
        (0..first.len().max(second.len())).find(|i| first.get(*i) != second.get(*i))
    {
        let value = first.get(place).or(second.get(place)).map(|it| it.value);
        found.add(Kind::Torn, value, at, || {
            format!(
                "entry {place} is {:?} under one key and {:?} under the other",
                first.get(place).map(|it| it.value),
                second.get(place).map(|it| it.value)
            )
        });
    }
    let mut seen = BTreeSet::new();
    for entry in first {
        // Under one key alone it is torn.
        let there = |list: &[Entry]| {
            list.iter()
                .filter(|other| other.value == entry.value)
                .count()
        };
        if !seen.insert(entry.value) && there(second) > 1 {
            found.add(Kind::Twice, Some(entry.value), at, || {
                format!("{} is there twice", entry.value)
            });
        }
    }
    for value in pending {
        if seen.contains(value) {
            found.add(Kind::Torn, Some(*value), at, || {
                format!("the alarm has appended {value}, and it still waits for the alarm")
            });
        }
    }
    let differs = first
        .iter()
        .enumerate()
        .find(|(place, entry)| truth.first.get(*place) != Some(entry));
    if let Some((place, entry)) = differs {
        found.add(Kind::Lost, Some(entry.value), at, || {
            format!(
                "{} was read as entry {place}, which is {:?} in the end",
                entry.value,
                truth.first.get(place).map(|it| it.value)
            )
        });
    }
}

/// Answered writes are in every read that began later, and in the last one.
fn check_presence(
    history: &History,
    reads: &[&Operation],
    last: &Operation,
    truth: &Contents,
    found: &mut Found,
) {
    let kept: BTreeSet<u32> = truth.first.iter().map(|entry| entry.value).collect();
    let waiting: BTreeSet<u32> = truth.pending.iter().copied().collect();
    for operation in &history.operations {
        let (value, alarm) = match operation.action {
            Action::Append(value) | Action::Relay(value) => (value, false),
            Action::Later(value) => (value, true),
            Action::Half(value) => {
                if kept.contains(&value) {
                    found.add(Kind::Torn, Some(value), last.completed, || {
                        format!("{value} is there, but its turn was ended before it was complete")
                    });
                }
                continue;
            }
            Action::Read => continue,
        };
        if operation.answer().is_none() || kept.contains(&value) {
            continue;
        }
        if alarm && waiting.contains(&value) {
            found.add(Kind::NoAlarm, Some(value), last.completed, || {
                format!("{value} still waits for its alarm")
            });
            continue;
        }
        found.add(Kind::Lost, Some(value), operation.completed, || {
            format!("{value} was answered, and is not there in the end")
        });
    }
    // A value that waits for its alarm has no place in the order, but must be somewhere.
    for operation in &history.operations {
        let (Action::Later(value), Some(_)) = (operation.action, operation.answer()) else {
            continue;
        };
        let missing = reads.iter().find(|read| {
            read.invoked > operation.completed
                && read.contents().is_some_and(|contents| {
                    !contents.pending.contains(&value)
                        && !contents.first.iter().any(|entry| entry.value == value)
                })
        });
        if let (Some(read), true) = (missing, kept.contains(&value)) {
            found.add(Kind::Stale, Some(value), read.completed, || {
                format!("{value} had been accepted, and is in neither list nor pending")
            });
        }
    }
}

/// An operation with its place in the order of effects.
struct Placed<'h> {
    place: usize,
    /// `Micros::MAX` when nobody knows by when it had happened.
    completed: Micros,
    operation: &'h Operation,
}

fn check_order(history: &History, truth: &Contents, found: &mut Found) {
    let index: HashMap<u32, usize> = truth
        .first
        .iter()
        .enumerate()
        .map(|(at, entry)| (entry.value, at))
        .collect();
    let mut placed: Vec<Placed<'_>> = Vec::with_capacity(history.operations.len());
    for operation in &history.operations {
        let answered = operation.answer();
        let (place, completed) = match operation.action {
            Action::Append(value) | Action::Relay(value) => {
                let Some(&at) = index.get(&value) else {
                    continue;
                };
                if let Some(Answer::Appended(told)) = answered
                    && *told != at
                {
                    found.add(Kind::Order, Some(value), operation.completed, || {
                        format!("{value} was answered as entry {told}, and is entry {at}")
                    });
                }
                (
                    2 * at + 1,
                    answered.map_or(Micros::MAX, |_| operation.completed),
                )
            }
            // The alarm appends it at a time of its own.
            Action::Later(value) | Action::Half(value) => {
                let Some(&at) = index.get(&value) else {
                    continue;
                };
                (2 * at + 1, Micros::MAX)
            }
            Action::Read => {
                let Some(contents) = operation.contents() else {
                    continue;
                };
                // Of what is gone there is no place in the order.
                if !truth.first.starts_with(&contents.first) {
                    continue;
                }
                (2 * contents.first.len(), operation.completed)
            }
        };
        placed.push(Placed {
            place,
            completed,
            operation,
        });
    }
    check_bursts(history, &index, found);
    placed.sort_by_key(|it| it.place);
    // The one before it, in order, that began last.
    let mut begun: Option<&Placed<'_>> = None;
    for it in &placed {
        if let Some(before) = begun
            && before.place < it.place
            && before.operation.invoked > it.completed
        {
            report_order(before, it, found);
        }
        if begun.is_none_or(|before| before.operation.invoked < it.operation.invoked) {
            begun = Some(it);
        }
    }
}

/// What comes over one socket is done in its order, and nothing without what came before it.
fn check_bursts(history: &History, index: &HashMap<u32, usize>, found: &mut Found) {
    for operation in &history.operations {
        let (Some(value), Some(after)) = (value(operation.action), operation.after) else {
            continue;
        };
        let (Some(at), before) = (index.get(&value), index.get(&after)) else {
            continue;
        };
        if before.is_none_or(|before| before > at) {
            found.add(Kind::Order, Some(value), operation.completed, || match before {
                None => format!("{value} is there without {after}, which was sent before it on the same socket"),
                Some(_) => format!("{value} is there before {after}, which was sent before it on the same socket"),
            });
        }
    }
}

/// `first` comes first by its effect, but began after `second` had ended.
fn report_order(first: &Placed<'_>, second: &Placed<'_>, found: &mut Found) {
    let describe = |it: &Placed<'_>| match it.operation.action {
        Action::Read => format!("a read of {} entries", it.place / 2),
        action => format!("{action:?} (entry {})", it.place / 2),
    };
    let (kind, at) = match (first.operation.action, second.operation.action) {
        (Action::Read, _) => (Kind::Stale, first.operation.completed),
        _ => (Kind::Order, second.completed),
    };
    let value = match first.operation.action {
        Action::Read => value(second.operation.action),
        action => value(action),
    };
    found.add(kind, value, at, || {
        format!(
            "{} by client {} began after {} by client {} had ended, and comes before it",
            describe(first),
            first.operation.client,
            describe(second),
            second.operation.client
        )
    });
}

/// The value that an action writes.
#[must_use]
pub fn value(action: Action) -> Option<u32> {
    match action {
        Action::Append(value)
        | Action::Relay(value)
        | Action::Later(value)
        | Action::Half(value) => Some(value),
        Action::Read => None,
    }
}

/// Each setting of the alarm has come, unless it is still to come, and once, unless it was tried again.
fn check_alarms(truth: &Contents, at: Micros, found: &mut Found) {
    let mut come = BTreeSet::new();
    for (time, is_retry) in &truth.fired {
        if !come.insert(time) && !is_retry {
            found.add(Kind::WrongAlarm, None, at, || {
                format!("the alarm for {time} came twice, and not as a retry")
            });
        }
        if !truth.sets.contains(time) {
            found.add(Kind::WrongAlarm, None, at, || {
                format!("an alarm for {time} came, and was never set")
            });
        }
    }
    // The last one may still come for those that wait.
    let due = truth.sets.len() - usize::from(!truth.sets.is_empty() && !truth.pending.is_empty());
    if let Some(time) = truth.sets[..due].iter().find(|time| !come.contains(time)) {
        found.add(Kind::NoAlarm, None, at, || {
            format!("the alarm for {time} never came")
        });
    }
}

/// An instance that answers or appends after another one did both after it.
fn check_owners(history: &History, truth: &Contents, found: &mut Found) {
    let mut ended: BTreeSet<Instance> = BTreeSet::new();
    let mut now: Option<Instance> = None;
    for entry in &truth.first {
        if now != Some(entry.by) {
            ended.extend(now);
            now = Some(entry.by);
        }
        if ended.contains(&entry.by) {
            let at = history.operations.iter().map(|it| it.completed).max();
            found.add(Kind::TwoOwners, Some(entry.value), at.unwrap_or(0), || {
                format!(
                    "{} was appended by an instance that another one had followed",
                    entry.value
                )
            });
        }
    }
    // From when and until when each was certainly there.
    let mut spans: BTreeMap<Instance, (Micros, Micros)> = BTreeMap::new();
    let answered = || {
        history
            .operations
            .iter()
            .filter_map(|operation| Some((operation, operation.outcome.as_ref().ok()?.0)))
    };
    for (operation, by) in answered() {
        let span = spans.entry(by).or_insert((Micros::MAX, 0));
        span.0 = span.0.min(operation.completed);
        span.1 = span.1.max(operation.invoked);
    }
    for (operation, by) in answered() {
        let around = spans.iter().find(|(other, (from, until))| {
            **other != by && *from < operation.invoked && operation.completed < *until
        });
        if let Some((other, _)) = around {
            found.add(Kind::TwoOwners, value(operation.action), operation.completed, || {
                format!("instance {by} answered while instance {other} had answered before and did after")
            });
        }
    }
}

#[cfg(test)]
mod tests;
