//! Leases, shards and fences. The invariant: at most one pod's writes are accepted for a shard's epoch, and epochs only
//! grow.

use std::collections::BTreeSet;

use futures::future::join_all;
use portside_core::ids::{Epoch, Fence, PodId, SHARDS};
use portside_core::ownership::Member;
use portside_store::testing::Owner;
use portside_store::{Outcome, Store};

use super::common::{Kind, clear, keys, put, set_alarm, value, worker};

pub async fn claims_are_disjoint_and_raise_the_epoch(kind: Kind) {
    let fixture = kind.open().await;
    let (a, b) = (fixture.pod().await, fixture.pod().await);
    let first = fixture.store.claim(a, 100).await.unwrap();
    let second = fixture.store.claim(b, SHARDS).await.unwrap();
    assert_eq!((first.len(), second.len()), (100, SHARDS as usize - 100));
    let shards: BTreeSet<_> = first
        .iter()
        .chain(&second)
        .map(|(shard, _)| shard)
        .collect();
    assert_eq!(shards.len(), SHARDS as usize);
    assert!(first.iter().all(|(_, epoch)| *epoch == Epoch(1)));
    assert_eq!(fixture.store.claim(a, SHARDS).await.unwrap(), []);

    fixture.store.release(a).await.unwrap();
    let again = fixture.store.claim(b, SHARDS).await.unwrap();
    assert_eq!(again.len(), 100);
    // One for the release, one for the claim.
    assert!(again.iter().all(|(_, epoch)| *epoch == Epoch(3)));
}

pub async fn racing_claims_never_take_a_shard_twice(kind: Kind) {
    let fixture = kind.open().await;
    let mut pods = vec![];
    for _ in 0..6 {
        pods.push(fixture.pod().await);
    }
    let mut claimed = vec![];
    while claimed.len() < SHARDS as usize {
        let round = join_all(pods.iter().map(|&pod| fixture.store.claim(pod, 300))).await;
        claimed.extend(round.into_iter().flat_map(Result::unwrap));
    }
    let shards: BTreeSet<_> = claimed.iter().map(|(shard, _)| shard).collect();
    assert_eq!(
        (claimed.len(), shards.len()),
        (SHARDS as usize, SHARDS as usize)
    );
    assert!(claimed.iter().all(|(_, epoch)| *epoch == Epoch(1)));
}

fn member(pod: PodId, renewed: u64, wants: bool) -> Member {
    Member {
        pod,
        renewed,
        wants,
    }
}

pub async fn only_live_pods_claim(kind: Kind) {
    let fixture = kind.open().await;
    assert_eq!(fixture.store.claim(PodId(7), 1).await.unwrap(), []);
    let pod = fixture.pod().await;
    assert!(fixture.store.declare_dead(pod, 0).await.unwrap());
    assert_eq!(fixture.store.claim(pod, 1).await.unwrap(), []);
}

pub async fn an_unchanged_number_is_death_and_death_is_final(kind: Kind) {
    let fixture = kind.open().await;
    let dead = fixture.owner().await;
    assert!(fixture.store.renew(dead.pod, 7, true).await.unwrap());
    assert_eq!(
        fixture.store.observe().await.unwrap(),
        [member(dead.pod, 7, true)]
    );

    assert!(fixture.store.declare_dead(dead.pod, 7).await.unwrap());
    assert!(!fixture.store.renew(dead.pod, 8, true).await.unwrap());
    assert_eq!(fixture.store.observe().await.unwrap(), []);
    // Whoever says so again, with whatever number, learns the same.
    assert!(fixture.store.declare_dead(dead.pod, 99).await.unwrap());

    let heir = fixture.owner().await;
    assert_eq!(heir.epochs.len(), SHARDS as usize);
    let late = dead.commit(&worker("a"), put(&["late"]));
    assert_eq!(
        fixture.store.commit(&[late]).await.unwrap(),
        [Outcome::Fenced]
    );
    assert_eq!(dead.load(&worker("a")).await, None);
}

pub async fn a_renewal_saves_from_an_old_observation(kind: Kind) {
    let fixture = kind.open().await;
    let pod = fixture.pod().await;
    let seen = fixture.store.observe().await.unwrap()[0].renewed;
    assert_eq!(
        fixture.store.observe().await.unwrap(),
        [member(pod, 0, false)]
    );
    assert!(fixture.store.renew(pod, 2, true).await.unwrap());
    assert!(!fixture.store.declare_dead(pod, seen).await.unwrap());
    // One that was sent earlier and is carried out late brings no number back.
    assert!(fixture.store.renew(pod, 1, false).await.unwrap());
    assert_eq!(
        fixture.store.observe().await.unwrap(),
        [member(pod, 2, true)]
    );
    assert!(fixture.store.renew(pod, 3, false).await.unwrap());
    assert_eq!(
        fixture.store.observe().await.unwrap(),
        [member(pod, 3, false)]
    );
}

pub async fn released_shards_are_free_and_fenced(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    owner.write(&worker("a"), put(&["x"])).await;
    fixture.store.release(owner.pod).await.unwrap();
    assert!(!fixture.store.renew(owner.pod, 1, true).await.unwrap());
    let late = owner.commit(&worker("a"), put(&["late"]));
    assert_eq!(
        fixture.store.commit(&[late]).await.unwrap(),
        [Outcome::Fenced]
    );
    let next = fixture.owner().await;
    assert_eq!(keys(&next.load(&worker("a")).await.unwrap()), ["x"]);
}

pub async fn a_stale_epoch_writes_nothing(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let it = worker("a");
    owner.write(&it, put(&["kept"])).await;
    owner.write(&it, set_alarm(5)).await;
    let before = owner.load(&it).await;

    let right = owner.fence(&it);
    let wrong = [
        Fence {
            epoch: Epoch(0),
            ..right
        },
        Fence {
            epoch: Epoch(right.epoch.0 + 1),
            ..right
        },
        Fence {
            epoch: Epoch(u64::MAX),
            ..right
        },
        Fence {
            pod: PodId(1),
            ..right
        },
    ];
    for fence in wrong {
        for batch in [
            put(&["new"]),
            clear(),
            set_alarm(9),
            super::common::delete(&["kept"]),
        ] {
            let mut commit = owner.commit(&it, batch);
            commit.fence = fence;
            assert_eq!(
                fixture.store.commit(&[commit]).await.unwrap(),
                [Outcome::Fenced],
                "{fence:?}"
            );
        }
        let read = fixture.store.load(fence, it.id(), 10, 10).await.unwrap();
        assert_eq!(read, None, "{fence:?}");
        assert_eq!(fixture.store.advance(fence).await.unwrap(), None);
    }
    assert_eq!(owner.load(&it).await, before);
}

/// An old owner writes as fast as it can, over many calls at a time, while a new one takes over.
pub async fn a_takeover_sees_the_last_acknowledged_commit(kind: Kind) {
    let fixture = kind.open().await;
    let it = worker("a");
    let mut owner = fixture.owner().await;
    for _ in 0..10 {
        let heir = fixture.pod().await;
        let writing = async {
            let mut acknowledged = None;
            for count in 0_u32.. {
                let mut batch = put(&[]);
                batch.write("count".into(), Some(value(&format!("{count:09}"))));
                let commit = owner.commit(&it, batch);
                match fixture.store.commit(&[commit]).await.unwrap()[..] {
                    [Outcome::Committed] => acknowledged = Some(count),
                    _ => break,
                }
            }
            acknowledged
        };
        let taking = async {
            // Once something has been written in this epoch.
            while owner.load(&it).await.unwrap().entries.is_empty() {}
            assert!(fixture.store.declare_dead(owner.pod, 0).await.unwrap());
            let mut heir = Owner::claim(&fixture.store, heir).await;
            // A shard in the middle of a commit may be passed over.
            while !heir.epochs.contains_key(&it.id().shard(SHARDS)) {
                heir.epochs
                    .extend(fixture.store.claim(heir.pod, SHARDS).await.unwrap());
            }
            let loaded = heir.load(&it).await.unwrap();
            (heir, loaded.entries["count"].clone())
        };
        let (acknowledged, (heir, loaded)) = futures::join!(writing, taking);
        let acknowledged = acknowledged.map_or(String::new(), |count| format!("{count:09}"));
        assert_eq!(loaded, value(&acknowledged));
        heir.write(&it, clear()).await;
        owner = heir;
    }
}

async fn declare_all_dead(store: &dyn Store) {
    for pod in store.observe().await.unwrap() {
        store.declare_dead(pod.pod, pod.renewed).await.unwrap();
    }
}

/// Two pods, each of which takes what the other has and appends. No append may be lost that was acknowledged.
pub async fn racing_pods_never_both_write(kind: Kind) {
    let fixture = kind.open().await;
    let it = worker("list");
    let shard = it.id().shard(SHARDS);
    let run = |name: &'static str| {
        let (fixture, it) = (&fixture, it.clone());
        async move {
            let mut acknowledged = vec![];
            for round in 0..12 {
                // Everybody else is declared dead, then every free shard taken.
                declare_all_dead(&*fixture.store).await;
                let pod = fixture.pod().await;
                let owner = Owner::claim(&fixture.store, pod).await;
                if !owner.epochs.contains_key(&shard) {
                    continue;
                }
                let Some(loaded) = owner.load(&it).await else {
                    continue;
                };
                let mut list = loaded
                    .entries
                    .get("list")
                    .map_or(vec![], |list| list.to_vec());
                for turn in 0..5 {
                    let item = format!("{name}{round}.{turn} ");
                    list.extend_from_slice(item.as_bytes());
                    let mut batch = put(&[]);
                    batch.write("list".into(), Some(list.clone().into()));
                    let commit = owner.commit(&it, batch);
                    match fixture.store.commit(&[commit]).await.unwrap()[..] {
                        [Outcome::Committed] => acknowledged.push(item),
                        _ => break,
                    }
                }
            }
            acknowledged
        }
    };
    let (a, b) = futures::join!(run("a"), run("b"));
    declare_all_dead(&*fixture.store).await;
    let last = fixture.owner().await.load(&it).await.unwrap();
    let list = String::from_utf8(last.entries["list"].to_vec()).unwrap();
    let written: Vec<&str> = list.split_inclusive(' ').collect();
    assert_eq!(written.len(), a.len() + b.len());
    for of_one in [a, b] {
        let seen = written
            .iter()
            .filter(|item| of_one.iter().any(|it| it == *item));
        assert!(seen.eq(of_one.iter()), "{of_one:?} in {list}");
    }
}

pub async fn advancing_refuses_the_old_epoch(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let it = worker("a");
    let old = owner.fence(&it);
    let epoch = fixture.store.advance(old).await.unwrap().unwrap();
    assert!(epoch > old.epoch);

    let mut commits = [
        owner.commit(&it, put(&["late"])),
        owner.commit(&it, put(&["new"])),
    ];
    commits[1].fence.epoch = epoch;
    let outcomes = fixture.store.commit(&commits).await.unwrap();
    assert_eq!(outcomes, [Outcome::Fenced, Outcome::Committed]);
    let loaded = fixture.store.load(commits[1].fence, it.id(), 10, 1000);
    assert_eq!(keys(&loaded.await.unwrap().unwrap()), ["new"]);
    assert_eq!(fixture.store.advance(old).await.unwrap(), None);
}

pub async fn a_pod_reads_what_it_owns(kind: Kind) {
    let fixture = kind.open().await;
    let (a, b) = (fixture.pod().await, fixture.pod().await);
    assert_eq!(fixture.store.owned(a).await.unwrap(), []);
    let sorted = |mut owned: Vec<_>| {
        owned.sort();
        owned
    };
    let mut claimed = sorted(fixture.store.claim(a, 100).await.unwrap());
    let others = fixture.store.claim(b, SHARDS).await.unwrap();
    assert_eq!(sorted(fixture.store.owned(a).await.unwrap()), claimed);
    assert_eq!(
        sorted(fixture.store.owned(b).await.unwrap()),
        sorted(others)
    );

    let (shard, epoch) = claimed[7];
    let fence = Fence {
        pod: a,
        shard,
        epoch,
    };
    claimed[7].1 = fixture.store.advance(fence).await.unwrap().unwrap();
    assert_eq!(sorted(fixture.store.owned(a).await.unwrap()), claimed);
    fixture.store.release(a).await.unwrap();
    assert_eq!(fixture.store.owned(a).await.unwrap(), []);
}

pub async fn released_shards_leave_the_rest_and_the_lease(kind: Kind) {
    let fixture = kind.open().await;
    let (a, b) = (fixture.pod().await, fixture.pod().await);
    let claimed = fixture.store.claim(a, SHARDS).await.unwrap();
    let fences: Vec<_> = claimed
        .iter()
        .map(|&(shard, epoch)| Fence {
            pod: a,
            shard,
            epoch,
        })
        .collect();
    let moved = fixture.store.advance(fences[0]).await.unwrap().unwrap();
    // The first one's epoch is over, so that one stays.
    fixture.store.release_shards(&fences[..5]).await.unwrap();
    let owned = fixture.store.owned(a).await.unwrap();
    assert_eq!(owned.len(), SHARDS as usize - 4);
    assert!(owned.contains(&(claimed[0].0, moved)));
    assert!(
        fixture.store.renew(a, 1, true).await.unwrap(),
        "it is still alive"
    );
    let theirs = fixture.store.claim(b, SHARDS).await.unwrap();
    assert_eq!(theirs.len(), 4);
    // Carried out once more, late: nothing of b's goes.
    fixture.store.release_shards(&fences[..5]).await.unwrap();
    assert_eq!(fixture.store.owned(b).await.unwrap().len(), 4);
}

pub async fn an_application_is_deleted_by_its_owner_only(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    owner.write(&worker("a"), put(&["x", "y"])).await;
    owner.write(&worker("b"), set_alarm(5)).await;
    assert_eq!(fixture.store.count_workers().await.unwrap(), 2);

    let other = fixture.pod().await;
    assert!(!fixture.store.delete_all(other).await.unwrap());
    assert_eq!(fixture.store.count_workers().await.unwrap(), 2);

    assert!(fixture.store.delete_all(owner.pod).await.unwrap());
    assert_eq!(fixture.store.count_workers().await.unwrap(), 0);
    assert!(!fixture.store.renew(owner.pod, 1, true).await.unwrap());
    let late = owner.commit(&worker("a"), put(&["late"]));
    assert_eq!(
        fixture.store.commit(&[late]).await.unwrap(),
        [Outcome::Fenced]
    );
    // The same name begins anew.
    let app = fixture.app.clone();
    drop(owner);
    let fixture = fixture.reopen(&app).await;
    assert!(keys(&fixture.owner().await.load(&worker("a")).await.unwrap()).is_empty());
}
