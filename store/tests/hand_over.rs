//! Shards that are handed over while something else happens to them: forced interleavings on a real Postgres.

#![allow(clippy::unwrap_used)] // These are tests.

#[path = "races/forced.rs"]
mod forced;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forced::{Race, claim};
use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId};
use portside_store::testing::{Owner, PostgresServer, put, worker};
use portside_store::{Outcome, Store};
use sqlx::Executor;
use tokio::task::JoinHandle;
use uuid::Uuid;

type Moved = Vec<(ShardId, Epoch)>;

async fn pod(store: &dyn Store) -> PodId {
    let pod = PodId(Uuid::new_v4().as_u128());
    store.register(pod, "a pod").await.unwrap();
    pod
}

/// Hands the worker's shard over in the background.
fn hand_over(race: &Race, to: PodId) -> JoinHandle<Moved> {
    let (store, fence) = (race.store.clone(), race.owner.fence(&race.it));
    tokio::spawn(async move { store.hand_over(&[fence], to).await.unwrap() })
}

/// What a hand-over of the worker's shard answers.
fn moved(race: &Race) -> Moved {
    let fence = race.owner.fence(&race.it);
    vec![(fence.shard, Epoch(fence.epoch.0 + 1))]
}

/// Stops every change of owners at its last step, when it has all its shards.
async fn lock_map(race: &mut Race) {
    race.holder.execute("BEGIN").await.unwrap();
    let row = "SELECT FROM portside.pool FOR NO KEY UPDATE";
    race.holder.execute(row).await.unwrap();
}

#[tokio::test]
async fn a_hand_over_waits_for_a_commit_under_way() {
    let mut race = Race::new().await;
    race.lock_rows().await;
    let last = race.commit(put("count", "41"));
    race.waiting(1).await;
    let heir = pod(&*race.store).await;
    let moving = hand_over(&race, heir);
    race.waiting(2).await;
    race.holder.execute("COMMIT").await.unwrap();

    assert_eq!(last.await.unwrap(), [Outcome::Committed]);
    let epochs = moving.await.unwrap();
    assert_eq!(epochs, moved(&race));
    let heir = Owner {
        store: race.store.clone(),
        pod: heir,
        epochs: epochs.into_iter().collect(),
    };
    let loaded = heir.load(&race.it).await.unwrap();
    assert_eq!(loaded.entries["count"][..], *b"41");
}

#[tokio::test]
async fn a_commit_during_a_hand_over_is_refused() {
    let mut race = Race::new().await;
    lock_map(&mut race).await;
    let heir = pod(&*race.store).await;
    let moving = hand_over(&race, heir);
    race.waiting(1).await;
    let late = race.commit(put("count", "99"));
    race.waiting(2).await;
    race.holder.execute("COMMIT").await.unwrap();
    assert_eq!(moving.await.unwrap(), moved(&race));
    assert_eq!(late.await.unwrap(), [Outcome::Fenced]);
}

/// Its owner is declared dead meanwhile, and somebody claims: a shard goes one way or the other.
#[tokio::test]
async fn a_claim_passes_over_what_is_being_handed_over() {
    let mut race = Race::new().await;
    race.lock_fence().await;
    let heir = pod(&*race.store).await;
    let moving = hand_over(&race, heir);
    race.waiting(1).await;
    let dead = race.owner.pod;
    assert!(race.store.declare_dead(dead, 0).await.unwrap());
    let claimer = claim(&race.store).await;
    assert_eq!(claimer.epochs.len(), SHARDS as usize - 1);
    race.holder.execute("COMMIT").await.unwrap();
    assert_eq!(moving.await.unwrap(), moved(&race));
    let left = race.store.claim(claimer.pod, SHARDS).await.unwrap();
    assert_eq!(left, []);
    assert_eq!(race.store.owned(heir).await.unwrap(), moved(&race));
}

#[tokio::test]
async fn a_hand_over_after_a_claim_moves_nothing() {
    let race = Race::new().await;
    let dead = race.owner.pod;
    let heir = pod(&*race.store).await;
    assert!(race.store.declare_dead(dead, 0).await.unwrap());
    let claimer = claim(&race.store).await;
    assert_eq!(claimer.epochs.len(), SHARDS as usize);
    assert_eq!(hand_over(&race, heir).await.unwrap(), []);
    let left = race.store.owned(claimer.pod).await.unwrap();
    assert_eq!(left.len(), SHARDS as usize);
}

#[tokio::test]
async fn a_hand_over_waits_for_the_death_of_its_target_and_moves_nothing() {
    let mut race = Race::new().await;
    let target = pod(&*race.store).await;
    race.holder.execute("BEGIN").await.unwrap();
    sqlx::query("DELETE FROM portside.pod WHERE pod = $1")
        .bind(Uuid::from_u128(target.0))
        .execute(&mut race.holder)
        .await
        .unwrap();
    let moving = hand_over(&race, target);
    race.waiting(1).await;
    race.holder.execute("COMMIT").await.unwrap();
    assert_eq!(moving.await.unwrap(), []);
    // The owner goes on as if nothing had happened.
    race.owner.write(&race.it, put("count", "1")).await;
}

/// It renews its lease meanwhile; its death waits.
#[tokio::test]
async fn a_target_lives_until_the_hand_over_is_done() {
    let mut race = Race::new().await;
    lock_map(&mut race).await;
    let target = pod(&*race.store).await;
    let moving = hand_over(&race, target);
    race.waiting(1).await;
    assert!(race.store.renew(target, 1, true).await.unwrap());
    let store = race.store.clone();
    let dying = tokio::spawn(async move { store.declare_dead(target, 1).await.unwrap() });
    race.waiting(2).await;
    race.holder.execute("COMMIT").await.unwrap();
    assert_eq!(moving.await.unwrap(), moved(&race));
    assert!(dying.await.unwrap());
    // And then whoever claims gets what it got.
    let claimer = claim(&race.store).await;
    let Fence { shard, epoch, .. } = race.owner.fence(&race.it);
    let claimed = [(shard, Epoch(epoch.0 + 2))];
    assert!(claimer.epochs.into_iter().eq(claimed));
}

/// Claims, hand-overs in all directions, releases and commits at the same time, of several processes: none of them ever waits
/// for one that waits for it, and whoever follows the map misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shards_move_in_all_directions_and_the_map_is_whole() {
    const PODS: usize = 4;
    const ROUNDS: usize = 40;
    let url = PostgresServer::shared().database().await;
    let open = async || portside_store::open(&url, "moving").await.unwrap();
    let mut pods = vec![];
    for _ in 0..PODS {
        let store = open().await;
        pods.push((pod(&*store).await, store));
    }
    let ids: Vec<PodId> = pods.iter().map(|it| it.0).collect();
    let moving = pods.into_iter().enumerate().map(|(place, (me, store))| {
        let ids = ids.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                move_some(
                    &*store,
                    me,
                    ids[(place + 1 + round % (PODS - 1)) % PODS],
                    round,
                )
                .await;
            }
        })
    });
    let moving: Vec<_> = moving.collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let following = tokio::spawn(follow(open().await, is_over.clone()));
    for it in moving {
        it.await.unwrap();
    }
    is_over.store(true, Ordering::SeqCst);
    let followed = following.await.unwrap();
    let whole = open().await.shard_map(None).await.unwrap();
    let whole: BTreeMap<ShardId, (Option<PodId>, Epoch)> = whole
        .assignments
        .iter()
        .map(|it| (it.shard, (it.owner, it.epoch)))
        .collect();
    let differ = followed.iter().filter(|it| whole[it.0] != *it.1);
    assert_eq!((followed.len(), differ.count()), (SHARDS as usize, 0));
}

/// Takes some shards, writes one, gives some to `other`, and some to nobody.
async fn move_some(store: &dyn Store, me: PodId, other: PodId, round: usize) {
    store.claim(me, 300).await.unwrap();
    let fence = |&(shard, epoch): &(ShardId, Epoch)| Fence {
        pod: me,
        shard,
        epoch,
    };
    let mut owned: Vec<Fence> = store.owned(me).await.unwrap().iter().map(fence).collect();
    // In another order each time, so that locks would meet.
    owned.sort_by_key(|it| (it.shard.0 as usize * 7919 + round) % 4099);
    let given = owned.len().min(100);
    let written = worker(&format!("{}", round % 3));
    let shard = written.id().shard(SHARDS);
    let commit = owned
        .iter()
        .find(|it| it.shard == shard)
        .map(|fence| portside_store::Commit {
            fence: *fence,
            worker: written,
            batch: put("key", "value"),
        });
    let commits: Vec<_> = commit.into_iter().collect();
    let mut released = owned[given / 2..given].to_vec();
    released.reverse();
    let (committed, moved, released) = futures::join!(
        store.commit(&commits),
        store.hand_over(&owned[..given], other),
        store.release_shards(&released),
    );
    committed.unwrap();
    moved.unwrap();
    released.unwrap();
}

async fn follow(
    store: Arc<dyn Store>,
    is_over: Arc<AtomicBool>,
) -> BTreeMap<ShardId, (Option<PodId>, Epoch)> {
    let (mut since, mut map) = (None, BTreeMap::new());
    loop {
        // Asked before the last look.
        let last = is_over.load(Ordering::SeqCst);
        let changes = store.shard_map(since).await.unwrap();
        for it in changes.assignments {
            let before = map.insert(it.shard, (it.owner, it.epoch));
            assert!(before.is_none_or(|(_, epoch)| epoch <= it.epoch));
        }
        since = Some(changes.version);
        if last {
            return map;
        }
    }
}
