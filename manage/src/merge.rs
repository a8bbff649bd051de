//! One page of what several processes say.

use std::collections::BTreeMap;

use portside_core::ids::{SHARDS, ShardId, WorkerId};

use crate::types::{State, Worker, Workers, parse_id};

type Place = (ShardId, WorkerId);

fn place(worker: &Worker) -> Place {
    // What is no id comes first, where it is seen.
    let id = worker.place().unwrap_or(WorkerId([0; 16]));
    (id.shard(SHARDS), id)
}

impl Workers {
    /// Whether that can be the answer to a question for `limit` workers after one: in order, and going on after its last, if at all.
    #[must_use]
    pub fn is_answer(&self, after: Option<&str>, limit: usize) -> bool {
        let mut before = after.and_then(parse_id).map(|id| (id.shard(SHARDS), id));
        for worker in &self.items {
            let Some(id) = worker.place().filter(|_| worker.can_be()) else {
                return false;
            };
            let place = (id.shard(SHARDS), id);
            if before.is_some_and(|before| place <= before) {
                return false;
            }
            before = Some(place);
        }
        let last = self.items.last().map(|it| &it.id);
        self.items.len() <= limit && (self.next.is_none() || self.next.as_ref() == last)
    }
}

/// The first `limit` workers of what several processes said to the same question. Each of them knows which workers are awake in
/// itself; those that are stored any of them may know. A worker of which one process says that it is awake is.
#[must_use]
pub fn merge(pages: Vec<Workers>, limit: usize) -> Workers {
    let mut all: BTreeMap<Place, Worker> = BTreeMap::new();
    let mut horizon: Option<Place> = None;
    for page in pages {
        if page.next.is_some() {
            // Behind its end a page says nothing.
            let end = page.items.last().map(place);
            horizon = match (horizon, end) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        for worker in page.items {
            let known = all.entry(place(&worker)).or_insert_with(|| worker.clone());
            if worker.state == State::Awake {
                known.state = State::Awake;
                known.awake_since = worker.awake_since;
                known.last_active = worker.last_active;
                known.pod = worker.pod;
                known.revision = worker.revision;
                known.usage = worker.usage;
            }
        }
    }
    let found = all.len();
    let mut items: Vec<Worker> = all
        .into_iter()
        .take_while(|(place, _)| horizon.is_none_or(|horizon| *place <= horizon))
        .map(|(_, worker)| worker)
        .collect();
    items.truncate(limit);
    let is_all = horizon.is_none() && items.len() == found;
    let last = items.last().filter(|_| !is_all);
    Workers {
        next: last.map(|worker| worker.id.clone()),
        items,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its id begins with the number, and so its shard is the number's lower part.
    fn worker(number: u32, state: State) -> Worker {
        Worker {
            id: format!("{number:08x}{:024x}", 0),
            address: format!("w.js#{number}"),
            script: Some("w.js".into()),
            class: None,
            name: Some(number.to_string()),
            object_id: None,
            state,
            awake_since: (state == State::Awake).then(|| "2026-01-01T00:00:00Z".into()),
            last_active: None,
            pod: None,
            revision: None,
            usage: None,
            alarm: None,
            keys: Some(0),
            bytes: 0,
        }
    }

    fn page(workers: &[(u32, State)], is_all: bool) -> Workers {
        let items: Vec<_> = workers
            .iter()
            .map(|(it, state)| worker(*it, *state))
            .collect();
        let next = items.last().filter(|_| !is_all).map(|it| it.id.clone());
        Workers { items, next }
    }

    fn shown(workers: &Workers) -> Vec<(u32, State)> {
        let number = |it: &Worker| u32::from_str_radix(&it.id[..8], 16).unwrap();
        workers
            .items
            .iter()
            .map(|it| (number(it), it.state))
            .collect()
    }

    use State::{Asleep, Awake};

    #[test]
    fn who_is_awake_somewhere_is_awake() {
        let stored = page(&[(1, Asleep), (2, Asleep)], true);
        let here = page(&[(2, Awake), (3, Awake)], true);
        let merged = merge(vec![stored, here], 10);
        assert_eq!(shown(&merged), [(1, Asleep), (2, Awake), (3, Awake)]);
        assert_eq!(merged.next, None);
        assert!(merged.items[1].awake_since.is_some());
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let stored = page(&[(1, Asleep), (4, Asleep)], false);
        let here = page(&[(2, Awake), (9, Awake)], false);
        let merged = merge(vec![stored, here], 10);
        // Of what comes after 4 the first says nothing.
        assert_eq!(shown(&merged), [(1, Asleep), (2, Awake), (4, Asleep)]);
        assert_eq!(merged.next, Some(worker(4, Asleep).id));
        let merged = merge(vec![page(&[(1, Asleep), (2, Asleep)], true)], 1);
        assert_eq!(merged.next, Some(worker(1, Asleep).id));
        assert_eq!(merge(vec![], 10), Workers::default());
    }

    #[test]
    fn what_cannot_be_a_page_is_told_from_one() {
        let good = page(&[(0x1001, Asleep), (2, Asleep)], false);
        let after = worker(1, Asleep).id;
        assert!(good.is_answer(None, 2));
        assert!(good.is_answer(Some(&after), 2));
        assert!(Workers::default().is_answer(None, 1));
        assert!(!good.is_answer(None, 1), "too many");
        assert!(!good.is_answer(Some(&good.items[0].id), 2), "again");
        let mut other = good.clone();
        other.items.swap(0, 1);
        assert!(!other.is_answer(None, 2), "the order");
        other = good.clone();
        other.next = Some(after);
        assert!(!other.is_answer(None, 2), "going on elsewhere");
        other.items.clear();
        assert!(!other.is_answer(None, 2), "going on after nothing");
        other = good;
        other.items[1].id = "x".into();
        assert!(!other.is_answer(None, 2), "no id");
        other = page(&[(0x1001, Asleep), (2, Asleep)], false);
        other.items[1].address = "a".repeat(Worker::MOST_TEXT);
        assert!(!other.is_answer(None, 2), "too long");
    }

    #[test]
    fn the_order_is_that_of_shards() {
        // 0x1001 is in shard 1, 2 in shard 2.
        let merged = merge(vec![page(&[(0x1001, Asleep), (2, Asleep)], true)], 10);
        assert_eq!(shown(&merged), [(0x1001, Asleep), (2, Asleep)]);
    }
}
