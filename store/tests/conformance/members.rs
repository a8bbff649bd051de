//! What pods that share the shards know of each other, and how shards change hands.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId};
use portside_core::ownership::members::{
    KeyFingerprint, MapChanges, MapVersion, Participant, Peer, Revision,
};
use portside_store::testing::Owner;
use portside_store::{Outcome, Store};

use super::common::{Kind, keys, put, value, worker};

fn peer(number: u8) -> Peer {
    Peer {
        address: format!("[2001:db8::{number}]:7070"),
        revision: Revision(u64::MAX - u64::from(number)),
        protocol: u32::from(number),
        key: KeyFingerprint([number; 32]),
    }
}

fn fences(pod: PodId, shards: &[(ShardId, Epoch)]) -> Vec<Fence> {
    let fence = |&(shard, epoch)| Fence { pod, shard, epoch };
    shards.iter().map(fence).collect()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

async fn participant(store: &dyn Store, pod: PodId) -> Participant {
    let members = store.members().await.unwrap();
    let mut participants = members.participants.into_iter();
    participants.find(|it| it.member.pod == pod).unwrap()
}

pub async fn what_a_pod_announces_is_seen(kind: Kind) {
    let fixture = kind.open().await;
    let store = &*fixture.store;
    let (a, b) = (fixture.pod().await, fixture.pod().await);
    assert_eq!(participant(store, a).await.peer, None);
    assert!(store.announce(a, &peer(1)).await.unwrap());
    assert!(store.renew(a, 7, true).await.unwrap());
    let seen = participant(store, a).await;
    assert_eq!(seen.peer, Some(peer(1)));
    assert!(seen.member.wants && seen.member.renewed == 7);
    assert_eq!(seen.name, "a pod");
    assert_eq!(participant(store, b).await.peer, None);

    assert!(store.announce(a, &peer(2)).await.unwrap());
    assert_eq!(participant(store, a).await.peer, Some(peer(2)));
    assert!(store.declare_dead(a, 7).await.unwrap());
    assert!(!store.announce(a, &peer(3)).await.unwrap());
    let left = store.members().await.unwrap().participants;
    assert_eq!(left, [participant(store, b).await]);
}

pub async fn shards_of_the_living_are_counted(kind: Kind) {
    let fixture = kind.open().await;
    let store = &*fixture.store;
    assert_eq!(store.members().await.unwrap().free, SHARDS);
    let (a, b) = (fixture.pod().await, fixture.pod().await);
    store.claim(a, 100).await.unwrap();
    store.claim(b, 30).await.unwrap();
    let members = store.members().await.unwrap();
    assert_eq!(members.free, SHARDS - 130);
    let owns = members.participants.iter();
    let owns: BTreeMap<PodId, u32> = owns.map(|it| (it.member.pod, it.owns)).collect();
    assert_eq!(owns, BTreeMap::from([(a, 100), (b, 30)]));

    // What a dead pod owned is free.
    store.declare_dead(a, 0).await.unwrap();
    let members = store.members().await.unwrap();
    assert_eq!((members.free, members.participants.len()), (SHARDS - 30, 1));
}

pub async fn shards_are_handed_over_with_all_that_was_written(kind: Kind) {
    let fixture = kind.open().await;
    let store = &*fixture.store;
    let owner = fixture.owner().await;
    let it = worker("a");
    owner.write(&it, put(&["x"])).await;
    let mine = owner.fence(&it);
    let mut given: Vec<_> = owner.epochs.iter().map(|it| (*it.0, *it.1)).collect();
    given.retain(|(shard, _)| *shard != mine.shard);
    given.truncate(3);
    given.push((mine.shard, mine.epoch));
    let mut given = fences(owner.pod, &given);
    // The epoch of one of them is over.
    store.advance(given[0]).await.unwrap().unwrap();

    let heir = fixture.pod().await;
    let moved = sorted(store.hand_over(&given, heir).await.unwrap());
    let expected = given[1..]
        .iter()
        .map(|it| (it.shard, Epoch(it.epoch.0 + 1)));
    assert_eq!(moved, sorted(expected.collect::<Vec<_>>()));
    assert_eq!(sorted(store.owned(heir).await.unwrap()), moved);
    let left = store.owned(owner.pod).await.unwrap();
    assert_eq!(left.len(), SHARDS as usize - 3);

    let late = owner.commit(&it, put(&["late"]));
    assert_eq!(store.commit(&[late]).await.unwrap(), [Outcome::Fenced]);
    assert_eq!(owner.load(&it).await, None);
    let heir = Owner {
        store: fixture.store.clone(),
        pod: heir,
        epochs: moved.iter().copied().collect(),
    };
    assert_eq!(keys(&heir.load(&it).await.unwrap()), ["x"]);
    heir.write(&it, put(&["y"])).await;

    // Carried out once more, late: nothing that has moved does so again.
    given.remove(0);
    assert_eq!(store.hand_over(&given, owner.pod).await.unwrap(), []);
    assert_eq!(sorted(store.owned(heir.pod).await.unwrap()), moved);
    assert!(store.renew(owner.pod, 1, true).await.unwrap());
}

pub async fn nothing_is_handed_to_the_dead(kind: Kind) {
    let fixture = kind.open().await;
    let store = &*fixture.store;
    let owner = fixture.pod().await;
    let owned = store.claim(owner, 9).await.unwrap();
    let dead = fixture.pod().await;
    assert!(store.declare_dead(dead, 0).await.unwrap());
    let before = store.members().await.unwrap();
    for nobody in [dead, PodId(7)] {
        let moved = store.hand_over(&fences(owner, &owned), nobody).await;
        assert_eq!(moved.unwrap(), []);
    }
    assert_eq!(sorted(store.owned(owner).await.unwrap()), sorted(owned));
    assert_eq!(store.members().await.unwrap(), before);
}

pub async fn racing_hand_overs_move_a_shard_once(kind: Kind) {
    let fixture = kind.open().await;
    let store = &*fixture.store;
    let owner = fixture.pod().await;
    let owned = store.claim(owner, 200).await.unwrap();
    let mut others = vec![];
    for _ in 0..4 {
        others.push(fixture.pod().await);
    }
    let all = fences(owner, &owned);
    let racing = others.iter().map(|&to| store.hand_over(&all, to));
    let moved = join_all(racing).await.into_iter().flat_map(Result::unwrap);
    let moved: Vec<ShardId> = moved.map(|(shard, _)| shard).collect();
    let once: BTreeSet<ShardId> = moved.iter().copied().collect();
    assert_eq!((moved.len(), once.len()), (200, 200));
}

/// An owner writes as fast as it can while its shard is handed over.
pub async fn a_hand_over_loses_no_acknowledged_commit(kind: Kind) {
    let fixture = kind.open().await;
    let it = worker("a");
    let shard = it.id().shard(SHARDS);
    let mut owner = fixture.owner().await;
    for round in 0..10 {
        let heir = fixture.pod().await;
        let writing = async {
            let mut acknowledged = None;
            for count in 0_u32.. {
                let mut batch = put(&[]);
                batch.write("count".into(), Some(value(&format!("{round} {count}"))));
                let commit = owner.commit(&it, batch);
                match fixture.store.commit(&[commit]).await.unwrap()[..] {
                    [Outcome::Committed] => acknowledged = Some(format!("{round} {count}")),
                    _ => break,
                }
            }
            acknowledged
        };
        let moving = async {
            let begun = value(&format!("{round} "));
            // Once something has been written in this epoch.
            while !owner
                .load(&it)
                .await
                .unwrap()
                .entries
                .get("count")
                .is_some_and(|it| it.starts_with(&begun))
            {}
            let moved = fixture.store.hand_over(&[owner.fence(&it)], heir).await;
            let moved = moved.unwrap();
            assert_eq!(moved.len(), 1);
            assert_eq!(moved[0].0, shard);
            let heir = Owner {
                store: fixture.store.clone(),
                pod: heir,
                epochs: moved.into_iter().collect(),
            };
            let loaded = heir.load(&it).await.unwrap();
            (heir, loaded.entries["count"].clone())
        };
        let (acknowledged, (heir, loaded)) = futures::join!(writing, moving);
        assert_eq!(loaded, value(&acknowledged.unwrap()));
        owner = heir;
    }
}

/// The shard map as somebody has it who asks for what has changed.
#[derive(Default)]
struct Follower {
    version: Option<MapVersion>,
    map: BTreeMap<ShardId, (Option<PodId>, Epoch)>,
}

impl Follower {
    fn apply(&mut self, changes: &MapChanges) {
        for it in &changes.assignments {
            self.map.insert(it.shard, (it.owner, it.epoch));
        }
        self.version = Some(changes.version);
    }

    /// Asks, says whether there is a new version, and compares with the whole.
    async fn follow(&mut self, store: &dyn Store) -> bool {
        let before = self.version;
        let changes = store.shard_map(before).await.unwrap();
        self.apply(&changes);
        assert!(self.version >= before);
        assert!(self.version > before || changes.assignments.is_empty());
        let mut whole = Self::default();
        whole.apply(&store.shard_map(None).await.unwrap());
        let same = self
            .map
            .iter()
            .zip(&whole.map)
            .all(|((a, mine), (b, now))| {
                // An epoch may be a later one of the same owner.
                a == b && mine.0 == now.0 && mine.1 <= now.1
            });
        assert!(same && self.map.len() == SHARDS as usize && whole.map.len() == self.map.len());
        assert_eq!(
            self.version,
            Some(store.members().await.unwrap().map_version)
        );
        self.version > before
    }

    fn owned(&self, pod: PodId) -> Vec<(ShardId, Epoch)> {
        let owned = self.map.iter().filter(|(_, it)| it.0 == Some(pod));
        owned.map(|(shard, it)| (*shard, it.1)).collect()
    }
}

pub async fn the_map_follows_every_change_of_owners(kind: Kind) {
    let fixture = kind.open().await;
    let store = &*fixture.store;
    let mut map = Follower::default();
    assert!(map.follow(store).await);
    assert!(!map.follow(store).await);

    let (a, b) = (fixture.pod().await, fixture.pod().await);
    let claimed = store.claim(a, 100).await.unwrap();
    assert!(map.follow(store).await);
    assert_eq!(map.owned(a), sorted(claimed));
    // Nothing is left to claim for the dead, nor to give up by old fences.
    assert_eq!(store.claim(PodId(7), 5).await.unwrap(), []);
    let stale = fences(b, &map.owned(a));
    assert_eq!(store.hand_over(&stale, b).await.unwrap(), []);
    assert!(!map.follow(store).await);

    let given = fences(a, &map.owned(a)[..10]);
    let moved = store.hand_over(&given, b).await.unwrap();
    assert!(map.follow(store).await);
    assert_eq!(map.owned(b), sorted(moved));
    // The owner stays: no new version.
    let advanced = fences(b, &map.owned(b))[0];
    assert!(store.advance(advanced).await.unwrap().is_some());
    assert!(!map.follow(store).await);

    let released = fences(a, &map.owned(a)[..20]);
    store.release_shards(&released).await.unwrap();
    assert!(map.follow(store).await);
    assert_eq!(map.owned(a).len(), 70);
    store.release(a).await.unwrap();
    assert!(map.follow(store).await);
    assert_eq!((map.owned(a), map.owned(b).len()), (vec![], 10));

    // Of another copy of the database, which knew more.
    let later = map.version.map(|it| MapVersion(it.0 + 1_000));
    let whole = store.shard_map(later).await.unwrap();
    assert_eq!(whole.assignments.len(), SHARDS as usize);
    assert_eq!(Some(whole.version), map.version);
}
