//! Invariant: a lease is renewed in time, whatever a connection, or somebody who holds a lock, keeps waiting.

#![allow(clippy::unwrap_used)] // These are tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portside_core::ids::{PodId, ShardId, WorkerKey};
use portside_core::ownership::{LEASE_MS, LEASE_RENEWAL_INTERVAL_MS};
use portside_core::write::WriteBatch;
use portside_store::Store;
use portside_store::testing::{Owner, PostgresServer};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

const LEASE: Duration = Duration::from_millis(LEASE_MS);
const INTERVAL: Duration = Duration::from_millis(LEASE_RENEWAL_INTERVAL_MS);
const POD: PodId = PodId(1);

/// Passes connections on to a server's socket, until it is told to let those that there are go silent.
struct Proxy {
    folder: TempDir,
    silence: watch::Sender<()>,
}

const SOCKET: &str = ".s.PGSQL.5432";

impl Proxy {
    /// Before the server with this socket's folder.
    fn start(server: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let silence = watch::Sender::new(());
        let silenced = silence.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = format!("{server}/{SOCKET}");
                tokio::spawn(pass(client, server, silenced.subscribe()));
            }
        });
        Self { folder, silence }
    }

    /// As when the machine at the other end is gone: nothing comes any more, not even a reset. New ones work.
    fn silence(&self) {
        self.silence.send_replace(());
    }
}

async fn pass(mut client: UnixStream, server: String, mut silence: watch::Receiver<()>) {
    let mut server = UnixStream::connect(server).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = silence.changed() => std::future::pending().await,
    }
}

/// A store behind a proxy; nothing if the server is somebody else's and may have no socket here.
async fn behind_proxy() -> Option<(Proxy, Arc<dyn Store>)> {
    let server = PostgresServer::shared();
    if !server.is_own() {
        return None;
    }
    let url = server.database().await;
    let (base, folder) = url.split_once("host=").unwrap();
    let proxy = Proxy::start(folder.to_owned());
    let url = format!("{base}host={}", proxy.folder.path().display());
    let store = portside_store::open(&url, "app").await.unwrap();
    Some((proxy, store))
}

#[tokio::test]
async fn a_lease_outlives_connections_that_go_silent() {
    let Some((proxy, store)) = behind_proxy().await else {
        return;
    };
    store.register(POD, "a pod").await.unwrap();
    let mut number = 0;
    // At once: the pool asks connections that come back for a sign of life. And while nothing is under way.
    for later in [Duration::ZERO, INTERVAL / 2] {
        number += 1;
        assert!(store.renew(POD, number, true).await.unwrap());
        let renewed = Instant::now();
        tokio::time::sleep(later).await;
        proxy.silence();
        loop {
            tokio::time::sleep(INTERVAL).await;
            number += 1;
            match store.renew(POD, number, true).await {
                Ok(alive) => break assert!(alive),
                Err(_) => assert!(renewed.elapsed() < LEASE, "the lease has expired"),
            }
        }
        assert!(renewed.elapsed() < LEASE, "the lease has expired");
    }
}

#[tokio::test]
async fn a_standby_looks_and_claims_after_connections_have_gone_silent() {
    let Some((proxy, store)) = behind_proxy().await else {
        return;
    };
    store.register(POD, "a pod").await.unwrap();
    // Two at a time, so that every connection there can be is there.
    let (one, other) = tokio::join!(store.observe(), store.owned(POD));
    assert!(one.is_ok() && other.is_ok());
    proxy.silence();
    let silent = Instant::now();
    while store.observe().await.is_err() {}
    while store.claim(POD, 1).await.is_err() {}
    assert!(silent.elapsed() < Duration::from_secs(15));
}

/// A pod that stays active must not be one that cannot write.
#[tokio::test]
async fn data_is_not_left_to_connections_that_have_gone_silent() {
    let Some((proxy, store)) = behind_proxy().await else {
        return;
    };
    store.register(POD, "a pod").await.unwrap();
    assert!(store.renew(POD, 1, true).await.unwrap());
    let owner = Owner::claim(&store, POD).await;
    let it = WorkerKey::new("w.js", "a").unwrap();
    let commit = || {
        let mut batch = WriteBatch::default();
        batch.write("key".into(), Some(vec![1].into()));
        owner.commit(&it, batch)
    };
    store.commit(&[commit()]).await.unwrap();
    assert!(owner.load(&it).await.is_some());
    proxy.silence();
    let silent = Instant::now();
    let renewing = async {
        for number in 2.. {
            tokio::time::sleep(INTERVAL).await;
            if store.renew(POD, number, true).await.is_ok() && silent.elapsed() > INTERVAL * 8 {
                break;
            }
        }
    };
    let commits = [commit()];
    // Whether this one is written nobody knows, or it was: a machine that is slow asks for a sign of life first.
    let (_, ()) = tokio::join!(store.commit(&commits), renewing);
    store.commit(&commits).await.unwrap();
    assert!(owner.load(&it).await.is_some());
    assert!(silent.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_renewal_waits_for_nobody_who_waits_for_a_shard() {
    let url = PostgresServer::shared().database().await;
    let store = portside_store::open(&url, "app").await.unwrap();
    store.register(POD, "a pod").await.unwrap();
    let owner = Owner::claim(&store, POD).await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    let mut holding = other.begin().await.unwrap();
    sqlx::query("SELECT FROM portside.shard WHERE shard < 4 FOR UPDATE")
        .execute(&mut *holding)
        .await
        .unwrap();
    let advances = (0..4).map(|shard| {
        let fence = portside_core::ids::Fence {
            pod: POD,
            shard: ShardId(shard),
            epoch: owner.epochs[&ShardId(shard)],
        };
        let store = store.clone();
        tokio::spawn(async move { store.advance(fence).await })
    });
    let advances: Vec<_> = advances.collect();
    let mut watching = PgConnection::connect(&url).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting)
        .fetch_one(&mut watching)
        .await
        .unwrap()
        < 2
    {}
    let asked = Instant::now();
    assert!(store.renew(POD, 1, true).await.unwrap());
    assert!(asked.elapsed() < LEASE);
    holding.rollback().await.unwrap();
    for advance in advances {
        assert!(advance.await.unwrap().unwrap().is_some());
    }
}

#[tokio::test]
async fn what_fails_and_how_often_connections_are_asked_for_is_measured() {
    let Some((proxy, store)) = behind_proxy().await else {
        return;
    };
    let of = |purpose: &str| {
        let all = store.measures().connections;
        all.into_iter().find(|it| it.purpose == purpose).unwrap()
    };
    store.register(POD, "a pod").await.unwrap();
    assert!(store.renew(POD, 1, true).await.unwrap());
    assert_eq!(store.measures().failed, 0);
    assert_eq!((of("renewals").asked, of("renewals").limit), (1, 1));
    assert_eq!((of("ownership").asked, of("ownership").open), (1, 1));
    assert_eq!((of("commits").asked, of("commits").open), (0, 0));
    assert!(of("renewals").waited > Duration::ZERO, "it was made first");
    proxy.silence();
    assert!(store.renew(POD, 2, true).await.is_err());
    assert_eq!(store.measures().failed, 1);
    assert_eq!(of("renewals").asked, 2);
}
