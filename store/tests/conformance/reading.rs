//! get, list and load.

use portside_core::alarm::Alarm;
use portside_core::ids::{SHARDS, WorkerKey};
use portside_core::keys::KeyRange;
use portside_core::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use portside_core::migrations::Origin;
use portside_core::objects::{NAME_KEY, ObjectId};
use portside_core::write::WriteBatch;
use portside_store::testing::Owner;
use portside_store::{Size, StoredWorker, WorkerPage};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::common::{Kind, clear, keys, put, set_alarm, value, worker};

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

pub async fn workers_are_listed_page_by_page(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let store = &fixture.store;
    let all = |page: WorkerPage| async move {
        let (mut found, mut page) = (Vec::new(), page);
        loop {
            let some = store.workers(&page).await.unwrap();
            assert!(some.len() <= page.limit);
            let Some(last) = some.last() else {
                return found;
            };
            page.after = Some(last.worker.id());
            found.extend(some);
        }
    };
    let page = |limit| WorkerPage {
        limit,
        ..WorkerPage::default()
    };
    assert_eq!(all(page(10)).await, []);
    let mut workers: Vec<_> = (0..40)
        .map(|index| {
            let script = if index % 4 == 0 {
                "other.js"
            } else {
                "dir/ü\0.js"
            };
            WorkerKey::new(script, &format!("é{index}")).unwrap()
        })
        .collect();
    for it in &workers {
        owner.write(it, put(&["a", "é"])).await;
    }
    owner.write(&workers[0], set_alarm(7)).await;
    owner.write(&workers[1], clear()).await;
    let gone = workers.remove(1);
    let place = |it: &WorkerKey| (it.id().shard(SHARDS), it.id());
    workers.sort_by_key(place);
    let keys = |found: Vec<StoredWorker>| found.into_iter().map(|it| it.worker).collect::<Vec<_>>();
    for limit in [1, 7, 39, 100] {
        assert_eq!(keys(all(page(limit)).await), workers, "by {limit}");
    }
    // Of some, and from one on that is not there.
    let script = page_of(|it| it.script = Some("other.js".into()));
    let of_script = |it: &WorkerKey| it.script() == "other.js";
    let expected: Vec<_> = workers.iter().filter(|it| of_script(it)).cloned().collect();
    assert_eq!(keys(all(script).await), expected);
    let expected: Vec<_> = workers
        .iter()
        .filter(|it| place(it) > place(&gone))
        .cloned()
        .collect();
    assert_eq!(
        keys(all(page_of(|it| it.after = Some(gone.id()))).await),
        expected
    );
}

fn page_of(set: impl FnOnce(&mut WorkerPage)) -> WorkerPage {
    let mut page = WorkerPage {
        limit: 5,
        ..WorkerPage::default()
    };
    set(&mut page);
    page
}

pub async fn a_worker_is_found_with_its_alarm_and_size(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let (it, store) = (worker("a"), &fixture.store);
    assert_eq!(store.worker(it.id()).await.unwrap(), None);
    owner.write(&it, put(&["a", "é"])).await;
    owner.write(&it, set_alarm(7)).await;
    owner.write(&worker("b"), put(&["x"])).await;
    let mut expected = StoredWorker {
        worker: it.clone(),
        alarm: Some(Alarm::at(7)),
        // The values are the keys.
        size: Size { keys: 2, bytes: 6 },
        object_name: None,
    };
    assert_eq!(
        store.worker(it.id()).await.unwrap().as_ref(),
        Some(&expected)
    );
    let many: Vec<String> = (0..Size::MOST_KEYS)
        .map(|key| format!("k{key:04}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    owner.write(&it, put(&many)).await;
    // The first ones in the order of keys: "a", and "k0000" to "k0998".
    expected.size = Size {
        keys: 1000,
        bytes: 2 + 999 * 10,
    };
    assert_eq!(store.worker(it.id()).await.unwrap(), Some(expected));
}

pub async fn an_object_is_found_with_its_name(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let class = Origin {
        tag: "v1".into(),
        name: "Room".into(),
    };
    let object = |name| ObjectId::of_name(&class, name).address(&class);
    let (named, nameless) = (object("é"), object("b"));
    let mut batch = put(&["x"]);
    batch.write(NAME_KEY.to_owned(), Some("é".as_bytes().into()));
    owner.write(&named, batch.clone()).await;
    owner.write(&nameless, put(&["x"])).await;
    // Of a worker it is a key like any other.
    owner.write(&worker("c"), batch).await;
    let name = async |key: &WorkerKey| {
        let found = fixture.store.worker(key.id()).await.unwrap();
        found.unwrap().object_name
    };
    assert_eq!(name(&named).await.as_deref(), Some("é"));
    assert_eq!(name(&nameless).await, None);
    assert_eq!(name(&worker("c")).await, None);
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
