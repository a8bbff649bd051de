//! What clients may see. Each worker keeps a list to which clients append; an answer is the whole list.
//!
//! The histories are linearizable, and nothing revealed is ever lost, exactly if: all answers of a worker are prefixes of one
//! list, no answer is shorter than what anybody had seen when it was asked for, and an append's answer has its entry.

use std::collections::HashSet;

/// An entry of a list: every append has its own.
pub(crate) type Entry = u64;

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
    pub fn answered(&mut self, asked: Asked, list: &[Entry]) -> Result<(), String> {
        if asked.generation != self.generation {
            return Ok(());
        }
        let key = asked.key;
        self.answers += 1;
        self.appended += u64::from(asked.appends.is_some());
        if list.len() < asked.seen {
            return Err(format!(
                "a stale or lost answer of worker {key}: {} entries, {} had been seen before it was asked",
                list.len(),
                asked.seen
            ));
        }
        if let Some(entry) = asked.appends.filter(|entry| !list.contains(entry)) {
            return Err(format!(
                "worker {key} acknowledged entry {entry} and does not have it"
            ));
        }
        self.extend(key, list)
    }

    /// Everything is known to be so from now on.
    fn extend(&mut self, key: usize, list: &[Entry]) -> Result<(), String> {
        let seen = &mut self.lists[key];
        let shared = seen.len().min(list.len());
        if seen[..shared] != list[..shared] {
            let at = (0..shared).find(|&at| seen[at] != list[at]).unwrap_or(0);
            return Err(format!(
                "two histories of worker {key}: entry {at} was {} and is {}",
                seen[at], list[at]
            ));
        }
        if list.len() > shared {
            for &entry in &list[shared..] {
                if !self.known.insert((key, entry)) {
                    return Err(format!("worker {key} has entry {entry} twice: {list:?}"));
                }
            }
            seen.extend_from_slice(&list[shared..]);
        }
        Ok(())
    }

    /// What is stored in the end has everything that anybody saw.
    pub fn stored(&self, key: usize, list: &[Entry]) -> Result<(), String> {
        if list.starts_with(&self.lists[key]) {
            return Ok(());
        }
        let seen = self.lists[key].len();
        Err(format!(
            "worker {key} has {} stored entries, {seen} had been seen: something revealed is lost",
            list.len()
        ))
    }

    /// Whether the database ever went back.
    pub fn has_gone_back(&self) -> bool {
        self.generation > 0
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
