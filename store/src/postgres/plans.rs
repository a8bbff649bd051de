//! The hot statements find their rows by index, whatever the tables held when they were planned, and read no more of them
//! than they need.

use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::{
    ALARMS, Address, CLAIM, COMMIT, GET, LIST, LIST_REVERSE, LOAD, MEMBERS, MOVE, Postgres,
    RELEASE, SHARD_MAP, WORKER, WORKERS,
};
use crate::testing::PostgresServer;

/// The hot statements, each with arguments that let the plan be shown: which partition matters, no more.
const HOT: [(&str, &str, &str); 7] = [
    ("load_worker", LOAD, "1, 7, NULL, 1, NULL, 9, 9"),
    ("get_keys", GET, "1, 7, NULL, NULL"),
    ("list_keys", LIST, "1, 7, NULL, NULL, NULL, 9, 9"),
    ("list_reverse", LIST_REVERSE, "1, 7, NULL, NULL, NULL, 9, 9"),
    ("one_worker", WORKER, "1, 9, 7, NULL"),
    ("due_alarms", ALARMS, "1, NULL, NULL, 9, 5, NULL"),
    (
        "commit_batch",
        COMMIT,
        "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
         NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    ),
];

/// Those of ownership, which read the shards of their pool, but for `move`, which reads its own.
const OWNERSHIP: [(&str, &str, &str); 5] = [
    ("claim", CLAIM, "1, NULL, 5"),
    ("move", MOVE, "1, NULL, NULL, NULL, NULL"),
    ("release", RELEASE, "1, NULL"),
    ("members", MEMBERS, "1"),
    ("shard_map", SHARD_MAP, "1, 5"),
];

async fn plan(session: &mut PgConnection, name: &str, sql: &str, arguments: &str) -> Vec<String> {
    let prepare = format!("PREPARE {name} AS {sql}");
    session.execute(AssertSqlSafe(prepare)).await.unwrap();
    let explain = format!("EXPLAIN EXECUTE {name}({arguments})");
    let lines = session.fetch_all(AssertSqlSafe(explain)).await.unwrap();
    session.execute("DEALLOCATE ALL").await.unwrap();
    lines.iter().map(|line| line.get(0)).collect()
}

async fn write(store: &Postgres, sql: &'static str) {
    let mut session = store.writers.acquire(&store.outage).await.unwrap();
    session.execute(sql).await.unwrap();
}

async fn assert_indexed(store: &Postgres, when: &str) {
    for (name, sql, arguments) in HOT {
        let writes = name == "commit_batch";
        let pool = if writes {
            &store.writers
        } else {
            &store.readers
        };
        let mut session = pool.acquire(&store.outage).await.unwrap();
        let lines = plan(&mut session, name, sql, arguments).await;
        let plan = lines.join("\n");
        assert!(!plan.contains("Seq Scan"), "{name} {when}:\n{plan}");
        let mut conditions = lines.iter().filter(|line| line.contains("Index Cond"));
        // Not by the pool alone: only with the shard too can partitions be passed over.
        let narrow = conditions
            .clone()
            .all(|condition| condition.contains("shard"));
        assert!(
            conditions.next().is_some() && narrow,
            "{name} {when}:\n{plan}"
        );
    }
    for (name, sql, arguments) in OWNERSHIP {
        let mut session = store.control.acquire(&store.outage).await.unwrap();
        let plan = plan(&mut session, name, sql, arguments).await.join("\n");
        assert!(!plan.contains("Seq Scan"), "{name} {when}:\n{plan}");
        assert!(plan.contains("shard_pkey"), "{name} {when}:\n{plan}");
        if name == "move" {
            let narrow = "Index Cond: ((pool = $1) AND (shard = f.shard))";
            assert!(plan.contains(narrow), "{name} {when}:\n{plan}");
        }
    }
}

#[tokio::test]
async fn hot_statements_use_indexes_before_and_after_there_is_data() {
    let server = PostgresServer::start();
    let store = Postgres::open(&Address::new(server.database().await), "plans")
        .await
        .unwrap();
    assert_indexed(&store, "empty").await;

    let fill = "INSERT INTO portside.worker
                 SELECT 1, i % 4096, md5(i::text)::uuid, 'w.js', 'n', i, 0, i FROM generate_series(1, 20000) i;
             INSERT INTO portside.kv
                 SELECT 1, i % 4096, md5(i::text)::uuid, convert_to('key' || j, 'UTF8'), 'value'
                 FROM generate_series(1, 20000) i, generate_series(1, 3) j";
    write(&store, fill).await;
    assert_indexed(&store, "filled").await;
    write(&store, "ANALYZE").await;
    assert_indexed(&store, "analyzed").await;
}

/// A page reads as many workers as it lists, from wherever it goes on, and the keys of these alone.
#[tokio::test]
async fn a_page_of_workers_reads_no_others() {
    let server = PostgresServer::start();
    let store = Postgres::open(&Address::new(server.database().await), "pages")
        .await
        .unwrap();
    let fill = "INSERT INTO portside.worker
            SELECT 1, i % 4096, md5(i::text)::uuid, 'w.js', 'n', i, 0, i FROM generate_series(1, 400000) i;
        INSERT INTO portside.kv
            SELECT 1, i % 4096, md5(i::text)::uuid, convert_to('key' || j, 'UTF8'), 'value'
            FROM generate_series(1, 20000) i, generate_series(1, 3) j;
        ANALYZE";
    write(&store, fill).await;
    let mut session = store.readers.acquire(&store.outage).await.unwrap();
    let prepare = format!("PREPARE page AS {WORKERS}");
    session.execute(AssertSqlSafe(prepare)).await.unwrap();
    for after in [-1, 2000] {
        let explain = format!(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE page(1, 9, {after}, md5('a')::uuid, NULL, 100)"
        );
        let row = session.fetch_one(AssertSqlSafe(explain)).await.unwrap();
        let plan: String = row.get_unchecked(0);
        let number = |name: &str| -> u64 {
            let (_, rest) = plan.split_once(&format!("\"{name}\": ")).unwrap();
            rest.split([',', '\n']).next().unwrap().parse().unwrap()
        };
        assert_eq!(number("Actual Rows"), 100, "{plan}");
        let blocks = number("Shared Hit Blocks") + number("Shared Read Blocks");
        assert!(blocks < 2000, "{blocks} blocks: {plan}");
    }
}

/// The sizes of values are known without them: of those that are large a wake reads what it takes, and no more.
#[tokio::test]
async fn a_load_reads_no_values_beyond_its_limit() {
    let server = PostgresServer::start();
    let store = Postgres::open(&Address::new(server.database().await), "sizes")
        .await
        .unwrap();
    // Not compressible, and so in more than a hundred blocks each.
    let fill = "INSERT INTO portside.shard VALUES (1, 7, md5('me')::uuid, 1, 0) ON CONFLICT (pool, shard)
            DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch;
        INSERT INTO portside.kv
            SELECT 1, 7, md5('a')::uuid, convert_to('key' || i, 'UTF8'),
                (SELECT string_agg(decode(md5((i * 1000000 + j)::text), 'hex'), '') FROM generate_series(1, 65536) j)
            FROM generate_series(10, 39) i";
    write(&store, fill).await;
    let mut session = store.readers.acquire(&store.outage).await.unwrap();
    let prepare = format!("PREPARE sized AS {LOAD}");
    session.execute(AssertSqlSafe(prepare)).await.unwrap();
    // What is returned is read later: of the values themselves this counts those that it looked into.
    let explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
        EXECUTE sized(1, 7, md5('me')::uuid, 1, md5('a')::uuid, 1024, 1500000)";
    let plan: String = {
        let row = session.fetch_one(explain).await.unwrap();
        row.get_unchecked(0)
    };
    let number = |name: &str| -> u64 {
        let (_, rest) = plan.split_once(&format!("\"{name}\": ")).unwrap();
        rest.split([',', '\n']).next().unwrap().parse().unwrap()
    };
    assert_eq!(number("Actual Rows"), 2, "{plan}");
    let blocks = number("Shared Hit Blocks") + number("Shared Read Blocks");
    assert!(blocks < 100, "{blocks} blocks: {plan}");
}
