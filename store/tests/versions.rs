//! Processes of different versions on one Postgres: what the earlier ones ask for is written down here as they ask for it.
//!
//! Earlier means: of version 0.1.0, the first there was.

#![allow(clippy::unwrap_used)] // These are tests.

use std::path::Path;
use std::sync::Arc;

use portside_core::ids::{Epoch, PodId, SHARDS};
use portside_core::ownership::Member;
use portside_core::ownership::members::{KeyFingerprint, Peer, Revision};
use portside_store::testing::{Owner, PostgresServer, put, worker};
use portside_store::{Error, Store};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use uuid::Uuid;

const REGISTER: &str = "INSERT INTO portside.pod (pool, pod, name) VALUES ($1, $2, $3) \
    ON CONFLICT (pod) DO NOTHING";
const RENEW: &str = "UPDATE portside.pod SET renewals = renewals + 1 \
    FROM set_config('synchronous_commit', 'off', true) WHERE pod = $1 RETURNING renewals";
const OBSERVE: &str = "SELECT pod, renewals FROM portside.pod WHERE pool = $1";
const CLAIM: &str = include_str!("versions/claim.sql");
const RELEASE: &str = "WITH gone AS (DELETE FROM portside.pod WHERE pod = $2) \
    UPDATE portside.shard SET owner = NULL, epoch = epoch + 1 WHERE pool = $1 AND owner = $2";
const RELEASE_SHARDS: &str = "UPDATE portside.shard s SET owner = NULL, epoch = s.epoch + 1 \
    FROM unnest($2::integer[], $3::uuid[], $4::bigint[]) AS f (shard, owner, epoch) \
    WHERE s.pool = $1 AND s.shard = f.shard AND s.owner = f.owner AND s.epoch = f.epoch";

/// A process of the earlier version.
struct Earlier {
    connection: PgConnection,
    pool: i32,
    pod: PodId,
}

impl Earlier {
    /// Opens the database as it does: steps that it does not know are a reason to refuse it.
    async fn open(url: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let steps = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
        let mut steps = Migrator::new(steps).await.unwrap();
        // It has this one.
        assert_eq!(steps.iter().count(), 1);
        steps.create_schema("portside");
        steps.dangerous_set_table_name("portside.migration");
        steps
            .run_direct(None, &mut connection, false)
            .await
            .unwrap();
        let pool = "INSERT INTO portside.pool (name, shards) VALUES ('app', $1) \
            ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING pool, shards";
        let pool = sqlx::query(pool).bind(SHARDS.cast_signed());
        let pool = pool.fetch_one(&mut connection).await.unwrap().get(0);
        let fill = "INSERT INTO portside.shard (pool, shard) SELECT $1, generate_series(0, 4095) \
            ON CONFLICT DO NOTHING";
        let fill = sqlx::query(fill).bind(pool);
        fill.execute(&mut connection).await.unwrap();
        Self {
            connection,
            pool,
            pod: PodId(Uuid::new_v4().as_u128()),
        }
    }

    fn id(&self) -> Uuid {
        Uuid::from_u128(self.pod.0)
    }

    async fn register(&mut self) {
        let query = sqlx::query(REGISTER).bind(self.pool).bind(self.id());
        let query = query.bind("earlier");
        query.execute(&mut self.connection).await.unwrap();
    }

    async fn renew(&mut self) -> bool {
        let query = sqlx::query(RENEW).bind(self.id());
        let renewed = query.fetch_all(&mut self.connection).await.unwrap();
        !renewed.is_empty()
    }

    async fn sees(&mut self) -> usize {
        let query = sqlx::query(OBSERVE).bind(self.pool);
        query.fetch_all(&mut self.connection).await.unwrap().len()
    }

    async fn claim(&mut self) -> usize {
        let query = sqlx::query(CLAIM).bind(self.pool).bind(self.id());
        let query = query.bind(i64::from(SHARDS));
        query.fetch_all(&mut self.connection).await.unwrap().len()
    }

    async fn release_shard(&mut self, shard: i32, epoch: i64) {
        let query = sqlx::query(RELEASE_SHARDS).bind(self.pool).bind([shard]);
        let query = query.bind([self.id()]).bind([epoch]);
        query.execute(&mut self.connection).await.unwrap();
    }

    async fn release(&mut self) {
        let query = sqlx::query(RELEASE).bind(self.pool).bind(self.id());
        query.execute(&mut self.connection).await.unwrap();
    }
}

async fn open(url: &str) -> Arc<dyn Store> {
    portside_store::open(url, "app").await.unwrap()
}

#[tokio::test]
async fn an_earlier_version_starts_and_works_on_what_this_one_has_made() {
    let url = PostgresServer::shared().database().await;
    let store = open(&url).await;
    let owner = Owner::claim(&store, registered(&*store).await).await;
    owner.write(&worker("a"), put("key", "value")).await;

    let mut earlier = Earlier::open(&url).await;
    earlier.register().await;
    assert!(earlier.renew().await);
    assert_eq!(earlier.sees().await, 2);
    assert_eq!(earlier.claim().await, 0);
    store.release(owner.pod).await.unwrap();
    assert_eq!(earlier.claim().await, SHARDS as usize);
    let members = store.members().await.unwrap();
    let [it] = &members.participants[..] else {
        panic!("{members:?}");
    };
    let member = Member {
        pod: earlier.pod,
        renewed: 1,
        // It does not say so, and takes them all the same.
        wants: false,
    };
    assert_eq!((it.member, &it.peer, it.owns), (member, &None, SHARDS));
    // What it has taken is in the whole map, without a new version.
    let map = store.shard_map(None).await.unwrap();
    let all = map.assignments.iter();
    assert!(all.map(|it| it.owner).all(|it| it == Some(earlier.pod)));

    earlier.release_shard(7, 3).await;
    assert_eq!(store.members().await.unwrap().free, 1);
    earlier.release().await;
    let owner = Owner::claim(&store, registered(&*store).await).await;
    assert_eq!(owner.epochs.len(), SHARDS as usize);
    let loaded = owner.load(&worker("a")).await.unwrap();
    assert_eq!(loaded.entries["key"][..], *b"value");
}

/// The earlier one has its statements prepared by then.
#[tokio::test]
async fn this_version_brings_a_database_up_to_date_while_an_earlier_one_works() {
    let url = PostgresServer::shared().database().await;
    let mut earlier = Earlier::open(&url).await;
    earlier.register().await;
    assert!(earlier.renew().await);
    assert_eq!(earlier.sees().await, 1);
    assert_eq!(earlier.claim().await, SHARDS as usize);
    earlier.release_shard(7, 1).await;

    let store = open(&url).await;
    let pod = registered(&*store).await;
    assert!(store.announce(pod, &peer()).await.unwrap());
    assert_eq!(store.members().await.unwrap().free, 1);
    assert!(earlier.renew().await);
    assert_eq!(earlier.sees().await, 2);
    assert_eq!(earlier.claim().await, 1);
    earlier.release_shard(7, 3).await;
    let claimed = store.claim(pod, SHARDS).await.unwrap();
    assert!(matches!(claimed[..], [(shard, Epoch(5))] if shard.0 == 7));
    earlier.release().await;
    let rest = store.claim(pod, SHARDS).await.unwrap();
    assert_eq!(rest.len(), SHARDS as usize - 1);
}

#[tokio::test]
async fn additions_of_later_versions_are_no_obstacle() {
    let url = PostgresServer::shared().database().await;
    drop(open(&url).await);
    let mut server = PgConnection::connect(&url).await.unwrap();
    let later = "INSERT INTO portside.addition \
        (version, description, success, checksum, execution_time) \
        VALUES (9999, 'of the future', true, '', 0); \
        ALTER TABLE portside.pod ADD COLUMN future integer NOT NULL DEFAULT 5";
    server.execute(later).await.unwrap();
    let store = open(&url).await;
    let pod = registered(&*store).await;
    assert!(store.announce(pod, &peer()).await.unwrap());
    assert_eq!(
        store.claim(pod, SHARDS).await.unwrap().len(),
        SHARDS as usize
    );
}

/// Pods of 0.1.0 start again on a database that a build had before what they do not know was an addition.
#[tokio::test]
async fn a_step_that_has_become_an_addition_is_none_any_more() {
    let url = PostgresServer::shared().database().await;
    drop(open(&url).await);
    let mut server = PgConnection::connect(&url).await.unwrap();
    let before = "INSERT INTO portside.migration \
        (version, description, success, checksum, execution_time) \
        VALUES (2, 'wants', true, '', 0); DELETE FROM portside.addition WHERE version = 2";
    server.execute(before).await.unwrap();
    drop(open(&url).await);
    let mut earlier = Earlier::open(&url).await;
    earlier.register().await;
    assert!(earlier.renew().await);
}

/// Whoever waits for a table keeps all others waiting who come later: leases would end.
#[tokio::test]
async fn a_table_that_somebody_reads_for_long_is_not_waited_for() {
    let url = PostgresServer::shared().database().await;
    let mut earlier = Earlier::open(&url).await;
    earlier.register().await;
    let mut dump = PgConnection::connect(&url).await.unwrap();
    dump.execute("BEGIN; LOCK TABLE portside.shard IN ACCESS SHARE MODE")
        .await
        .unwrap();
    let refused = portside_store::open(&url, "app").await.err();
    let Some(Error::Database(message)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        message.contains("brought up to date while another session"),
        "{message}"
    );
    assert!(earlier.renew().await);
    dump.execute("COMMIT").await.unwrap();
    drop(open(&url).await);
}

/// A later step that is no addition comes before all additions, so it repeats those that it builds on.
#[tokio::test]
async fn an_addition_can_be_made_twice() {
    let url = PostgresServer::shared().database().await;
    drop(open(&url).await);
    let mut server = PgConnection::connect(&url).await.unwrap();
    let forget = AssertSqlSafe("DELETE FROM portside.addition");
    sqlx::raw_sql(forget).execute(&mut server).await.unwrap();
    drop(open(&url).await);
}

async fn registered(store: &dyn Store) -> PodId {
    let pod = PodId(Uuid::new_v4().as_u128());
    store.register(pod, "of this version").await.unwrap();
    pod
}

fn peer() -> Peer {
    Peer {
        address: "10.0.0.7:7070".into(),
        revision: Revision(3),
        protocol: 1,
        key: KeyFingerprint([7; 32]),
    }
}
