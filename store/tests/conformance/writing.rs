//! Commits.

use futures::future::join_all;
use portside_core::ids::{PodId, SHARDS, WorkerKey};
use portside_store::lanes::Lanes;
use portside_store::testing::{Model, Owner, batches};
use portside_store::{Commit, Outcome};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::common::{Fixture, Kind, clear, delete, keys, put, set_alarm, value, worker};

/// Few workers, many batches, cut into calls anywhere.
pub async fn batches_do_what_the_model_does(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let histories = (
        proptest::collection::vec(batches(5), 3),
        proptest::collection::vec(any::<bool>(), 15),
        any::<u64>(),
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(150));
    runner
        .run(&histories, |(histories, cuts, seed)| {
            let check = compare_with_model(&owner, &histories, &cuts, seed);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(check))
        })
        .unwrap();
}

async fn compare_with_model(
    owner: &Owner,
    histories: &[Vec<portside_core::write::WriteBatch>],
    cuts: &[bool],
    seed: u64,
) -> Result<(), TestCaseError> {
    let name = |index| worker(&format!("{index} of {seed}"));
    let mut models = vec![Model::default(); histories.len()];
    let mut call = vec![];
    let mut cuts = cuts.iter();
    for turn in 0..histories.iter().map(Vec::len).max().unwrap_or(0) {
        for (index, history) in histories.iter().enumerate() {
            let Some(batch) = history.get(turn) else {
                continue;
            };
            models[index].apply(batch);
            call.push(owner.commit(&name(index), batch.clone()));
            if cuts.next() == Some(&true) {
                commit_all(owner, &mut call).await?;
            }
        }
    }
    commit_all(owner, &mut call).await?;
    for (index, model) in models.into_iter().enumerate() {
        let loaded = owner.load(&name(index)).await.unwrap();
        let found = Model {
            entries: loaded.entries,
            alarm: loaded.alarm,
        };
        prop_assert_eq!(found, model);
    }
    Ok(())
}

async fn commit_all(owner: &Owner, call: &mut Vec<Commit>) -> Result<(), TestCaseError> {
    let outcomes = owner.store.commit(call).await.unwrap();
    prop_assert_eq!(outcomes, vec![Outcome::Committed; call.len()]);
    call.clear();
    Ok(())
}

pub async fn clearing_keeps_what_the_same_batch_puts(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let (it, other) = (worker("a"), worker("b"));
    owner.write(&it, put(&["a", "b", "c"])).await;
    owner.write(&other, put(&["a", "b", "c"])).await;
    let mut batch = clear();
    batch.write("b".into(), Some(value("new")));
    batch.write("c".into(), None);
    batch.write("d".into(), Some(value("new")));
    owner.write(&it, batch).await;
    let loaded = owner.load(&it).await.unwrap();
    assert_eq!(keys(&loaded), ["b", "d"]);
    assert!(loaded.entries.values().all(|read| *read == value("new")));
    assert_eq!(keys(&owner.load(&other).await.unwrap()), ["a", "b", "c"]);
}

pub async fn commits_of_one_worker_apply_in_order(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let it = worker("a");
    owner.write(&it, put(&["old"])).await;
    let commits = [
        put(&["gone"]),
        clear(),
        put(&["x", "y"]),
        delete(&["x"]),
        set_alarm(3),
    ]
    .map(|batch| owner.commit(&it, batch));
    let outcomes = fixture.store.commit(&commits).await.unwrap();
    assert_eq!(outcomes, [Outcome::Committed; 5]);
    let loaded = owner.load(&it).await.unwrap();
    assert_eq!((keys(&loaded), loaded.alarm.unwrap().due), (vec!["y"], 3));
}

pub async fn refused_commits_leave_others_alone(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let commits: Vec<_> = (0..50)
        .map(|index| {
            let mut commit = owner.commit(&worker(&index.to_string()), put(&["x"]));
            if index % 3 == 0 {
                commit.fence.pod = PodId(9);
            }
            commit
        })
        .collect();
    let outcomes = fixture.store.commit(&commits).await.unwrap();
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let refused = index % 3 == 0;
        assert_eq!(outcome == Outcome::Fenced, refused, "{index}");
        let loaded = owner.load(&worker(&index.to_string())).await.unwrap();
        assert_eq!(loaded.entries.is_empty(), refused, "{index}");
    }
    assert_eq!(fixture.store.commit(&[]).await.unwrap(), []);
}

pub async fn same_names_in_different_scripts_are_different_workers(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let (a, b) = (
        WorkerKey::new("a.js", "n").unwrap(),
        WorkerKey::new("b.js", "n").unwrap(),
    );
    owner.write(&a, put(&["of a"])).await;
    owner.write(&b, put(&["of b"])).await;
    assert_eq!(keys(&owner.load(&a).await.unwrap()), ["of a"]);
    assert_eq!(keys(&owner.load(&b).await.unwrap()), ["of b"]);
}

/// Calls for the same shard, not through lanes: what one of them has been told is durable, no other may overlook.
pub async fn simultaneous_calls_lose_nothing(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let it = worker("a");
    for round in 0..20 {
        let adding = join_all((0..4).map(|n| {
            let commit = owner.commit(&it, put(&[&format!("{round} {n}")]));
            async { fixture.store.commit(&[commit]).await.unwrap() }
        }));
        let clearing = async {
            owner.write(&it, clear()).await;
            // All that was durable before the clearing was asked for, is cleared.
            let shard = owner.fence(&it).shard;
            let range = portside_core::keys::KeyRange::default();
            fixture.store.list(shard, it.id(), &range).await.unwrap()
        };
        let (_, left) = futures::join!(adding, clearing);
        let this_round = format!("{round} ");
        assert!(
            left.iter().all(|(key, _)| key.starts_with(&this_round)),
            "{left:?}"
        );
    }
    owner.write(&it, clear()).await;
    assert_eq!(owner.load(&it).await.unwrap().entries.len(), 0);
}

pub async fn ten_thousand_workers(kind: Kind) {
    const WORKERS: usize = 10_000;
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let lanes = Lanes::new(&fixture.store);
    let name = |index: usize| worker(&format!("worker {index}"));
    let pending: Vec<_> = (0..WORKERS)
        .map(|index| {
            let mut batch = put(&["x", "y"]);
            batch.write("name".into(), Some(value(&index.to_string())));
            lanes.submit(owner.commit(&name(index), batch))
        })
        .collect();
    for outcome in join_all(pending).await {
        assert_eq!(outcome.unwrap(), Outcome::Committed);
    }
    for index in (0..WORKERS).step_by(97) {
        let loaded = owner.load(&name(index)).await.unwrap();
        assert_eq!(keys(&loaded), ["name", "x", "y"]);
        assert_eq!(loaded.entries["name"], value(&index.to_string()));
    }
}

pub async fn lanes_keep_the_order(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let lanes = Lanes::new(&fixture.store);
    let submit = |fixture_worker: usize, count: u32| {
        let mut batch = if count.is_multiple_of(7) {
            clear()
        } else {
            delete(&["x"])
        };
        batch.write("count".into(), Some(value(&count.to_string())));
        // Nobody waits for it: the flush must do.
        drop(lanes.submit(owner.commit(&worker(&fixture_worker.to_string()), batch)));
    };
    for count in 0..200 {
        (0..20).for_each(|index| submit(index, count));
        if count % 40 == 0 {
            tokio::task::yield_now().await;
        }
    }
    lanes.flush().await;
    check_counts(&fixture, &owner).await;
}

async fn check_counts(fixture: &Fixture, owner: &Owner) {
    for index in 0..20 {
        let it = worker(&index.to_string());
        let shard = it.id().shard(SHARDS);
        let wanted = ["count".to_owned()];
        let got = fixture.store.get(shard, it.id(), &wanted).await.unwrap();
        assert_eq!(got["count"], value("199"));
        assert_eq!(keys(&owner.load(&it).await.unwrap()), ["count"]);
    }
}
