//! `portside dev --pods N`: the application as pods that share its workers, behind a gateway, on one machine.
//!
//! This process has the gateway, reads the files, and starts the others: N pods, and a Postgres unless one is named. They end with
//! it, however it ends: each waits for the end of a pipe or socket to it.

mod code;
mod fleet;
mod follow;
mod message;
pub mod pod;
mod postgres;
mod process;
mod programs;
mod route;

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use portside_frontdoor::{FrontDoor, IpNet};
use portside_gateway::Gateway;
use portside_store::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::fleet::{Common, Fleet};
use self::postgres::Postgres;
use self::route::Answering;
use super::reload::{Running as Current, reload_on_change};
use super::source::Loaded;
use super::{Begun, announce, door_config, listen, println_flushed, state_folder, stopping};
use crate::console::Console;
use crate::network::NetworkArgs;

/// The most connections that a pod has to the database, with one while it starts.
const CONNECTIONS: usize = portside_store::postgres::CONNECTIONS + 1;
/// For this process, and for people who look.
const OTHER_CONNECTIONS: usize = 20;
/// How long the database may take to begin, after a crash for instance.
const DATABASE: Duration = Duration::from_secs(60);
/// How long another one that is about to end may take for that: its pods, and then its database.
const LOCK: Duration = Duration::from_secs(fleet::END.as_secs() + 3);
/// How long pods may take to hear that sockets are closed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is wanted besides the application.
pub struct Wanted {
    /// How many pods.
    pub count: usize,
    /// The URL of a Postgres; without it there is one of our own.
    pub store: Option<String>,
    /// Where clients are served.
    pub listen: SocketAddr,
    /// Whose forwarding headers are believed.
    pub trusted_proxy: Vec<IpNet>,
    /// What the application may reach.
    pub network: NetworkArgs,
    /// Whether requests are told.
    pub requests: bool,
}

/// Runs the application until a signal ends it.
///
/// # Errors
/// The store cannot be used, or the address.
pub async fn serve(begun: Begun, wanted: Wanted) -> anyhow::Result<ExitCode> {
    if let Some(store) = wanted.store.as_deref().filter(|url| !is_postgres(url)) {
        let scheme = store.split(':').next().unwrap_or_default();
        bail!(
            "--pods needs a database that all pods reach, and --store (or PORTSIDE_STORE) names {scheme}: name a postgres:// \
             URL, or none for a Postgres of this machine's in DIR/.portside/postgres"
        );
    }
    let state = state_folder(&begun.source.dir)?;
    let lock = lock(&state).await?;
    let config = door_config(wanted.listen, wanted.trusted_proxy.clone());
    let gateway = Arc::new(route::gateway(&config));
    let pods = watch::Sender::default();
    let application = Answering::new(gateway.clone(), pods.subscribe(), wanted.requests);
    let door = listen(config, Arc::new(application)).await?;
    let stopping = stopping();
    let mut postgres = match &wanted.store {
        Some(_) => None,
        None => {
            let connections = 2 * wanted.count * CONNECTIONS + OTHER_CONNECTIONS;
            Some(Postgres::start(&state.join("postgres"), connections, &lock).await?)
        }
    };
    let store = (postgres.as_ref()).map(|postgres| postgres.url().to_owned());
    let running = Running {
        begun,
        store: store.or_else(|| wanted.store.clone()).unwrap_or_default(),
        has_own_store: postgres.is_some(),
        gateway,
        pods,
        stopping,
    };
    let served = tokio::select! {
        served = running.run(&wanted, &state, door) => served,
        why = keep(&mut postgres) => Err(why),
    };
    if let Some(postgres) = postgres {
        postgres.end().await;
    }
    drop(lock);
    served.map(|()| ExitCode::SUCCESS)
}

/// What is there when the pods are started.
struct Running {
    begun: Begun,
    store: String,
    has_own_store: bool,
    gateway: Arc<Gateway>,
    /// Hears where the pods take requests.
    pods: watch::Sender<Vec<SocketAddr>>,
    stopping: CancellationToken,
}

impl Running {
    async fn run(self, wanted: &Wanted, state: &Path, door: FrontDoor) -> anyhow::Result<()> {
        let Begun {
            source,
            watch,
            loaded,
            summary,
        } = self.begun;
        let Loaded {
            class,
            name,
            manifest,
            warnings,
            ..
        } = loaded;
        // So that what is wrong with it is said once, and not by each pod.
        tokio::select! {
            opened = open(&self.store, &name, self.has_own_store) => opened?,
            () = self.stopping.cancelled() => return Ok(()),
        }
        let rules = wanted.network.rules(manifest.as_ref());
        let texts = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect();
        let common = Common {
            pod: String::new(),
            app: name.clone(),
            store: self.store,
            revision: 0,
            code: (),
            must_load: false,
            deny: texts(&rules.deny),
            allow: texts(&rules.allow),
            state: state.to_owned(),
            requests: wanted.requests,
            colour: Console::new().has_colours(),
        };
        let gateway = self.gateway.clone();
        let fleet = Fleet::start(wanted.count, class.clone(), common, gateway, self.pods)?;
        let fleet = Arc::new(fleet);
        tokio::select! {
            () = fleet.ready(wanted.count) => {
                announce(summary.as_deref(), &name, door.local_addr(), None);
                println_flushed(&format!("portside: {} pods share it", wanted.count));
            }
            () = self.stopping.cancelled() => {}
        }
        let current = Current::new(class, warnings, summary);
        let reloading = watch
            .map(|watch| tokio::spawn(reload_on_change(watch, source, fleet.clone(), current)));
        let (gateway, stopped) = (self.gateway.clone(), self.stopping.clone());
        tokio::spawn(async move {
            stopped.cancelled().await;
            gateway.stop_holding();
        });
        door.run(self.stopping.cancelled_owned()).await;
        if let Some(reloading) = reloading {
            reloading.abort();
        }
        // Pods are told that sockets are closed; that need not be.
        let _ = timeout(LAST_WORDS, self.gateway.finish()).await;
        fleet.end().await;
        Ok(())
    }
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Of two at once each would have pods of its own code, with the same workers.
async fn lock(state: &Path) -> anyhow::Result<File> {
    let path = state.join("pods.lock");
    let shown = path.display();
    let file = File::create(&path).with_context(|| format!("cannot make {shown}"))?;
    let until = Instant::now() + LOCK;
    while file.try_lock().is_err() {
        if Instant::now() > until {
            bail!(
                "another portside dev --pods runs this folder (it has locked {shown}): end it first"
            );
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(file)
}

/// Opens the store once, and makes what it lacks. One of our own may have to begin first.
async fn open(url: &str, app: &str, is_own: bool) -> anyhow::Result<()> {
    let until = Instant::now() + DATABASE;
    loop {
        match portside_store::open(url, app).await {
            Ok(_) => return Ok(()),
            Err(Error::Database(_)) if is_own && Instant::now() < until => {}
            Err(error) => return Err(error.into()),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Returns when a Postgres of our own cannot be kept running.
async fn keep(postgres: &mut Option<Postgres>) -> anyhow::Error {
    match postgres {
        Some(postgres) => postgres.keep().await,
        None => std::future::pending().await,
    }
}
