//! `portside sidecar run`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use portside_admin::{Admin, Later, Readiness, listen_address};
use portside_bundle::{Bundled, Manifest};
use portside_crds::sidecar::TerminationReason as Reason;
use portside_frontdoor::{Config as DoorConfig, FrontDoor, TrustedProxies};
use portside_runtime::{Inspector, IsolatePool};
use portside_sidecar::metrics::{self, PodGauges};
use portside_sidecar::{
    App, Called, Class, Config, DrainLimits, Ownership, Pod, Role, Sharing, Spill, admin, manage,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::artifact::{ArtifactArgs, Code};
use super::database::Database;
use super::failure::Failure;
use super::patience::Patience;
use super::sharing::SharingArgs;
use super::{Common, env, start_log};
use crate::class::{self, class};
use crate::console::Console;
use crate::dev::{THREADS_PER_CORE, inspect};
use crate::network::NetworkArgs;

/// How long the port still answers that this pod is not active, when its successor is already: to gateways that have not
/// heard of that. A request on its way to a connection that is closed could not be told from one that was run.
const NOTICE: Duration = Duration::from_secs(1);
/// Between two tries to get what the pod lacks.
const AGAIN: Duration = Duration::from_secs(2);
/// Likewise from a registry, which may count them.
const PULL_AGAIN: Duration = Duration::from_secs(15);
/// What a pod waits for until it is ready.
const CODE: &str = "the code to be loaded";
const PLACE: &str = "a place among the class's pods";
/// How often mounted Secrets and ConfigMaps are looked at. The kubelet itself takes up to a minute to change them.
const ENV_LOOK: Duration = Duration::from_secs(10);

/// Arguments of `portside sidecar run`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// The folder with the class's code and class.yaml
    #[arg(long, value_name = "DIR", default_value = "/app")]
    app: PathBuf,
    #[command(flatten)]
    artifact: ArtifactArgs,
    /// The folder with one file for each value that is kept in a Secret or ConfigMap
    #[arg(long, value_name = "DIR", default_value = "/etc/portside/env")]
    env_dir: PathBuf,
    /// The address requests come to, from the gateway alone: its x-forwarded-* headers are believed
    #[arg(long, default_value = "[::]:8080", value_parser = listen_address)]
    listen: SocketAddr,
    /// The address of probes, metrics, /ownership and /status
    #[arg(long, default_value = "[::]:9090", value_parser = listen_address)]
    admin: SocketAddr,
    /// The address at which the API server of workers asks this pod
    #[arg(long, default_value = "[::]:9091", value_parser = listen_address)]
    manage: SocketAddr,
    /// The folder with what that takes: who signs that server's certificates, and this pod's token for it. Without it nobody asks
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    #[command(flatten)]
    sharing: SharingArgs,
    #[command(flatten)]
    network: NetworkArgs,
    /// How long the pod may take to end, in seconds, before it is killed
    #[arg(
        long,
        value_name = "SECONDS",
        env = "POD_GRACE_SECONDS",
        default_value_t = 60,
        hide = true
    )]
    grace: u64,
    /// Where assets are unpacked that come in an archive
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/tmp/portside-assets",
        hide = true
    )]
    assets: PathBuf,
    /// Where the pod remembers from one container to the next what it has said to be missing
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/tmp/portside-told",
        hide = true
    )]
    told: PathBuf,
}

/// What JavaScript runs in, and who lets debuggers look.
struct Isolates {
    pool: Arc<IsolatePool>,
    inspector: Arc<Inspector>,
}

/// What a pod is made of.
struct Prepared {
    class: Class,
    manifest: Option<Manifest>,
    database: Database,
    ownership: Arc<Ownership>,
    sharing: Option<Sharing>,
}

impl Args {
    /// Runs the application until a signal ends it. Also gives the path of the termination log.
    pub fn run(self) -> (Result<(), Failure>, PathBuf) {
        start_log();
        let log = self.common.termination_log.clone();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // Before there are other threads.
        let threads = cores * THREADS_PER_CORE;
        let give_up = crate::unstoppable::give_up;
        let (isolates, inspector) = IsolatePool::inspected_on_request(cores, threads, give_up);
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => return (Err(Failure::Lost(error.to_string())), log),
        };
        let isolates = Isolates {
            pool: Arc::new(isolates),
            inspector,
        };
        let outcome = runtime.block_on(self.serve(isolates, cores));
        // Instances that did not stop in time are not waited for.
        runtime.shutdown_background();
        (outcome, log)
    }

    async fn serve(self, isolates: Isolates, cores: usize) -> Result<(), Failure> {
        let mut ended = std::pin::pin!(ended()?);
        let readiness = Readiness::waiting_for([CODE]);
        // First of all, so that a pod that waits for something is alive, and says for what.
        let (admin, later) = self.admin(&readiness).await?;
        tokio::spawn(admin.run());
        let prepared = tokio::select! {
            () = &mut ended => return Ok(()),
            prepared = self.prepared(&readiness) => prepared?,
        };
        let Prepared {
            class,
            manifest,
            database,
            ownership,
            sharing,
        } = prepared;
        let store = database.store();
        self.network.choose(manifest.as_ref());
        let grace = Duration::from_secs(self.grace);
        let limits = DrainLimits::within(grace, class.limits.request);
        let digest = class.bundle.digest().to_string();
        let console = Console::with_requests();
        let app = App::start(
            isolates.pool,
            Config {
                class: class.clone(),
                store: store.clone(),
                ownership: ownership.clone(),
                servers: cores,
                log: Box::new(move |line| console.write(line)),
                reached: None,
                memory: portside_sidecar::memory::of_process(),
                spill: Spill::default(),
                sharing,
                called: self.called(),
            },
        );
        app.inspected_by(manage::Inspects::new(isolates.inspector, debuggers()));
        let (mut registry, metrics) = metrics::registry();
        let name = self.common.pod_name.clone();
        let pod = Pod::new(name, app.clone(), ownership.clone(), metrics);
        registry.register_collector(Box::new(PodGauges(pod.clone())));
        later.is(registry, admin::routes(pod.clone(), digest, store));
        if let Some(manage) = self.manage().await? {
            tokio::spawn(manage.run(app.clone()));
        }

        let tried = app.try_out().await;
        if let Err(why) = tried {
            ownership.release().await;
            return Err(Failure::new(Reason::CodeFailed, why));
        }
        let drained = CancellationToken::new();
        let door = self.door(pod.clone()).await?;
        let sockets = door.sockets();
        let door = tokio::spawn(door.run(drained.clone().cancelled_owned()));
        let ready = tokio::spawn(become_ready(ownership.clone(), readiness.clone()));
        let reload = tokio::spawn(follow_env(
            self.env_dir.clone(),
            manifest,
            class,
            app.clone(),
        ));
        // To the end: what drains writes, too.
        tokio::spawn(database.follow());
        let outcome = active(&ownership, ended).await;
        readiness.wait_for("nothing: it ends");
        ready.abort();
        reload.abort();
        if outcome.is_ok() {
            sockets.cancel();
            leave(&pod, door, &drained, limits).await;
        }
        outcome
    }

    /// All that comes from elsewhere, once it is there. An artifact is pulled only once.
    async fn prepared(&self, readiness: &Readiness) -> Result<Prepared, Failure> {
        let patience = |pause| Patience {
            told: &self.told,
            pause,
            readiness,
        };
        let pull = async || self.artifact.pull(&self.assets).await;
        let pulled = patience(PULL_AGAIN).until(pull).await?;
        let prepare = async || self.prepare(pulled.as_ref()).await;
        patience(AGAIN).until(prepare).await
    }

    async fn prepare(&self, pulled: Option<&Code>) -> Result<Prepared, Failure> {
        let (class, manifest) = self.class(pulled).await?;
        let database = self.common.database.open(&self.common.class).await?;
        let store = database.store();
        let (ownership, sharing) = self.sharing.register(&store, &self.common.pod_name).await?;
        Ok(Prepared {
            class,
            manifest,
            database,
            ownership,
            sharing,
        })
    }

    /// The class as the mounted files have it, with the bundle that was pulled.
    async fn class(&self, pulled: Option<&Code>) -> Result<(Class, Option<Manifest>), Failure> {
        let loaded = match pulled {
            Some(Code { bundle, assets }) => {
                portside_bundle::load_made(&self.app, bundle, assets.as_deref())
            }
            None => portside_bundle::load(&self.app, &self.assets).await,
        };
        let Bundled {
            bundle,
            manifest,
            assets,
            ..
        } = loaded.map_err(|problems| Failure::of_code(&problems))?;
        let env = env::read(&self.env_dir, manifest.as_ref())?;
        let class = class(bundle, assets, manifest.as_ref(), env);
        Ok((class, manifest))
    }

    async fn admin(&self, readiness: &Readiness) -> Result<(Admin, Later), Failure> {
        let bound = Admin::bind_early(self.admin, readiness.clone()).await;
        bound.map_err(|error| Failure::Lost(format!("cannot listen on {}: {error}", self.admin)))
    }

    async fn manage(&self) -> Result<Option<manage::Port>, Failure> {
        let Some(directory) = self.runtime_dir.clone() else {
            return Ok(None);
        };
        match manage::Port::bind(self.manage, directory).await {
            Ok(port) => Ok(Some(port)),
            Err(error) => {
                let message = format!("cannot listen on {}: {error}", self.manage);
                Err(Failure::Lost(message))
            }
        }
    }

    /// What this pod is called among those of its class.
    fn called(&self) -> Called {
        Called {
            pod: Some(self.common.pod_name.clone()),
            revision: Some(self.sharing.revision().to_string()),
        }
    }

    async fn door(&self, pod: Arc<Pod>) -> Result<FrontDoor, Failure> {
        let config = DoorConfig {
            listen: self.listen,
            ..door_config()
        };
        let bound = FrontDoor::bind(config, pod).await;
        bound.map_err(|error| Failure::Lost(format!("cannot listen on {}: {error}", self.listen)))
    }
}

/// Where debuggers connect once somebody wants to inspect a worker: on the loopback address, to which the cluster forwards ports.
fn debuggers() -> manage::Listen {
    Box::new(|inspector| {
        async move {
            let listening = inspect::listen_in_secret(inspector).await;
            let (port, path) = listening.map_err(|error| error.to_string())?;
            Ok(manage::Desk { port, path })
        }
        .boxed()
    })
}

/// A front door behind a gateway.
pub fn door_config() -> DoorConfig {
    DoorConfig {
        trusted_proxies: TrustedProxies::All,
        shutdown_timeout: NOTICE,
        // A gateway that ends its side is done with the request, and it has waited long enough itself.
        half_close_timeout: Duration::ZERO,
        // A successor has the shards at once.
        shutdown_code: 1012,
        ..DoorConfig::default()
    }
}

/// Returns once a pod is among those that serve.
pub async fn takes_part(ownership: &Ownership) {
    let (mut role, mut members) = (ownership.role(), ownership.members());
    // What these wait for is told by `ownership`, which is here.
    let _ = role
        .wait_for(|role| matches!(role, Role::Active { .. }))
        .await;
    let _ = members.wait_for(Option::is_some).await;
}

/// Says that the pod is ready: as a standby once its code is loaded, and where pods share the workers once it is among those that
/// serve, or stands by for one that shares nothing.
async fn become_ready(ownership: Arc<Ownership>, readiness: Readiness) {
    if ownership.is_sharing() {
        readiness.wait_for(PLACE);
        readiness.done(CODE);
        takes_part(&ownership).await;
        readiness.done(PLACE);
    } else {
        readiness.done(CODE);
    }
    tracing::info!("ready");
}

/// Waits for the shards and then for the end: that of this pod, or that of its right to the shards.
pub async fn active(
    ownership: &Arc<Ownership>,
    ended: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let mut role = ownership.role();
    let waiting = ownership.clone();
    let claiming = tokio::spawn(async move {
        if waiting.claim().await.is_ok() {
            tracing::info!("active");
        }
    });
    let outcome = tokio::select! {
        () = ended => Ok(()),
        _ = role.wait_for(|role| *role == Role::Over) => {
            Err(Failure::Lost("another pod has taken over: starting anew".to_owned()))
        }
    };
    claiming.abort();
    outcome
}

/// Ends without having dropped anything: what was taken is answered, what was written is durable, and only then
/// is the successor let in.
pub async fn leave(
    pod: &Pod,
    door: JoinHandle<()>,
    drained: &CancellationToken,
    limits: DrainLimits,
) {
    tracing::info!("draining");
    pod.drain(limits).await;
    pod.app().shut_down().await;
    tracing::info!("released");
    tokio::time::sleep(NOTICE).await;
    drained.cancel();
    let _ = door.await;
}

/// Replaces the running class when a mounted value changes.
async fn follow_env(dir: PathBuf, manifest: Option<Manifest>, mut class: Class, app: Arc<App>) {
    loop {
        tokio::time::sleep(ENV_LOOK).await;
        let read = env::read(&dir, manifest.as_ref());
        match read.map(|variables| class::env(manifest.as_ref(), variables)) {
            Ok(env) if env == *class.env => {}
            Ok(env) => {
                class.env = Arc::new(env);
                match app.replace(class.clone()).await {
                    Ok(()) => tracing::info!("the env has changed: reloaded"),
                    Err(why) => {
                        tracing::error!(%why, "the server cannot be loaded with the new env: the present one stays");
                    }
                }
            }
            Err(_) => tracing::warn!("a value of the env is gone: the present ones stay"),
        }
    }
}

/// Resolves when the kubelet, or a person, asks it to end.
fn ended() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error| Failure::Lost(format!("signals cannot be received: {error}"));
    portside_admin::asked_to_end().map_err(failed)
}
