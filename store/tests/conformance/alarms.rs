//! Alarms, and which workers are stored at all.

use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::ids::{SHARDS, ShardId, WorkerKey};
use portside_store::DueAlarm;

use super::common::{Fixture, Kind, alarm, clear, delete, put, set_alarm, stored_workers, worker};

async fn due(fixture: &Fixture, until: i64, limit: usize) -> Vec<DueAlarm> {
    let shards: Vec<_> = (0..SHARDS).map(ShardId).collect();
    fixture
        .store
        .alarms(&shards, None, until, limit)
        .await
        .unwrap()
}

pub async fn due_alarms_are_listed_earliest_first(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    for due in [50, -10, 30, 20, 40] {
        owner
            .write(&worker(&format!("at {due}")), set_alarm(due))
            .await;
    }
    let names = |due: Vec<DueAlarm>| -> Vec<String> {
        due.iter().map(|it| it.worker.name().to_owned()).collect()
    };
    assert_eq!(
        names(due(&fixture, 40, 9).await),
        ["at -10", "at 20", "at 30", "at 40"]
    );
    assert_eq!(names(due(&fixture, i64::MAX, 2).await), ["at -10", "at 20"]);
    let only = worker("at 30");
    let shard = only.id().shard(SHARDS);
    let found = fixture
        .store
        .alarms(&[shard], None, i64::MAX, 9)
        .await
        .unwrap();
    let expected = DueAlarm {
        worker: only,
        alarm: Alarm::at(30),
    };
    assert!(found.contains(&expected));
    assert_eq!(
        fixture.store.alarms(&[], None, i64::MAX, 9).await.unwrap(),
        []
    );

    // Put off, it is due later; its identity stays.
    let next = Alarm {
        scheduled: 20,
        retries: 1,
        due: 45,
    };
    owner
        .write(&worker("at 20"), alarm(AlarmChange::RetryIf { next }))
        .await;
    assert_eq!(
        names(due(&fixture, 45, 9).await),
        ["at -10", "at 30", "at 40", "at 20"]
    );
}

pub async fn pages_of_due_alarms_follow_each_other(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    // Many of them due at the same moment.
    let commits: Vec<_> = (0..40)
        .map(|n| owner.commit(&worker(&n.to_string()), set_alarm(n / 15)))
        .collect();
    fixture.store.commit(&commits).await.unwrap();
    let whole = due(&fixture, 2, 99).await;
    assert_eq!(whole.len(), 40);
    for size in [1, 7, 40] {
        let (mut pages, mut after) = (vec![], None);
        loop {
            let shards: Vec<_> = (0..SHARDS).map(ShardId).collect();
            let page = fixture.store.alarms(&shards, after, 2, size).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.alarm.due, last.worker.id()));
            pages.extend(page);
        }
        assert_eq!(pages, whole, "in pages of {size}");
    }
}

pub async fn changes_are_conditional_on_the_arming(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let it = worker("a");
    let retry = |scheduled, due| AlarmChange::RetryIf {
        next: Alarm {
            scheduled,
            retries: 3,
            due,
        },
    };
    let steps = [
        (AlarmChange::ClearIf { scheduled: 5 }, None),
        (retry(5, 9), None),
        (AlarmChange::Set(Alarm::at(5)), Some(Alarm::at(5))),
        (AlarmChange::ClearIf { scheduled: 4 }, Some(Alarm::at(5))),
        (retry(4, 9), Some(Alarm::at(5))),
        (
            retry(5, 9),
            Some(Alarm {
                scheduled: 5,
                retries: 3,
                due: 9,
            }),
        ),
        (
            AlarmChange::Keep,
            Some(Alarm {
                scheduled: 5,
                retries: 3,
                due: 9,
            }),
        ),
        (AlarmChange::Set(Alarm::at(5)), Some(Alarm::at(5))),
        (AlarmChange::ClearIf { scheduled: 5 }, None),
        (AlarmChange::Set(Alarm::at(-1)), Some(Alarm::at(-1))),
        (AlarmChange::Clear, None),
    ];
    for (change, expected) in steps {
        owner.write(&it, alarm(change)).await;
        let loaded = owner.load(&it).await.unwrap();
        assert_eq!(loaded.alarm, expected, "after {change:?}");
    }
    // Both armings at once, in one call.
    let commits = [
        AlarmChange::Set(Alarm::at(7)),
        AlarmChange::ClearIf { scheduled: 6 },
        retry(7, 8),
    ]
    .map(|change| owner.commit(&it, alarm(change)));
    fixture.store.commit(&commits).await.unwrap();
    let commits = [AlarmChange::ClearIf { scheduled: 6 }, retry(7, 9)]
        .map(|change| owner.commit(&it, alarm(change)));
    fixture.store.commit(&commits).await.unwrap();
    assert_eq!(owner.load(&it).await.unwrap().alarm.unwrap().due, 9);
}

pub async fn a_worker_without_keys_and_alarm_is_gone(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let it = worker("a");
    // Ways to have nothing left, in one call and in several.
    let histories = [
        vec![delete(&["x"])],
        vec![alarm(AlarmChange::Clear)],
        vec![clear()],
        vec![put(&["x", "y"]), delete(&["x"]), delete(&["y", "z"])],
        vec![
            put(&["x"]),
            set_alarm(1),
            clear(),
            alarm(AlarmChange::Clear),
        ],
        vec![
            put(&["x"]),
            set_alarm(1),
            alarm(AlarmChange::ClearIf { scheduled: 1 }),
            clear(),
        ],
    ];
    for history in histories {
        for (index, batch) in history.iter().enumerate() {
            assert_eq!(
                stored_workers(&fixture).await,
                i64::from(index > 0),
                "{history:?}"
            );
            owner.write(&it, batch.clone()).await;
        }
        assert_eq!(stored_workers(&fixture).await, 0, "{history:?}");
        let call: Vec<_> = history
            .iter()
            .map(|batch| owner.commit(&it, batch.clone()))
            .collect();
        fixture.store.commit(&call).await.unwrap();
        assert_eq!(stored_workers(&fixture).await, 0, "{history:?} at once");
    }
}

pub async fn names_survive_any_character(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    let names = ["", "\0", "a\0b", "𝄞 é", &"n".repeat(1024)];
    let mut workers: Vec<_> = names
        .iter()
        .map(|name| WorkerKey::new("dir/ü\0.js", name).unwrap())
        .collect();
    for it in &workers {
        owner.write(it, set_alarm(1)).await;
    }
    let mut found: Vec<_> = due(&fixture, 1, 9)
        .await
        .into_iter()
        .map(|it| it.worker)
        .collect();
    found.sort();
    workers.sort();
    assert_eq!(found, workers);
}
