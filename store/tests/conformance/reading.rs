//! get, list and load.

use portside_core::keys::KeyRange;
use portside_core::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use portside_core::write::WriteBatch;
use portside_store::testing::Owner;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::common::{Kind, keys, put, value, worker};

/// Sorted by UTF-8 bytes: not as UTF-16 would have it (U+FF5E comes before U+1D11E), nor as any language would.
const SORTED: [&str; 14] = [
    "",
    "\0",
    "\0\0",
    "A",
    "Z",
    "a",
    "a\0",
    "aa",
    "ab",
    "b",
    "z",
    "é",
    "\u{ff5e}",
    "\u{1d11e}",
];

pub async fn keys_are_in_byte_order(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    owner.write(&worker("a"), put(&SORTED)).await;
    assert_eq!(listed(&owner, &KeyRange::default()).await, SORTED);
    let reverse = KeyRange {
        reverse: true,
        ..KeyRange::default()
    };
    let backwards: Vec<_> = SORTED.into_iter().rev().collect();
    assert_eq!(listed(&owner, &reverse).await, backwards);
    let loaded = owner.load(&worker("a")).await.unwrap();
    assert_eq!(keys(&loaded), SORTED);
    assert!(loaded.entries.iter().all(|(key, read)| *read == value(key)));
}

async fn listed(owner: &Owner, range: &KeyRange) -> Vec<String> {
    let it = worker("a");
    let listed = owner.store.list(owner.fence(&it).shard, it.id(), range);
    let listed = listed.await.unwrap();
    assert!(listed.iter().all(|(key, read)| *read == value(key)));
    listed.into_iter().map(|(key, _)| key).collect()
}

pub async fn ranges_are_honoured(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    owner.write(&worker("a"), put(&SORTED)).await;
    owner.write(&worker("b"), put(&["aside"])).await;

    let key = || proptest::option::weighted(0.3, proptest::sample::select(SORTED.to_vec()));
    let ranges = (
        key(),
        key(),
        key(),
        key(),
        any::<bool>(),
        proptest::option::of(0..16_usize),
        proptest::option::of(1..60_usize),
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    runner
        .run(
            &ranges,
            |(prefix, start, start_after, end, reverse, limit, max_bytes)| {
                let range = KeyRange {
                    prefix: prefix.map(Into::into),
                    start: start.map(Into::into),
                    start_after: start_after.map(Into::into),
                    end: end.map(Into::into),
                    reverse,
                    limit,
                    max_bytes,
                };
                let mut expected: Vec<_> = SORTED
                    .into_iter()
                    .filter(|key| range.contains(key))
                    .collect();
                if reverse {
                    expected.reverse();
                }
                expected.truncate(limit.unwrap_or(usize::MAX));
                let mut left = max_bytes.unwrap_or(usize::MAX);
                expected.retain(|key| {
                    let fits = left > 0;
                    left = left.saturating_sub(key.len() + value(key).len());
                    fits
                });
                let got = tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(listed(&owner, &range))
                });
                prop_assert_eq!(got, expected);
                Ok(())
            },
        )
        .unwrap();
}

pub async fn get_leaves_absent_keys_out(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let it = worker("a");
    owner.write(&it, put(&["x", "", "\0"])).await;
    let mut batch = WriteBatch::default();
    batch.write("nothing".into(), Some(value("")));
    owner.write(&it, batch).await;

    let wanted = ["x", "absent", "", "\0", "x", "nothing"].map(String::from);
    let shard = owner.fence(&it).shard;
    let got = fixture.store.get(shard, it.id(), &wanted).await.unwrap();
    let expected = [
        ("", value("")),
        ("\0", value("\0")),
        ("nothing", value("")),
        ("x", value("x")),
    ];
    assert!(
        got.iter()
            .map(|(key, read)| (&key[..], read))
            .eq(expected.iter().map(|(k, v)| (*k, v)))
    );
    assert_eq!(
        fixture.store.get(shard, it.id(), &[]).await.unwrap().len(),
        0
    );
}

pub async fn loading_stops_at_its_limits(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let it = worker("a");
    let mut batch = super::common::set_alarm(7);
    for key in ["a", "b", "c", "d"] {
        batch.write(key.into(), Some(vec![0; 99].into()));
    }
    owner.write(&it, batch).await;
    let load = async |max_keys, max_bytes| {
        let load = fixture
            .store
            .load(owner.fence(&it), it.id(), max_keys, max_bytes);
        let loaded = load.await.unwrap().unwrap();
        assert_eq!(loaded.alarm.unwrap().due, 7);
        (keys(&loaded).concat(), loaded.complete)
    };
    assert_eq!(load(4, 1000).await, ("abcd".into(), true));
    assert_eq!(load(3, 1000).await, ("abc".into(), false));
    assert_eq!(load(1, 1000).await, ("a".into(), false));
    // Each entry has 100 bytes, and the one that reaches the limit is still read.
    assert_eq!(load(9, 200).await, ("ab".into(), false));
    assert_eq!(load(9, 201).await, ("abc".into(), false));
    assert_eq!(load(9, 301).await, ("abcd".into(), true));
    assert_eq!(load(9, 1).await, ("a".into(), false));
}

pub async fn an_unknown_worker_is_empty(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let loaded = owner.load(&worker("never written")).await.unwrap();
    assert_eq!((loaded.entries.len(), loaded.alarm), (0, None));
}

pub async fn the_largest_key_and_value_fit(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let it = worker("a");
    // Nothing that compresses: an index has to hold such a key as it is.
    let noise = |length| {
        (0_u64..)
            .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as u8)
            .take(length)
    };
    let key = String::from_utf8(noise(MAX_KEY_BYTES).collect()).unwrap();
    let large: Vec<u8> = noise(MAX_VALUE_BYTES).collect();
    let mut batch = WriteBatch::default();
    batch.write(key.clone(), Some(large.clone().into()));
    owner.write(&it, batch).await;
    let loaded = owner.load(&it).await.unwrap();
    assert_eq!(loaded.entries[&key][..], large[..]);
}
