//! `portside dev`

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use portside_bundle::{Bundled, Manifest, Options, Problem, wrangler};
use portside_core::bundle::BundleDigest;
use portside_core::cron::Cron;
use portside_core::limits::Limits;
use portside_core::variable::Variables;
use portside_frontdoor::{Config as DoorConfig, FrontDoor, IpNet, TrustedProxies, network};
use portside_runtime::IsolatePool;
use portside_sidecar::{App, Class, Config, Ownership};
use tokio::signal::unix::{SignalKind, signal};

use crate::class::class;
use crate::console::Console;
use crate::network::NetworkArgs;
use crate::problems;
use crate::source::SourceArgs;
use crate::variables::{Provided, Variable};
use crate::watch::Watch;

/// Isolate threads per core. Instances on different threads share the CPU fairly, those on one wait for each other.
pub const THREADS_PER_CORE: usize = 32;

/// How long requests may take to finish after Ctrl-C. Nobody depends on them, and somebody waits at a terminal.
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
}

impl Args {
    /// Runs the application until a signal ends it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_env_filter(
                tracing_subscriber::EnvFilter::try_from_env("PORTSIDE_LOG").unwrap_or_else(|_| {
                    tracing_subscriber::EnvFilter::new("error,portside_store::outage=warn")
                }),
            )
            .init();
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // Before there are other threads.
        let isolates = Arc::new(IsolatePool::new(
            cores,
            cores * THREADS_PER_CORE,
            crate::unstoppable::give_up,
        ));
        let runtime = tokio::runtime::Runtime::new()?;
        let exit = runtime.block_on(self.serve(isolates, cores));
        // Instances that did not stop in time are not waited for.
        runtime.shutdown_background();
        exit
    }

    async fn serve(self, isolates: Arc<IsolatePool>, cores: usize) -> anyhow::Result<ExitCode> {
        let Self {
            dir,
            port,
            host,
            store,
            var,
            env_file,
            trusted_proxy,
            network,
            awake_workers,
            source,
            no_watch,
        } = self;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("there is no folder {}", dir.display()))?;
        let variables = var.iter().map(|text| text.parse());
        let variables = variables
            .collect::<Result<Vec<Variable>, _>>()
            .map_err(|why| anyhow!("--var: {why}"))?;
        let source = Source {
            provided: Provided::read(env_file.as_deref(), variables)?,
            options: source.into(),
            awake_workers,
            dir,
        };
        // Before the files are read, or a change in between would be missed.
        let watch = (!no_watch).then(|| watch(&source.dir)).flatten();
        let (class, name, warnings) = match source.load().await {
            Ok(loaded) => {
                network.choose(loaded.manifest.as_ref());
                problems::warn(&loaded.warnings);
                (loaded.class, loaded.name, loaded.warnings)
            }
            Err(found) => {
                problems::print(&found);
                return Ok(ExitCode::FAILURE);
            }
        };
        let url = match store {
            Some(url) => url,
            None => default_store(&source.dir)?,
        };
        let console = Console::new();
        let running = Running {
            revision: revision(&class),
            warnings,
        };
        let store = portside_store::open(&url, &name).await?;
        let process = format!("dev-{}", std::process::id());
        let app = App::start(
            isolates,
            Config {
                class,
                ownership: Ownership::acquire(store.clone(), &process).await?,
                store,
                servers: cores,
                log: Box::new(move |line| console.write(line)),
                reached: None,
                memory: portside_sidecar::memory::of_process(),
            },
        );
        let config = door_config(SocketAddr::new(host, port), trusted_proxy);
        let door = FrontDoor::bind(config, app.clone())
            .await
            .with_context(|| {
                format!("cannot listen on {host}:{port}; choose another with --port")
            })?;
        let address = door.local_addr();
        println_flushed(&format!("portside: {name} listens on http://{address}"));
        let watching =
            watch.map(|watch| tokio::spawn(reload_on_change(watch, source, app.clone(), running)));
        door.run(ended()).await;
        if let Some(watching) = watching {
            watching.abort();
        }
        app.shut_down().await;
        Ok(ExitCode::SUCCESS)
    }
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

/// Where the application comes from.
struct Source {
    dir: PathBuf,
    options: Options,
    provided: Provided,
    awake_workers: Option<NonZeroUsize>,
}

impl Source {
    /// The application as the files are now.
    async fn load(&self) -> Result<Loaded, Vec<Problem>> {
        let Bundled {
            bundle,
            manifest,
            wrangler,
            warnings,
            ..
        } = portside_bundle::bundle(&self.dir, &self.options).await?;
        let secrets = match wrangler {
            Some(_) => wrangler::dev_vars(&self.dir, self.options.env.as_deref())?,
            None => BTreeMap::new(),
        };
        let env = self.provided.over(manifest.as_ref(), secrets)?;
        let folder = || {
            self.dir
                .file_name()
                .map_or("app".into(), |name| name.to_string_lossy())
        };
        let name = manifest
            .as_ref()
            .map_or_else(|| folder().into_owned(), |manifest| manifest.name.clone());
        let mut class = class(bundle, manifest.as_ref(), env);
        if let Some(workers) = self.awake_workers {
            Arc::make_mut(&mut class.limits).awake_workers = Some(workers.get());
        }
        Ok(Loaded {
            class,
            name,
            manifest,
            warnings,
        })
    }
}

/// An application, read from its files.
struct Loaded {
    class: Class,
    name: String,
    manifest: Option<Manifest>,
    warnings: Vec<Problem>,
}

/// What runs, and what was said about it.
struct Running {
    revision: Revision,
    warnings: Vec<Problem>,
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

fn default_store(dir: &Path) -> anyhow::Result<String> {
    let state = dir.join(".portside");
    std::fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
    let file = state.join("state.sqlite");
    let file = file
        .to_str()
        .with_context(|| format!("{} is not UTF-8", file.display()))?;
    Ok(format!("sqlite:{file}"))
}

fn watch(dir: &Path) -> Option<Watch> {
    Watch::start(dir)
        .inspect_err(|error| {
            tracing::error!(%error, "the folder cannot be watched: restart to see changes");
        })
        .ok()
}

/// What tells one revision of a class from another.
type Revision = (BundleDigest, Arc<Variables>, Arc<Limits>, bool, Arc<[Cron]>);

fn revision(class: &Class) -> Revision {
    (
        class.bundle.digest(),
        class.env.clone(),
        class.limits.clone(),
        class.input_gate,
        class.crons.clone(),
    )
}

const NOT_RELOADED: &str = "portside: not reloaded, the previous code still runs";

/// Replaces the running code whenever the files change, can be bundled, and have a server that can be loaded; otherwise the
/// old code goes on.
async fn reload_on_change(mut watch: Watch, source: Source, app: Arc<App>, mut running: Running) {
    loop {
        watch.changed().await;
        match source.load().await {
            Ok(Loaded {
                class, warnings, ..
            }) => {
                if warnings != running.warnings {
                    problems::warn(&warnings);
                    running.warnings = warnings;
                }
                let new = revision(&class);
                if new == running.revision {
                    continue; // touched, but the same
                }
                match app.replace(class).await {
                    Ok(()) => {
                        running.revision = new;
                        println_flushed("portside: reloaded");
                    }
                    Err(why) => {
                        eprintln!("the server cannot be loaded: {why}");
                        eprintln!("{NOT_RELOADED}");
                    }
                }
            }
            Err(found) => {
                problems::print(&found);
                eprintln!("{NOT_RELOADED}");
            }
        }
    }
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
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // Nobody may be reading.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
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
