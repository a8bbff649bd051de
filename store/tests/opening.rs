//! URLs that cannot be opened, and what the errors tell: never a credential.

#![allow(clippy::unwrap_used)] // These are tests.

use portside_core::alarm::Alarm;
use portside_core::ids::{PodId, SHARDS, WorkerKey};
use portside_core::write::WriteBatch;
use portside_store::testing::{Owner, PostgresServer};

async fn refusal(url: &str) -> String {
    let refused = portside_store::open(url, "app").await;
    refused.err().expect("cannot be opened").to_string()
}

#[tokio::test]
async fn unknown_schemes_are_refused_by_name() {
    for url in ["", "state.db", "mysql://user:s3cret@host/db", "s3cret"] {
        let message = refusal(url).await;
        assert!(message.contains("sqlite:"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[tokio::test]
async fn sqlite_wants_a_file_in_a_folder_that_exists() {
    for url in ["sqlite:", "sqlite::memory:"] {
        let message = refusal(url).await;
        assert!(message.contains("path of a file"), "{message}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/state.db");
    let message = refusal(&format!("sqlite:{}", path.display())).await;
    assert!(message.contains("missing/state.db"), "{message}");
    assert!(message.contains("there is no folder"), "{message}");
    let path = folder.path().display().to_string();
    let message = refusal(&format!("sqlite:{path}")).await;
    assert!(
        message.contains(&format!("{path} is a folder")),
        "{message}"
    );

    std::fs::write(folder.path().join("text"), "no database ".repeat(1000)).unwrap();
    let path = folder.path().join("text");
    let message = refusal(&format!("sqlite:{}", path.display())).await;
    assert!(message.contains("not a database"), "{message}");
    assert!(message.contains("choose another file"), "{message}");
}

/// `files/sqlx.db` was written by a version whose driver was sqlx, and which was killed.
#[tokio::test]
async fn a_file_of_an_earlier_version_opens_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let earlier = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/sqlx.db");
    std::fs::copy(earlier, &path).unwrap();
    let store = portside_store::open(&format!("sqlite:{}", path.display()), "app").await;
    let store = store.unwrap();
    // Whoever wrote it is dead.
    let pod = PodId(2);
    store.register(pod, "a pod").await.unwrap();
    let owner = Owner::claim(&store, pod).await;
    assert_eq!(owner.epochs.len(), SHARDS as usize);
    let worker = WorkerKey::new("w.js", "a").unwrap();
    let loaded = owner.load(&worker).await.unwrap();
    assert_eq!(&loaded.entries["key"][..], b"value");
    assert_eq!(loaded.alarm, Some(Alarm::at(5)));
    let mut batch = WriteBatch::default();
    batch.write("key".into(), None);
    owner.write(&worker, batch).await;
    assert_eq!(owner.load(&worker).await.unwrap().entries.len(), 0);
}

#[tokio::test]
async fn errors_of_postgres_have_no_credentials() {
    // Nobody listens on a port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for url in [
        format!("postgres://user:s3cret@127.0.0.1:{port}/db"),
        "postgres://user:s3cret@127.0.0.1:notaport/db".into(),
        "postgres://user:s3cret@127.0.0.1/db?sslmode=s0metimes".into(),
        "postgresql://user:s3cret@/db?host=/nowhere".into(),
    ] {
        let message = refusal(&url).await;
        assert!(!message.contains("s3cret"), "{message}");
    }
}

/// A server that goes away is an error, and one that comes back is used again.
#[tokio::test]
async fn a_restarted_postgres_is_found_again() {
    let server = PostgresServer::start();
    if !server.is_own() {
        // Somebody else's server is not ours to crash.
        return;
    }
    let store = portside_store::open(&server.database().await, "app").await;
    let store = store.unwrap();
    let pod = portside_core::ids::PodId(1);
    store.register(pod, "a pod").await.unwrap();
    server.crash();
    // The connections of before are dead, and each is found out at most once.
    let mut failures = 0;
    while store.renew(pod, 1, true).await.is_err() {
        failures += 1;
        assert!(failures < 10);
    }
    assert!(store.renew(pod, 1, true).await.unwrap());
}

/// sqlx would show a line, too: of the server's source, where the error was raised.
#[tokio::test]
async fn a_database_that_does_not_exist_is_named_without_a_line() {
    let server = PostgresServer::start();
    let url = server.database().await;
    let (place, parameters) = url.split_once('?').unwrap_or((&url, ""));
    let (start, _) = place.rsplit_once('/').unwrap();
    let message = refusal(&format!("{start}/nodb?{parameters}")).await;
    assert!(message.ends_with("\"nodb\" does not exist"), "{message}");
}
