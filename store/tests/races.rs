//! Forced interleavings on a real Postgres: somebody holds a lock, and the store's own statements run into it.

#![allow(clippy::unwrap_used)] // These are tests.

#[path = "races/forced.rs"]
mod forced;

use forced::{Race, claim};
use portside_core::ids::{Epoch, PodId, SHARDS};
use portside_core::write::WriteBatch;
use portside_store::Outcome;
use portside_store::testing::{PostgresServer, put};
use sqlx::Executor;
use uuid::Uuid;

/// Pods of several processes claim shards a few at a time: whoever comes second must not take what the first just got.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_of_several_processes_never_meet() {
    let url = PostgresServer::shared().database().await;
    let pods = (0..6).map(async |_| {
        let store = portside_store::open(&url, "race").await.unwrap();
        let pod = PodId(Uuid::new_v4().as_u128());
        store.register(pod, "racer").await.unwrap();
        (store, pod)
    });
    let pods = futures::future::join_all(pods).await;
    let claims = pods.into_iter().map(|(store, pod)| {
        tokio::spawn(async move {
            let mut mine = vec![];
            // A round may find nothing but what others are taking at that moment; the last rounds find nothing at all.
            for _ in 0..100 {
                mine.extend(store.claim(pod, 25).await.unwrap());
            }
            mine
        })
    });
    let claimed = futures::future::join_all(claims).await;
    let claimed: Vec<_> = claimed.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(claimed.len(), SHARDS as usize);
    assert!(claimed.iter().all(|(_, epoch)| *epoch == Epoch(1)));
}

/// A stale commit that arrives while the takeover is under way waits for it, and then is refused.
#[tokio::test]
async fn a_commit_during_a_takeover_is_refused() {
    let mut race = Race::new().await;
    race.lock_fence().await;
    let heir = Uuid::new_v4();
    sqlx::query("UPDATE portside.shard SET owner = $2, epoch = epoch + 1 WHERE shard = $1")
        .bind(race.it.id().shard(SHARDS).0.cast_signed())
        .bind(heir)
        .execute(&mut race.holder)
        .await
        .unwrap();
    let mut all = put("count", "99");
    all.clear = true;
    all.write("other".into(), Some([9].into()));
    let stale = race.commit(all);
    race.waiting(1).await;
    race.holder.execute("COMMIT").await.unwrap();
    assert_eq!(stale.await.unwrap(), [Outcome::Fenced]);

    let shard = race.it.id().shard(SHARDS);
    let range = portside_core::keys::KeyRange::default();
    let left = race.store.list(shard, race.it.id(), &range).await.unwrap();
    assert_eq!(left, [("count".into(), (*b"0").into())]);
}

/// A commit that is under way when its pod is declared dead: the shard is passed over until the commit is done, and
/// whoever gets the shard then sees it.
#[tokio::test]
async fn a_takeover_waits_for_a_commit_under_way() {
    let mut race = Race::new().await;
    race.lock_rows().await;
    let last = race.commit(put("count", "41"));
    race.waiting(1).await;

    let dead = race.owner.pod;
    assert!(race.store.declare_dead(dead, 0).await.unwrap());
    let mut heir = claim(&race.store).await;
    let shard = race.it.id().shard(SHARDS);
    assert_eq!(heir.epochs.len(), SHARDS as usize - 1);
    assert!(!heir.epochs.contains_key(&shard));

    race.holder.execute("COMMIT").await.unwrap();
    assert_eq!(last.await.unwrap(), [Outcome::Committed]);
    let claimed = race.store.claim(heir.pod, SHARDS).await.unwrap();
    heir.epochs.extend(claimed);
    let loaded = heir.load(&race.it).await.unwrap();
    assert_eq!(loaded.entries["count"][..], *b"41");
}

/// Advancing an epoch waits for what the old one is still writing, and so does not miss it.
#[tokio::test]
async fn advancing_waits_for_a_commit_under_way() {
    let mut race = Race::new().await;
    race.lock_rows().await;
    let last = race.commit(put("count", "41"));
    race.waiting(1).await;

    let (store, old) = (race.store.clone(), race.owner.fence(&race.it));
    let advancing = tokio::spawn(async move { store.advance(old).await.unwrap() });
    race.holder.execute("COMMIT").await.unwrap();
    let epoch = advancing.await.unwrap().unwrap();
    assert_eq!(last.await.unwrap(), [Outcome::Committed]);
    race.owner.epochs.insert(old.shard, epoch);
    let loaded = race.owner.load(&race.it).await.unwrap();
    assert_eq!(loaded.entries["count"][..], *b"41");
}

/// A statement that has waited for its fence still reads as of its start. What was written meanwhile must not escape it.
#[tokio::test]
async fn a_clear_that_waited_clears_what_came_in_between() {
    let mut race = Race::new().await;
    race.lock_fence().await;
    sqlx::query(
        "INSERT INTO portside.kv SELECT pool, shard, worker, 'between', '' FROM portside.worker",
    )
    .execute(&mut race.holder)
    .await
    .unwrap();
    let clear = WriteBatch {
        clear: true,
        ..WriteBatch::default()
    };
    let clearing = race.commit(clear);
    race.waiting(1).await;
    race.holder.execute("COMMIT").await.unwrap();
    assert_eq!(clearing.await.unwrap(), [Outcome::Committed]);
    let loaded = race.owner.load(&race.it).await.unwrap();
    assert_eq!(loaded.entries.len(), 0);
}
