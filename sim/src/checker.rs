//! What clients may see. Each worker keeps a list to which clients append; an answer is the whole list.
//!
//! The histories are linearizable, and nothing revealed is ever lost, exactly if: all answers of a worker are prefixes of one
//! list, no answer is shorter than what anybody had seen when it was asked for, and an append's answer has its entry.

use std::collections::HashSet;
use std::fmt;

/// An entry of a list: every append has its own.
pub(crate) type Entry = u64;

/// Set in the entry that an alarm appends; the rest is the entry that set the alarm.
pub(crate) const ALARM: Entry = 1 << 63;
/// Set in an entry that sets the alarm.
pub(crate) const SETS_ALARM: Entry = 1 << 62;

/// What kind of thing was seen that must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An answer without something that had been seen before it was asked for.
    Stale,
    /// Two answers of which neither continues the other.
    TwoHistories,
    /// Something was done twice.
    Twice,
    /// A write was acknowledged by an answer that does not have it.
    Unwritten,
    /// Something that was seen is not stored.
    Lost,
    /// Half of a turn is stored.
    HalfTurn,
    /// What was stored by another was overwritten in part.
    Overwritten,
    /// Something that came before what is stored is missing.
    Gap,
    /// Two pods believe that they own the same.
    TwoOwners,
    /// A pod may write and answer for what the store has given to another.
    NotOwner,
    /// The store takes a pod for dead that may still answer by its own clock.
    DeadWithinItsLease,
    /// An alarm was set, and neither came nor is still to come.
    NoAlarm,
    /// A client has no answer although nothing fails any more.
    Unanswered,
    /// A request failed although nothing did.
    Dropped,
    /// A request was not answered although nothing failed.
    KeptWaiting,
    /// A shard has no owner for too long.
    NoOwner,
    /// A pod ended with shards although others wanted them.
    GivesUp,
    /// A pod gave away what was its own share.
    GivesTooMuch,
    /// More shards leave a pod at the same time than may.
    TooManyLeave,
    /// In the end pods do not have their shares, or shards move on.
    Unfair,
    /// In the end there are pods that are not wanted, or not those that are.
    RolloutGoesOn,
    /// The simulation itself cannot go on.
    Broken,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub kind: Kind,
    pub what: String,
}

impl Wrong {
    pub fn new(kind: Kind, what: impl fmt::Display) -> Self {
        let what = what.to_string();
        Self { kind, what }
    }
}

macro_rules! wrong {
    ($kind:ident, $($what:tt)*) => {
        Wrong::new(Kind::$kind, format_args!($($what)*))
    };
}
pub(crate) use wrong;

/// What a client asked, and what was known when it did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub key: usize,
    pub appends: Option<Entry>,
    /// How many entries somebody had seen by then.
    seen: usize,
    generation: u32,
}

/// What has been seen of each worker's list.
#[derive(Debug)]
pub(crate) struct Checker {
    lists: Vec<Vec<Entry>>,
    /// Their entries.
    known: HashSet<(usize, Entry)>,
    /// Grows when the database goes back to a dump: what was asked before means nothing any more.
    generation: u32,
    pub answers: u64,
    pub appended: u64,
}

impl Checker {
    pub fn new(keys: usize) -> Self {
        Self {
            lists: vec![Vec::new(); keys],
            known: HashSet::new(),
            generation: 0,
            answers: 0,
            appended: 0,
        }
    }

    pub fn asks(&self, key: usize, appends: Option<Entry>) -> Asked {
        Asked {
            key,
            appends,
            seen: self.lists[key].len(),
            generation: self.generation,
        }
    }

    /// A client was answered.
    pub fn answered(&mut self, asked: Asked, list: &[Entry]) -> Result<(), Wrong> {
        if asked.generation != self.generation {
            return Ok(());
        }
        let key = asked.key;
        self.answers += 1;
        self.appended += u64::from(asked.appends.is_some());
        if list.len() < asked.seen {
            return Err(wrong!(
                Stale,
                "a stale or lost answer of worker {key}: {} entries, {} had been seen before it was asked",
                list.len(),
                asked.seen
            ));
        }
        if let Some(entry) = asked.appends.filter(|entry| !list.contains(entry)) {
            return Err(wrong!(
                Unwritten,
                "worker {key} acknowledged entry {entry} and does not have it"
            ));
        }
        self.extend(key, list)
    }

    /// Everything is known to be so from now on.
    fn extend(&mut self, key: usize, list: &[Entry]) -> Result<(), Wrong> {
        let seen = &mut self.lists[key];
        let shared = seen.len().min(list.len());
        if seen[..shared] != list[..shared] {
            let at = (0..shared).find(|&at| seen[at] != list[at]).unwrap_or(0);
            return Err(wrong!(
                TwoHistories,
                "two histories of worker {key}: entry {at} was {} and is {}",
                seen[at],
                list[at]
            ));
        }
        if list.len() > shared {
            for &entry in &list[shared..] {
                if !self.known.insert((key, entry)) {
                    return Err(wrong!(
                        Twice,
                        "worker {key} has entry {entry} twice: {list:?}"
                    ));
                }
            }
            seen.extend_from_slice(&list[shared..]);
        }
        Ok(())
    }

    /// What is stored in the end has everything that anybody saw.
    pub fn stored(&self, key: usize, list: &[Entry]) -> Result<(), Wrong> {
        if list.starts_with(&self.lists[key]) {
            return Ok(());
        }
        let seen = self.lists[key].len();
        Err(wrong!(
            Lost,
            "worker {key} has {} stored entries, {seen} had been seen: something revealed is lost",
            list.len()
        ))
    }

    /// Each alarm has come, or was replaced, or is still to come (`is_armed`).
    pub fn alarms(key: usize, list: &[Entry], is_armed: bool) -> Result<(), Wrong> {
        let Some(last) = list
            .iter()
            .rposition(|it| it & SETS_ALARM != 0 && it & ALARM == 0)
        else {
            return Ok(());
        };
        let has_come = list[last..].contains(&(list[last] | ALARM));
        if has_come == is_armed {
            let what = if is_armed {
                "is still set"
            } else {
                "is not set"
            };
            return Err(wrong!(
                NoAlarm,
                "the alarm of entry {} of worker {key} has come: {has_come}, and it {what}",
                list[last]
            ));
        }
        Ok(())
    }

    /// The database went back: this is what there is now.
    pub fn went_back(&mut self, lists: Vec<Vec<Entry>>) {
        self.generation += 1;
        let known = lists.iter().enumerate();
        self.known = known
            .flat_map(|(key, list)| list.iter().map(move |entry| (key, *entry)))
            .collect();
        self.lists = lists;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_prefixes_of_one_list() {
        let mut checker = Checker::new(1);
        let first = checker.asks(0, Some(7));
        let beside = checker.asks(0, None);
        assert_eq!(checker.answered(first, &[7]), Ok(()));
        // It was asked before anybody had seen the first.
        assert_eq!(checker.answered(beside, &[]), Ok(()));
        let later = checker.asks(0, None);
        assert!(checker.answered(later, &[]).is_err());
        assert!(checker.answered(later, &[8]).is_err());
        assert!(checker.answered(later, &[7, 7]).is_err());
        assert_eq!(checker.answered(later, &[7, 8]), Ok(()));
    }

    #[test]
    fn an_append_is_in_its_answer() {
        let mut checker = Checker::new(1);
        let asked = checker.asks(0, Some(7));
        assert!(checker.answered(asked, &[8]).is_err());
    }

    #[test]
    fn the_last_alarm_comes_or_is_still_to_come() {
        let (first, second) = (SETS_ALARM | 1, SETS_ALARM | 2);
        let check = |list: &[Entry], is_armed| Checker::alarms(0, list, is_armed).is_ok();
        assert!(check(&[3], false));
        assert!(check(&[first, second], true));
        assert!(check(&[first, second, 3, second | ALARM], false));
        assert!(!check(&[first, second, first | ALARM], false));
        assert!(!check(&[first, first | ALARM], true));
    }

    #[test]
    fn what_was_seen_is_stored() {
        let mut checker = Checker::new(1);
        let asked = checker.asks(0, Some(7));
        checker.answered(asked, &[7]).expect("it is fine");
        assert!(checker.stored(0, &[]).is_err());
        assert!(checker.stored(0, &[7, 8]).is_ok());
        checker.went_back(vec![vec![]]);
        assert_eq!(checker.stored(0, &[]), Ok(()));
    }
}
