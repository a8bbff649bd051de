//! What core's folding makes of batches, compared with this crate's model.

use std::collections::BTreeMap;

use portside_core::alarm::{self, Alarm, AlarmChange};
use portside_core::ids::{Epoch, PodId, ShardId};
use proptest::prelude::*;

use portside_core::fold::{AlarmFold, Writes, fold};
use portside_core::ids::{Fence, WorkerKey};
use portside_core::write::WriteBatch;

use crate::Commit;
use crate::testing::{Model, batches};

fn commit(shard: u32, epoch: u64, worker: &str, batch: WriteBatch) -> Commit {
    Commit {
        fence: Fence {
            pod: PodId(1),
            shard: ShardId(shard),
            epoch: Epoch(epoch),
        },
        worker: WorkerKey::new("w.js", worker).unwrap(),
        batch,
    }
}

fn put(key: &str) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.write(key.to_owned(), Some(key.as_bytes().into()));
    batch
}

/// What folded writes do to a worker.
fn apply(model: &Model, writes: &Writes<'_>) -> Model {
    let mut entries = if writes.clear {
        BTreeMap::new()
    } else {
        model.entries.clone()
    };
    entries.retain(|key, _| !writes.deletes.contains(key.as_str()));
    let puts = writes.puts.iter();
    entries.extend(puts.map(|(&key, &value)| (key.to_owned(), value.clone())));
    Model {
        entries,
        alarm: writes.alarm.apply(model.alarm),
    }
}

proptest! {
    #[test]
    fn folding_is_applying_in_order(first in batches(6), then in batches(6)) {
        let mut stored = Model::default();
        first.iter().for_each(|batch| stored.apply(batch));

        let mut folded = Writes::default();
        then.iter().for_each(|batch| folded.add(batch));
        prop_assert!(folded.puts.keys().all(|key| !folded.deletes.contains(key)));
        prop_assert!(!folded.clear || folded.deletes.is_empty());

        let got = apply(&stored, &folded);
        then.iter().for_each(|batch| stored.apply(batch));
        prop_assert_eq!(got, stored);
    }

    #[test]
    fn alarms_fold_whatever_is_stored(
        stored in 0..4_i64,
        changes in proptest::collection::vec(crate::testing::alarm_change(), 0..8),
    ) {
        let stored = (stored > 0).then_some(Alarm::at(stored));
        let mut fold = AlarmFold::default();
        changes.iter().for_each(|change| fold.add(*change));
        let expected = changes.iter().fold(stored, |now, change| alarm::apply(now, *change));
        prop_assert_eq!(fold.apply(stored), expected);
    }
}

#[test]
fn each_commit_finds_its_fence_and_fences_are_by_shard() {
    let commits = [
        commit(7, 1, "a", put("x")),
        commit(3, 2, "b", put("x")),
        commit(3, 1, "b", put("x")),
        commit(7, 1, "a", put("y")),
    ];
    let folded = fold(&commits.iter().collect::<Vec<_>>());
    assert!(folded.fences.is_sorted_by_key(|fence| fence.shard));
    assert_eq!(folded.fences.len(), 3);
    for (commit, &fence) in commits.iter().zip(&folded.fence_of) {
        assert_eq!(commit.fence, folded.fences[fence]);
    }
    // b's two commits are under different fences and stay apart; a's two are one.
    assert_eq!(folded.workers.len(), 3);
}

#[test]
fn a_commit_that_changes_nothing_is_fenced_and_writes_nothing() {
    let commits = [commit(1, 1, "a", WriteBatch::default())];
    let folded = fold(&commits.iter().collect::<Vec<_>>());
    assert_eq!((folded.fences.len(), folded.workers.len()), (1, 0));
}

#[test]
fn a_delivery_given_up_is_not_put_off_again() {
    let retry = |scheduled| AlarmChange::RetryIf {
        next: Alarm {
            retries: 1,
            ..Alarm::at(scheduled)
        },
    };
    let mut fold = AlarmFold::default();
    fold.add(AlarmChange::ClearIf { scheduled: 5 });
    fold.add(retry(5));
    fold.add(retry(6));
    assert_eq!(fold.apply(Some(Alarm::at(5))), None);
    assert_eq!(fold.apply(Some(Alarm::at(6))).unwrap().retries, 1);
    assert_eq!(fold.apply(Some(Alarm::at(7))), Some(Alarm::at(7)));
    assert_eq!(fold.apply(None), None);
}
