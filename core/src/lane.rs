//! Group commit, without the store: which commits the next statement takes, and whom its answer concerns.
//!
//! A lane has one statement in flight, and a shard always uses the same lane. So the commits of a shard become durable in
//! the order in which they were added, and are answered in it.

use std::collections::HashMap;

use crate::ids::{Epoch, Fence, ShardId};
use crate::ownership::Mechanisms;
use crate::write::{Commit, Outcome};

/// A statement takes no more commits than this.
pub const MAX_COMMITS: usize = 1_000;
/// A statement is closed once it holds this many bytes of keys and values.
pub const MAX_BYTES: usize = 8 << 20;

/// One lane: a statement that is being gathered or in flight, and the shards in which nothing may follow what was lost.
///
/// `W` waits for a commit's outcome, `E` says why that is unknown. Guarantees that everything that was added gets one
/// answer, and that once a commit of a shard has an unknown fate, no later one of that epoch is sent: nothing is durable
/// that builds on something lost.
#[derive(Debug)]
pub struct Lane<W, E> {
    commits: Vec<Commit>,
    waiting: Vec<W>,
    bytes: usize,
    /// Shards with a commit of unknown fate, and the epoch of that commit.
    failed: HashMap<ShardId, (Epoch, E)>,
    mechanisms: Mechanisms,
}

impl<W, E: Clone> Lane<W, E> {
    /// Nothing in flight.
    #[must_use]
    pub fn new(mechanisms: Mechanisms) -> Self {
        Self {
            commits: Vec::new(),
            waiting: Vec::new(),
            bytes: 0,
            failed: HashMap::new(),
            mechanisms,
        }
    }

    /// Whether the statement takes another commit. Asked before it is sent only.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.commits.len() < MAX_COMMITS && self.bytes < MAX_BYTES
    }

    /// Takes a commit into the statement that is being gathered.
    ///
    /// # Errors
    /// One before it in its epoch has an unknown fate, and so has this one. It is not sent.
    pub fn add(&mut self, commit: Commit, waiting: W) -> Result<(), (W, E)> {
        let Fence { shard, epoch, .. } = commit.fence;
        if let Some((lost, error)) = self.failed.get(&shard) {
            if epoch <= *lost {
                return Err((waiting, error.clone()));
            }
            self.failed.remove(&shard);
        }
        self.bytes += commit.batch.bytes();
        self.commits.push(commit);
        self.waiting.push(waiting);
        Ok(())
    }

    /// What the statement writes, in order.
    #[must_use]
    pub fn commits(&self) -> &[Commit] {
        &self.commits
    }

    /// The statement was answered, with an outcome for each commit, or nobody knows what became of it. Says whom to tell what,
    /// in order. The next one can be gathered.
    pub fn answered(
        &mut self,
        answer: Result<Vec<Outcome>, E>,
    ) -> impl Iterator<Item = (W, Result<Outcome, E>)> + use<W, E> {
        self.bytes = 0;
        let commits = std::mem::take(&mut self.commits);
        let outcomes: Vec<_> = match answer {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => {
                // Without settling, the next commit is taken to be as good as any.
                for Commit { fence, .. } in &commits {
                    if self.mechanisms.settles_before_load() {
                        let lost = (fence.epoch, error.clone());
                        self.failed.insert(fence.shard, lost);
                    }
                }
                vec![Err(error); commits.len()]
            }
        };
        debug_assert_eq!(outcomes.len(), commits.len(), "an outcome for each");
        std::mem::take(&mut self.waiting).into_iter().zip(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PodId, WorkerKey};
    use crate::write::WriteBatch;

    type Lane = super::Lane<u32, &'static str>;

    fn lane() -> Lane {
        Lane::new(Mechanisms::default())
    }

    fn commit(shard: u32, epoch: u64, bytes: usize) -> Commit {
        let mut batch = WriteBatch::default();
        batch.write("k".to_owned(), Some(vec![0; bytes - 1].into()));
        Commit {
            fence: Fence {
                pod: PodId(1),
                shard: ShardId(shard),
                epoch: Epoch(epoch),
            },
            worker: WorkerKey::new("w.js", "").expect("short name"),
            batch,
        }
    }

    fn told(
        lane: &mut Lane,
        answer: Result<Vec<Outcome>, &'static str>,
    ) -> Vec<(u32, Result<Outcome, &'static str>)> {
        lane.answered(answer).collect()
    }

    #[test]
    fn everybody_is_told_in_order_and_once() {
        let mut lane = lane();
        assert_eq!(lane.add(commit(1, 1, 1), 1), Ok(()));
        assert_eq!(lane.add(commit(2, 1, 1), 2), Ok(()));
        let outcomes = vec![Outcome::Committed, Outcome::Fenced];
        assert_eq!(
            told(&mut lane, Ok(outcomes)),
            [(1, Ok(Outcome::Committed)), (2, Ok(Outcome::Fenced))]
        );
        assert!(lane.commits().is_empty());
        assert_eq!(told(&mut lane, Ok(vec![])), []);
    }

    #[test]
    fn nothing_follows_what_was_lost_until_the_next_epoch() {
        let mut lane = lane();
        assert_eq!(lane.add(commit(1, 2, 1), 1), Ok(()));
        assert_eq!(told(&mut lane, Err("cut off")), [(1, Err("cut off"))]);
        assert_eq!(lane.add(commit(1, 2, 1), 2), Err((2, "cut off")));
        assert_eq!(lane.add(commit(1, 1, 1), 3), Err((3, "cut off")));
        // Other shards have lost nothing.
        assert_eq!(lane.add(commit(2, 2, 1), 4), Ok(()));
        assert_eq!(lane.add(commit(1, 3, 1), 5), Ok(()));
        assert_eq!(lane.commits().len(), 2);
    }

    #[test]
    fn what_was_refused_loses_no_epoch() {
        let mut lane = lane();
        assert_eq!(lane.add(commit(1, 2, 1), 1), Ok(()));
        let refused = told(&mut lane, Ok(vec![Outcome::Fenced]));
        assert_eq!(refused, [(1, Ok(Outcome::Fenced))]);
        assert_eq!(lane.add(commit(1, 2, 1), 2), Ok(()));
    }

    #[test]
    fn a_statement_is_closed_at_its_most_commits_or_bytes() {
        let mut lane = lane();
        for number in 0..MAX_COMMITS as u32 {
            assert!(lane.has_room());
            assert_eq!(lane.add(commit(1, 1, 1), number), Ok(()));
        }
        assert!(!lane.has_room());
        assert_eq!(told(&mut lane, Err("cut off")).len(), MAX_COMMITS);
        assert!(lane.has_room());
        assert_eq!(lane.add(commit(2, 1, MAX_BYTES - 1), 1), Ok(()));
        assert!(lane.has_room());
        assert_eq!(lane.add(commit(2, 1, 1), 2), Ok(()));
        assert!(!lane.has_room());
    }
}
