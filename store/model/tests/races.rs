//! The interleavings that `store/tests/races.rs` forces on a real Postgres, and what crashes and late statements do.

#![allow(clippy::unwrap_used)] // These are tests.

use portside_core::fold::Written;
use portside_core::ids::{Epoch, Fence, PodId, ShardId, WorkerKey};
use portside_core::ownership::Member;
use portside_core::write::{Commit, WriteBatch};
use portside_store_model::{Database, Loaded, Progress, Reply, Row, Statement};

const OLD: PodId = PodId(1);
const HEIR: PodId = PodId(2);
const SHARD: ShardId = ShardId(0);

fn worker() -> WorkerKey {
    WorkerKey::new("w.js", "a").unwrap()
}

fn register(pod: PodId) -> Statement {
    let name = String::new();
    Statement::Register { pod, name }
}

fn fence(pod: PodId, epoch: u64) -> Fence {
    Fence {
        pod,
        shard: SHARD,
        epoch: Epoch(epoch),
    }
}

fn member(pod: PodId, renewed: u64) -> Member {
    Member {
        pod,
        renewed,
        wants: renewed > 0,
    }
}

fn put(fence: Fence, value: &str) -> Statement {
    let mut batch = WriteBatch::default();
    batch.write("count".into(), Some(value.as_bytes().into()));
    Statement::Commit {
        commits: vec![Commit {
            fence,
            worker: worker(),
            batch,
        }],
    }
}

fn load(fence: Fence) -> Statement {
    Statement::Load {
        fence,
        worker: worker().id(),
        max_keys: 9,
        max_bytes: 9_999,
    }
}

/// What a load found; `None` if it was fenced.
fn count(reply: Option<Reply>) -> Option<String> {
    let Some(Reply::Loaded(loaded)) = reply else {
        panic!("a load is answered: {reply:?}");
    };
    loaded.map(|loaded: Loaded| String::from_utf8(loaded.entries["count"].to_vec()).unwrap())
}

/// A database with one shard, which `OLD` owns in epoch 1, having written 0.
fn owned() -> Database {
    let mut database = Database::new(1);
    for pod in [OLD, HEIR] {
        database.run(register(pod)).unwrap();
    }
    let claimed = database.run(Statement::Claim { pod: OLD, limit: 9 });
    assert_eq!(claimed, Some(Reply::Shards(vec![(SHARD, Epoch(1))])));
    assert_eq!(
        database.run(put(fence(OLD, 1), "0")),
        Some(Reply::Written(vec![Written::Committed]))
    );
    database
}

fn take_over(database: &mut Database) {
    let dead = Statement::DeclareDead { pod: OLD, seen: 0 };
    assert_eq!(database.run(dead), Some(Reply::Is(true)));
    let claim = Statement::Claim {
        pod: HEIR,
        limit: 9,
    };
    assert_eq!(
        database.run(claim),
        Some(Reply::Shards(vec![(SHARD, Epoch(2))]))
    );
}

#[test]
fn a_commit_that_began_before_a_takeover_is_refused_after_it() {
    let mut database = owned();
    let late = database.begin(put(fence(OLD, 1), "99"));
    take_over(&mut database);
    assert_eq!(
        database.finish(late),
        Some(Reply::Written(vec![Written::Fenced]))
    );
    assert_eq!(count(database.run(load(fence(HEIR, 2)))).unwrap(), "0");
}

#[test]
fn a_takeover_passes_over_a_commit_under_way_and_then_sees_it() {
    let mut database = owned();
    let last = database.begin(put(fence(OLD, 1), "41"));
    assert_eq!(database.lock(last), Some(Progress::Ready));
    let dead = Statement::DeclareDead { pod: OLD, seen: 0 };
    assert_eq!(database.run(dead), Some(Reply::Is(true)));
    let claim = Statement::Claim {
        pod: HEIR,
        limit: 9,
    };
    assert_eq!(database.run(claim.clone()), Some(Reply::Shards(vec![])));
    assert_eq!(
        database.finish(last),
        Some(Reply::Written(vec![Written::Committed]))
    );
    assert_eq!(
        database.run(claim),
        Some(Reply::Shards(vec![(SHARD, Epoch(2))]))
    );
    assert_eq!(count(database.run(load(fence(HEIR, 2)))).unwrap(), "41");
}

#[test]
fn of_two_claims_that_saw_a_shard_free_one_gets_it() {
    let mut database = Database::new(2);
    for pod in [OLD, HEIR] {
        database.run(register(pod)).unwrap();
    }
    let first = database.begin(Statement::Claim { pod: OLD, limit: 1 });
    let second = database.begin(Statement::Claim {
        pod: HEIR,
        limit: 9,
    });
    let claimed = database.finish(first);
    assert_eq!(claimed, Some(Reply::Shards(vec![(SHARD, Epoch(1))])));
    let claimed = database.finish(second);
    assert_eq!(claimed, Some(Reply::Shards(vec![(ShardId(1), Epoch(1))])));
}

#[test]
fn an_advance_waits_for_a_commit_under_way() {
    let mut database = owned();
    let last = database.begin(put(fence(OLD, 1), "41"));
    database.lock(last);
    let fence = fence(OLD, 1);
    let advance = database.begin(Statement::Advance { fence });
    assert_eq!(
        database.lock(advance),
        Some(Progress::Waits(Row::Shard(SHARD)))
    );
    assert_eq!(database.finish(advance), None);
    database.finish(last).unwrap();
    assert_eq!(database.finish(advance), Some(Reply::Epoch(Some(Epoch(2)))));
}

#[test]
fn a_commit_that_waited_for_another_is_sent_again() {
    let mut database = owned();
    let first = database.begin(put(fence(OLD, 1), "1"));
    let second = database.begin(put(fence(OLD, 1), "2"));
    database.finish(first).unwrap();
    assert_eq!(
        database.finish(second),
        Some(Reply::Written(vec![Written::Again]))
    );
    assert_eq!(count(database.run(load(fence(OLD, 1)))).unwrap(), "1");
}

#[test]
fn a_load_reads_as_of_its_start() {
    let mut database = owned();
    let stale = database.begin(load(fence(OLD, 1)));
    database.run(put(fence(OLD, 1), "1")).unwrap();
    take_over(&mut database);
    assert_eq!(count(database.finish(stale)).unwrap(), "0");
    assert_eq!(count(database.run(load(fence(OLD, 1)))), None);
}

#[test]
fn a_renewal_under_way_saves_from_being_declared_dead() {
    let mut database = owned();
    let renewal = database.begin(Statement::Renew {
        pod: OLD,
        number: 1,
        wants: true,
    });
    database.lock(renewal);
    let dead = database.begin(Statement::DeclareDead { pod: OLD, seen: 0 });
    assert_eq!(database.finish(dead), None);
    assert_eq!(database.finish(renewal), Some(Reply::Is(true)));
    assert_eq!(database.finish(dead), Some(Reply::Is(false)));
}

#[test]
fn a_crash_rolls_back_what_is_under_way_and_nothing_else() {
    let mut database = owned();
    database.run(put(fence(OLD, 1), "1")).unwrap();
    let renewal = Statement::Renew {
        pod: OLD,
        number: 3,
        wants: true,
    };
    database.run(renewal).unwrap();
    let lost = database.begin(put(fence(OLD, 1), "2"));
    database.lock(lost);
    database.crash();
    assert_eq!(database.finish(lost), None);
    let alive = database.run(Statement::Observe);
    assert_eq!(
        alive,
        Some(Reply::Pods(vec![member(OLD, 3), member(HEIR, 0)]))
    );
    assert_eq!(count(database.run(load(fence(OLD, 1)))).unwrap(), "1");
}

#[test]
fn a_restored_dump_is_the_past() {
    let mut database = owned();
    let dump = database.dump();
    database.run(put(fence(OLD, 1), "1")).unwrap();
    take_over(&mut database);
    database.restore(&dump);
    assert_eq!(count(database.run(load(fence(OLD, 1)))).unwrap(), "0");
}

#[test]
fn shards_given_up_late_stay_with_whoever_has_claimed_them_since() {
    let mut database = owned();
    let fences = vec![fence(OLD, 1)];
    let late = database.begin(Statement::ReleaseShards { fences });
    take_over(&mut database);
    assert_eq!(database.finish(late), Some(Reply::Done));
    let owned = database.run(Statement::Owned { pod: HEIR });
    assert_eq!(owned, Some(Reply::Shards(vec![(SHARD, Epoch(2))])));
}

fn hand_over(fence: Fence, to: PodId) -> Statement {
    Statement::HandOver {
        fences: vec![fence],
        to,
    }
}

fn moved() -> Option<Reply> {
    Some(Reply::Shards(vec![(SHARD, Epoch(2))]))
}

#[test]
fn a_hand_over_waits_for_a_commit_under_way() {
    let mut database = owned();
    let last = database.begin(put(fence(OLD, 1), "41"));
    database.lock(last);
    let moving = database.begin(hand_over(fence(OLD, 1), HEIR));
    assert_eq!(
        database.lock(moving),
        Some(Progress::Waits(Row::Shard(SHARD)))
    );
    database.finish(last).unwrap();
    assert_eq!(database.finish(moving), moved());
    assert_eq!(count(database.run(load(fence(HEIR, 2)))).unwrap(), "41");
}

#[test]
fn a_commit_that_began_before_a_hand_over_is_refused_after_it() {
    let mut database = owned();
    let late = database.begin(put(fence(OLD, 1), "99"));
    assert_eq!(database.run(hand_over(fence(OLD, 1), HEIR)), moved());
    assert_eq!(
        database.finish(late),
        Some(Reply::Written(vec![Written::Fenced]))
    );
}

#[test]
fn a_shard_that_is_being_handed_over_is_not_claimed() {
    let mut database = owned();
    let moving = database.begin(hand_over(fence(OLD, 1), HEIR));
    database.lock(moving);
    let dead = Statement::DeclareDead { pod: OLD, seen: 0 };
    assert_eq!(database.run(dead), Some(Reply::Is(true)));
    let claim = Statement::Claim {
        pod: HEIR,
        limit: 9,
    };
    assert_eq!(database.run(claim.clone()), Some(Reply::Shards(vec![])));
    assert_eq!(database.finish(moving), moved());
    assert_eq!(database.run(claim), Some(Reply::Shards(vec![])));
}

#[test]
fn a_hand_over_that_is_late_takes_nothing_from_who_has_claimed() {
    let mut database = owned();
    let late = database.begin(hand_over(fence(OLD, 1), HEIR));
    take_over(&mut database);
    assert_eq!(database.finish(late), Some(Reply::Shards(vec![])));
    assert_eq!(database.fence(SHARD), Some(fence(HEIR, 2)));
}

#[test]
fn nothing_is_handed_to_who_died_meanwhile() {
    let mut database = owned();
    let moving = database.begin(hand_over(fence(OLD, 1), HEIR));
    database.lock(moving);
    let dead = Statement::DeclareDead { pod: HEIR, seen: 0 };
    assert_eq!(database.run(dead), Some(Reply::Is(true)));
    assert_eq!(database.finish(moving), Some(Reply::Shards(vec![])));
    assert_eq!(database.fence(SHARD), Some(fence(OLD, 1)));
}

/// So that nobody sees a version without all that led to it.
#[test]
fn changes_of_the_map_wait_for_each_other() {
    let mut database = Database::new(2);
    for pod in [OLD, HEIR] {
        database.run(register(pod)).unwrap();
    }
    let first = database.begin(Statement::Claim { pod: OLD, limit: 1 });
    database.lock(first);
    let second = database.begin(Statement::Claim {
        pod: HEIR,
        limit: 1,
    });
    assert_eq!(database.lock(second), Some(Progress::Waits(Row::Map)));
    // Nothing to change, nothing to wait for.
    let none = database.run(Statement::Claim {
        pod: HEIR,
        limit: 1,
    });
    assert_eq!(none, Some(Reply::Shards(vec![])));
    database.finish(first).unwrap();
    let claimed = database.finish(second);
    assert_eq!(claimed, Some(Reply::Shards(vec![(ShardId(1), Epoch(1))])));
}
