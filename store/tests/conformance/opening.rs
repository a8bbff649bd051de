//! Opening, versions, and separation.

use futures::future::join_all;
use portside_core::ids::SHARDS;
use portside_store::Error;
use portside_store::testing::PostgresServer;
use sqlx::{AssertSqlSafe, Connection};

use super::common::{Kind, keys, put, set_alarm, worker};

pub async fn data_outlives_the_store(kind: Kind) {
    let fixture = kind.open().await;
    let owner = fixture.owner().await;
    owner.write(&worker("a"), put(&["x"])).await;
    fixture.store.release(owner.pod).await.unwrap();
    drop(owner);

    let app = fixture.app.clone();
    let fixture = fixture.reopen(&app).await;
    let owner = fixture.owner().await;
    assert_eq!(keys(&owner.load(&worker("a")).await.unwrap()), ["x"]);
}

pub async fn applications_do_not_see_each_other(kind: Kind) {
    let fixture = kind.open().await;
    let first = fixture.owner().await;
    first.write(&worker("a"), put(&["x"])).await;
    first.write(&worker("a"), set_alarm(1)).await;
    let pod = first.pod;
    drop(first);

    let fixture = fixture.reopen("another").await;
    let second = fixture.owner().await;
    assert_eq!(second.epochs.len(), SHARDS as usize);
    assert_eq!(second.load(&worker("a")).await.unwrap().entries.len(), 0);
    let shards: Vec<_> = second.epochs.keys().copied().collect();
    let due = second
        .store
        .alarms(&shards, None, i64::MAX, 10)
        .await
        .unwrap();
    assert_eq!(due, []);
    let observed = second.store.observe().await.unwrap();
    assert!(observed.iter().all(|other| other.pod != pod));
}

pub async fn many_may_open_at_once(kind: Kind) {
    if matches!(kind, Kind::Model) {
        return; // It has no URL.
    }
    let fixture = kind.open().await;
    let opened = join_all((0..4).map(|_| portside_store::open(&fixture.url, &fixture.app))).await;
    match kind {
        Kind::Postgres => assert!(opened.iter().all(Result::is_ok)),
        Kind::Sqlite => {
            for refused in opened {
                let message = refused.err().unwrap().to_string();
                assert!(message.contains("in use by another process"), "{message}");
            }
        }
        Kind::Model => {}
    }
}

pub async fn newer_schemas_are_refused(kind: Kind) {
    let step = "(version, description, success, checksum, execution_time) \
        VALUES (9999, 'from the future', true, '', 0)";
    let (url, _folder) = match kind {
        Kind::Sqlite => {
            let (url, folder) = kind.open().await.close();
            let path = url.strip_prefix("sqlite:").unwrap();
            let file = rusqlite::Connection::open(path).unwrap();
            let sql = format!("INSERT INTO _sqlx_migrations {step}");
            file.execute(&sql, []).unwrap();
            (url, folder)
        }
        Kind::Postgres => {
            // Not the other tests' database, which they still open.
            let url = PostgresServer::shared().database().await;
            portside_store::open(&url, "app").await.unwrap();
            let mut server = sqlx::PgConnection::connect(&url).await.unwrap();
            let sql = AssertSqlSafe(format!("INSERT INTO portside.migration {step}"));
            sqlx::raw_sql(sql).execute(&mut server).await.unwrap();
            (url, None)
        }
        Kind::Model => return, // It has no schema.
    };
    let refused = portside_store::open(&url, "app").await;
    assert!(matches!(refused.err(), Some(Error::Incompatible(_))));
}
