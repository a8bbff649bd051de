//! `portside dev`

mod answers;
mod by_hand;
mod door;
pub mod inspect;
mod local;
mod pods;
mod reload;
mod requests;
mod source;
mod summary;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use portside_exchange::Application;
use portside_frontdoor::{Config as DoorConfig, FrontDoor, IpNet, TrustedProxies, network};
use portside_runtime::{Inspector, IsolatePool};
use portside_sidecar::{App, Called, Class, Config, Ownership, Spill};
use portside_store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::door::Door;
use self::reload::{Running, reload_on_change, watch, watch_assets};
use self::requests::Requests;
use self::source::{Loaded, Source};
use self::summary::summary;
use crate::console::Console;
use crate::network::NetworkArgs;
use crate::variables::{Provided, Variable};
use crate::watch::Watch;
use portside_verbs::problems;
use portside_verbs::source::SourceArgs;

pub use self::pods::pod::run as run_pod;

/// Isolate threads per core. Instances on different threads share the CPU fairly, those on one wait for each other.
pub const THREADS_PER_CORE: usize = 32;

/// How long requests, and runs of `scheduled`, may take to finish after Ctrl-C. Nobody depends on them, and somebody waits at a terminal.
const DRAIN: Duration = Duration::from_secs(3);

/// Arguments of `portside dev`.
#[derive(clap::Args)]
pub struct Args {
    /// The application's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The port to listen on; 0 takes a free one
    #[arg(short, long, default_value_t = 8080)]
    port: u16,
    /// The address to listen on, or a name of it
    #[arg(long, value_parser = host, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Run it as so many pods that share its workers, behind a gateway, each a process of its own, as in a cluster.
    /// State is in Postgres: that of --store, or one in DIR/.portside/postgres, of this machine's programs
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=32))]
    pods: Option<u8>,
    /// Where state is kept: sqlite:PATH or postgres://…; by default a file in DIR/.portside
    #[arg(
        long,
        value_name = "URL",
        env = "PORTSIDE_STORE",
        hide_env_values = true
    )]
    store: Option<String>,
    /// A variable of the server's env; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    var: Vec<String>,
    /// A file of KEY=VALUE lines for the server's env
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Networks whose x-forwarded-* headers are believed; may be given more than once
    #[arg(long, value_parser = network, value_name = "CIDR")]
    trusted_proxy: Vec<IpNet>,
    #[command(flatten)]
    network: NetworkArgs,
    /// How many workers may be awake at a time, instead of the manifest's spec.limits.awakeWorkers
    #[arg(long, value_name = "NUMBER")]
    awake_workers: Option<NonZeroUsize>,
    #[command(flatten)]
    source: SourceArgs,
    /// Do not reload when files change
    #[arg(long)]
    no_watch: bool,
    /// Say nothing of what was found, nor of requests; warnings, problems and the application's own log stay
    #[arg(short, long)]
    quiet: bool,
    /// Let debuggers of this machine attach to the isolates; PORT 0 takes a free one
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = inspect::PORT
    )]
    inspect: Option<u16>,
    /// The same, and each isolate waits for a debugger before it runs its first statement
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = inspect::PORT,
        conflicts_with = "inspect"
    )]
    inspect_brk: Option<u16>,
}

impl Args {
    /// Runs the application until a signal ends it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        start_log();
        if let Some(count) = self.pods {
            return self.run_pods(count.into());
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (threads, give_up) = (cores * THREADS_PER_CORE, crate::unstoppable::give_up);
        // Before there are other threads.
        let (isolates, inspector) = match self.inspect.or(self.inspect_brk) {
            Some(_) => {
                let they_wait = self.inspect_brk.is_some();
                let (isolates, inspector) = IsolatePool::inspected(threads, they_wait, give_up);
                (isolates, Some(inspector))
            }
            None => (IsolatePool::new(cores, threads, give_up), None),
        };
        let runtime = tokio::runtime::Runtime::new()?;
        let exit = runtime.block_on(self.serve(Arc::new(isolates), inspector, cores));
        // Instances that did not stop in time are not waited for.
        runtime.shutdown_background();
        exit
    }

    /// No JavaScript runs in this process then.
    fn run_pods(self, count: usize) -> anyhow::Result<ExitCode> {
        if self.inspect.or(self.inspect_brk).is_some() {
            bail!("--inspect and --inspect-brk are for one process: leave --pods out to debug");
        }
        let runtime = tokio::runtime::Runtime::new()?;
        let exit = runtime.block_on(async {
            match self.begin().await? {
                Some(begun) => pods::serve(begun, self.wanted(count)).await,
                None => Ok(ExitCode::FAILURE),
            }
        });
        runtime.shutdown_background();
        exit
    }

    /// Reads the application; nothing, which is said, if it cannot be run.
    async fn begin(&self) -> anyhow::Result<Option<Begun>> {
        let dir = &self.dir;
        let source = Source {
            provided: provided(self.env_file.as_deref(), &self.var)?,
            options: self.source.clone().into(),
            awake_workers: self.awake_workers,
            is_unhurried: self.inspect.or(self.inspect_brk).is_some(),
            dir: (dir.canonicalize())
                .with_context(|| format!("there is no folder {}", dir.display()))?,
        };
        // Before the files are read, or a change in between would be missed.
        let mut watch = (!self.no_watch).then(|| watch(&source.dir)).flatten();
        let loaded = match source.load().await {
            Ok(loaded) => loaded,
            Err(found) => {
                problems::print(&found);
                return Ok(None);
            }
        };
        if let Some(watch) = &mut watch {
            watch_assets(watch, &loaded.class);
        }
        problems::warn(&loaded.warnings);
        let summary = (!self.quiet).then(|| summary(&loaded));
        Ok(Some(Begun {
            source,
            watch,
            loaded,
            summary,
        }))
    }

    async fn serve(
        self,
        isolates: Arc<IsolatePool>,
        inspector: Option<Arc<Inspector>>,
        cores: usize,
    ) -> anyhow::Result<ExitCode> {
        let Some(begun) = self.begin().await? else {
            return Ok(ExitCode::FAILURE);
        };
        let Begun {
            source,
            watch,
            loaded,
            summary,
        } = begun;
        self.network.choose(loaded.manifest.as_ref());
        let mut spill = Spill::default();
        let url = match self.store {
            Some(url) => url,
            None => {
                // Not where the system keeps temporary files: that may be memory.
                spill.directory = state_folder(&source.dir)?;
                default_store(&spill.directory)?
            }
        };
        let Loaded {
            class,
            name,
            warnings,
            ..
        } = loaded;
        let running = Running::new(class.clone(), warnings, summary.clone());
        let requests = (!self.quiet).then(Arc::<Requests>::default);
        let store = portside_store::open(&url, &name).await?;
        let inspect = self.inspect.or(self.inspect_brk);
        // A breakpoint in the one that gets all requests is met.
        let servers = if inspect.is_some() { 1 } else { cores };
        let app = start(isolates, class, store, servers, spill, requests.clone()).await?;
        let config = door_config(SocketAddr::new(self.host, self.port), self.trusted_proxy);
        let door = listen(config, Arc::new(Door::new(app.clone(), requests))).await?;
        let stopping = stopping();
        let debuggers = listen_for_debuggers(inspector, inspect, &stopping).await?;
        announce(summary.as_deref(), &name, door.local_addr(), debuggers);
        let watching =
            watch.map(|watch| tokio::spawn(reload_on_change(watch, source, app.clone(), running)));
        let draining = async {
            stopping.cancelled().await;
            app.drain(DRAIN).await;
        };
        tokio::join!(door.run(stopping.clone().cancelled_owned()), draining);
        if let Some(watching) = watching {
            watching.abort();
        }
        app.shut_down().await;
        Ok(ExitCode::SUCCESS)
    }

    /// What pods are wanted for.
    fn wanted(self, count: usize) -> pods::Wanted {
        pods::Wanted {
            count,
            store: self.store,
            listen: SocketAddr::new(self.host, self.port),
            trusted_proxy: self.trusted_proxy,
            network: self.network,
            requests: !self.quiet,
        }
    }
}

/// An application that was read and does not run yet.
struct Begun {
    source: Source,
    watch: Option<Watch>,
    loaded: Loaded,
    /// What to say of it, if anything.
    summary: Option<String>,
}

/// Portside's own log: to standard error, `PORTSIDE_LOG` chooses.
fn start_log() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("PORTSIDE_LOG").unwrap_or_else(|_| {
                tracing_subscriber::EnvFilter::new("error,portside_store::outage=warn")
            }),
        )
        .init();
}

/// What is provided beside the manifest.
fn provided(env_file: Option<&Path>, var: &[String]) -> anyhow::Result<Provided> {
    let variables = var.iter().map(|text| text.parse());
    let variables = variables
        .collect::<Result<Vec<Variable>, _>>()
        .map_err(|why| anyhow!("--var: {why}"))?;
    Provided::read(env_file, variables)
}

async fn start(
    isolates: Arc<IsolatePool>,
    class: Class,
    store: Arc<dyn Store>,
    servers: usize,
    spill: Spill,
    requests: Option<Arc<Requests>>,
) -> anyhow::Result<Arc<App>> {
    let console = Console::new();
    let process = format!("dev-{}", std::process::id());
    let config = Config {
        class,
        ownership: Ownership::acquire(store.clone(), &process).await?,
        store,
        servers,
        log: Box::new(move |line| console.write(line)),
        reached: requests.map(Requests::sink),
        memory: portside_sidecar::memory::of_process(),
        spill,
        sharing: None,
        called: Called::default(),
    };
    Ok(App::start(isolates, config))
}

fn announce(summary: Option<&str>, name: &str, address: SocketAddr, debuggers: Option<SocketAddr>) {
    print_flushed(summary.unwrap_or_default());
    println_flushed(&format!("portside: {name} listens on http://{address}"));
    if let Some(address) = debuggers {
        println_flushed(&format!(
            "portside: debuggers attach at {address}, such as by chrome://inspect"
        ));
    }
}

/// Where debuggers attach, if they may.
async fn listen_for_debuggers(
    inspector: Option<Arc<Inspector>>,
    port: Option<u16>,
    stopping: &CancellationToken,
) -> anyhow::Result<Option<SocketAddr>> {
    let (Some(inspector), Some(port)) = (inspector, port) else {
        return Ok(None);
    };
    let door = inspect::listen(inspector.clone(), port).await?;
    let address = door.local_addr();
    let stopping = stopping.clone().cancelled_owned();
    tokio::spawn(async move {
        door.run(stopping).await;
        inspector.end_waiting();
    });
    Ok(Some(address))
}

async fn listen(config: DoorConfig, to: Arc<dyn Application>) -> anyhow::Result<FrontDoor> {
    let address = config.listen;
    let bound = FrontDoor::bind(config, to).await;
    bound.with_context(|| format!("cannot listen on {address}; choose another with --port"))
}

fn door_config(listen: SocketAddr, trusted_proxy: Vec<IpNet>) -> DoorConfig {
    DoorConfig {
        listen,
        show_errors: true,
        shutdown_timeout: DRAIN,
        trusted_proxies: match trusted_proxy {
            networks if networks.is_empty() => TrustedProxies::None,
            networks => TrustedProxies::Networks(networks),
        },
        ..DoorConfig::default()
    }
}

/// An address, or the one that a name has; the IPv4 one if it has both.
fn host(text: &str) -> Result<IpAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found: Vec<_> = (text, 0).to_socket_addrs().into_iter().flatten().collect();
    let found = found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first());
    found.map(SocketAddr::ip).ok_or_else(|| {
        "an IP address or a name of this machine is wanted, such as 127.0.0.1, 0.0.0.0 or localhost"
            .to_owned()
    })
}

/// The folder in the application's that has its state, and temporary files.
fn state_folder(dir: &Path) -> anyhow::Result<PathBuf> {
    let state = dir.join(".portside");
    std::fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
    Ok(state)
}

fn default_store(state: &Path) -> anyhow::Result<String> {
    let file = state.join("state.sqlite");
    let file = file
        .to_str()
        .with_context(|| format!("{} is not UTF-8", file.display()))?;
    Ok(format!("sqlite:{file}"))
}

/// Cancelled at the first SIGINT or SIGTERM.
fn stopping() -> CancellationToken {
    let stopping = CancellationToken::new();
    let stops = stopping.clone();
    tokio::spawn(async move {
        ended().await;
        stops.cancel();
    });
    stopping
}

/// Resolves at the first SIGINT or SIGTERM; a second one ends the process at once.
async fn ended() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("portside: shutting down (again to end at once)");
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
}

fn println_flushed(line: &str) {
    print_flushed(&format!("{line}\n"));
}

fn print_flushed(lines: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // Nobody may be reading.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name() {
        assert_eq!(host("0.0.0.0"), Ok(Ipv4Addr::UNSPECIFIED.into()));
        assert_eq!(host("::1"), Ok("::1".parse().unwrap()));
        assert!(host("localhost").unwrap().is_loopback());
        assert!(host("not a name").unwrap_err().contains("is wanted"));
    }
}
