//! A database's address while the store is open: whose certificate is believed, and passwords that change.

#![allow(clippy::unwrap_used)] // These are tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use portside_core::ids::PodId;
use portside_core::ownership::LEASE_RENEWAL_INTERVAL_MS;
use portside_store::postgres::{Address, Postgres};
use portside_store::testing::{Owner, PostgresServer, Tls, put, worker};
use portside_store::{Outcome, Store};
use sqlx::{Connection, PgConnection, Row};
use tokio::time::{sleep, timeout};

const POD: PodId = PodId(1);
const OLD: &str = "s3cret-old";
const NEW: &str = "s3cret-new";

/// A server with TLS, and a role with a database of its own there.
struct Site {
    server: PostgresServer,
    tls: Tls,
    /// A superuser's session.
    admin: PgConnection,
}

impl Site {
    async fn new() -> Self {
        // As programs do: which of those that are linked verifies signatures.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (server, tls) = PostgresServer::start_with_tls();
        let admin = PgConnection::connect(&server.database().await).await;
        let site = Self {
            server,
            tls,
            admin: admin.unwrap(),
        };
        site.server
            .run(&format!("CREATE ROLE app LOGIN PASSWORD '{OLD}'"))
            .await;
        site.server.run("CREATE DATABASE app OWNER app").await;
        site
    }

    async fn change_password(&self) {
        self.server
            .run(&format!("ALTER ROLE app PASSWORD '{NEW}'"))
            .await;
    }

    fn url(&self, host: &str, role: &str, password: &str, parameters: &str) -> String {
        let port = self.tls.port;
        format!("postgres://{role}:{password}@{host}:{port}/app{parameters}")
    }

    /// With the authority, and otherwise no word of TLS.
    fn address(&self, role: &str, password: &str) -> Address {
        self.trusting(&self.url("localhost", role, password, ""))
    }

    fn trusting(&self, url: &str) -> Address {
        Address {
            url: url.to_owned(),
            ca: Some(self.tls.authority.clone().into_bytes()),
        }
    }

    /// How many connections there are of the store, and how many of them are older than the last change.
    async fn connections(&mut self, since: &str) -> (i64, i64) {
        let query = sqlx::query(
            "SELECT count(*) AS all, count(*) FILTER (WHERE backend_start < $1::timestamptz) AS old \
             FROM pg_stat_activity WHERE application_name = 'portside'",
        );
        let row = query
            .bind(since.to_owned())
            .fetch_one(&mut self.admin)
            .await;
        let row = row.unwrap();
        (row.get("all"), row.get("old"))
    }

    async fn now(&mut self) -> String {
        let query = sqlx::query("SELECT clock_timestamp()::text AS now");
        query.fetch_one(&mut self.admin).await.unwrap().get("now")
    }
}

async fn refusal(address: &Address) -> String {
    let opened = Postgres::open(address, "app").await;
    let message = opened.unwrap_err().to_string();
    assert!(!message.contains("s3cret"), "{message}");
    message
}

#[tokio::test]
async fn the_given_authority_is_believed_and_no_other() {
    let site = Site::new().await;
    let url = |host, parameters| site.trusting(&site.url(host, "app", OLD, parameters));
    for (host, parameters) in [
        ("localhost", ""),
        ("localhost", "?sslmode=verify-full"),
        ("localhost", "?sslmode=require"),
        // Not the name in the certificate.
        ("127.0.0.1", "?sslmode=verify-ca"),
    ] {
        let opened = Postgres::open(&url(host, parameters), "app").await;
        assert!(opened.is_ok(), "{host} {parameters}: {:?}", opened.err());
    }
    let message = refusal(&url("127.0.0.1", "?sslmode=verify-full")).await;
    assert!(message.contains("not valid for name"), "{message}");
    let unknown = Address {
        ca: Some(Tls::another_authority().unwrap().into_bytes()),
        ..url("localhost", "")
    };
    for unknown in [
        unknown,
        Address::new(site.url("localhost", "app", OLD, "?sslmode=verify-full")),
    ] {
        let message = refusal(&unknown).await;
        assert!(message.contains("UnknownIssuer"), "{message}");
        assert!(message.contains("signed by"), "{message}");
    }
}

/// Renews, commits and loads all the time, on several lanes, and gives how many commits there were. None may fail.
async fn work(postgres: &Postgres, is_over: &AtomicBool) -> usize {
    let store: Arc<dyn Store> = Arc::new(postgres.clone());
    store.register(POD, "a pod").await.unwrap();
    let owner = Owner::claim(&store, POD).await;
    let renewing = async {
        let mut number = 0;
        while !is_over.load(Ordering::SeqCst) {
            number += 1;
            assert!(store.renew(POD, number, true).await.unwrap());
            store.observe().await.unwrap();
            sleep(Duration::from_millis(LEASE_RENEWAL_INTERVAL_MS)).await;
        }
    };
    let writers = (0..6).map(|number| {
        let (store, owner) = (&store, &owner);
        async move {
            let (it, mut count) = (worker(&number.to_string()), 0_usize);
            while !is_over.load(Ordering::SeqCst) {
                count += 1;
                let commit = owner.commit(&it, put("count", count.to_string()));
                let written = store.commit(&[commit]).await.unwrap();
                assert_eq!(written, [Outcome::Committed]);
                let loaded = owner.load(&it).await.unwrap();
                assert_eq!(&loaded.entries["count"][..], count.to_string().as_bytes());
                sleep(Duration::from_millis(10)).await;
            }
            count
        }
    });
    let (counts, ()) = tokio::join!(join_all(writers), renewing);
    counts.into_iter().sum()
}

#[tokio::test]
async fn a_password_changes_and_no_commit_fails() {
    let mut site = Site::new().await;
    let postgres = Postgres::open(&site.address("app", OLD), "app")
        .await
        .unwrap();
    let is_over = AtomicBool::new(false);
    let changing = async {
        sleep(Duration::from_secs(1)).await;
        site.change_password().await;
        // As many at a time as there may be, and more than there are: those that cannot be made wait for others.
        let at_once = async || {
            let counts = (0..12).map(|_| postgres.count_workers());
            let counts = timeout(Duration::from_secs(4), join_all(counts)).await;
            assert!(counts.unwrap().iter().all(Result::is_ok));
        };
        at_once().await;
        // What the pods look at has not changed yet: this is no address any more.
        assert!(postgres.follow(&site.address("app", OLD)).await.is_err());
        sleep(Duration::from_secs(1)).await;
        let changed = site.now().await;
        let followed = postgres.follow(&site.address("app", NEW)).await;
        followed.unwrap();
        // Each is replaced when it is used next.
        let mut left = (0, i64::MAX);
        for _ in 0..50 {
            at_once().await;
            sleep(Duration::from_millis(100)).await;
            left = site.connections(&changed).await;
            if left.1 == 0 {
                break;
            }
        }
        assert!(left.0 >= 8 && left.1 == 0, "{left:?}");
        is_over.store(true, Ordering::SeqCst);
    };
    let (commits, ()) = tokio::join!(work(&postgres, &is_over), changing);
    assert!(commits > 100, "{commits}");
}

/// While it is changed every connection may be gone: what is asked waits, and is answered.
#[tokio::test]
async fn who_is_not_let_in_waits_for_the_new_password() {
    let site = Site::new().await;
    let postgres = Postgres::open(&site.address("app", OLD), "app")
        .await
        .unwrap();
    assert_eq!(postgres.count_workers().await.unwrap(), 0);
    site.change_password().await;
    site.server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'portside'",
    )
    .await;
    // So that it is seen to be gone before it is used.
    sleep(Duration::from_millis(1500)).await;
    let asked = tokio::spawn({
        let postgres = postgres.clone();
        async move { postgres.count_workers().await }
    });
    sleep(Duration::from_millis(500)).await;
    assert!(!asked.is_finished());
    postgres.follow(&site.address("app", NEW)).await.unwrap();
    let answered = timeout(Duration::from_secs(2), asked).await;
    assert_eq!(answered.unwrap().unwrap().unwrap(), 0);
}

#[tokio::test]
async fn an_address_that_does_not_work_changes_nothing() {
    let site = Site::new().await;
    let good = site.address("app", OLD);
    let postgres = Postgres::open(&good, "app").await.unwrap();
    site.server.run("CREATE DATABASE other OWNER app").await;
    site.server
        .run(&format!("CREATE ROLE stranger LOGIN PASSWORD '{OLD}'"))
        .await;
    let elsewhere = site.url("127.0.0.1", "app", OLD, "?sslmode=verify-ca");
    let other = good.url.replace("/app", "/other");
    let unsigned = Address {
        ca: Some(Tls::another_authority().unwrap().into_bytes()),
        ..good.clone()
    };
    for (address, why) in [
        (site.address("app", "wrong"), "authentication failed"),
        (site.address("stranger", OLD), "permission denied"),
        (
            site.trusting(&elsewhere),
            "another host: what is stored would stay behind",
        ),
        (
            site.trusting(&other),
            "another database: what is stored would stay behind",
        ),
        (unsigned, "UnknownIssuer"),
    ] {
        let message = postgres.follow(&address).await.unwrap_err().to_string();
        assert!(message.contains(why), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
    // Connections beyond those that there were are made as before.
    let counts = (0..8).map(|_| postgres.count_workers());
    assert!(join_all(counts).await.iter().all(Result::is_ok));

    // It may use what is there; the next pod could not start with it.
    let mut owner = PgConnection::connect(&site.url("localhost", "app", OLD, "?sslmode=require"))
        .await
        .unwrap();
    let granted = sqlx::raw_sql(
        "GRANT USAGE ON SCHEMA portside TO stranger; GRANT SELECT, INSERT, UPDATE, DELETE \
         ON ALL TABLES IN SCHEMA portside TO stranger",
    );
    granted.execute(&mut owner).await.unwrap();
    let refused = postgres.follow(&site.address("stranger", OLD)).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("may not create"), "{message}");

    // A role that may do what is needed will do.
    site.server.run("GRANT app TO stranger").await;
    postgres
        .follow(&site.address("stranger", OLD))
        .await
        .unwrap();
    assert_eq!(postgres.count_workers().await.unwrap(), 0);
    assert!(site.server.is_own());
}
