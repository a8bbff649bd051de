//! `portside dev-pod`: one of the pods that `portside dev --pods` starts.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use portside_admin::{Admin, Readiness};
use portside_frontdoor::{Config as DoorConfig, FrontDoor};
use portside_runtime::IsolatePool;
use portside_runtime::surface::network::NetworkRules;
use portside_sidecar::metrics::{self, PodGauges};
use portside_sidecar::{App, Called, Config, DrainLimits, Ownership, Pod, Spill, admin};
use tokio_util::sync::CancellationToken;

use super::message::{Order, Said, Start};
use crate::console::Console;
use crate::dev::door::Door;
use crate::dev::requests::Requests;
use crate::dev::{DRAIN, THREADS_PER_CORE, start_log};
use crate::sidecar::{SharingArgs, active, door_config, leave, takes_part};

/// How long a pod may take to end when nobody has use for it, or whoever started it is gone. Then it is ended.
const END: Duration = Duration::from_secs(10);

/// Any free port, for processes of this machine.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How it is to end.
struct Ends {
    /// By handing over what it has.
    leave: CancellationToken,
    /// Without: there are no others.
    stop: CancellationToken,
}

/// Runs a pod until it is told to end.
///
/// # Errors
/// It cannot start, or others have taken its workers from it.
pub fn run() -> anyhow::Result<ExitCode> {
    let by_hand = "this is what portside dev --pods starts: run that";
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut told = BufReader::new(socket.try_clone()?).lines();
    let start = told.next().and_then(Result::ok).context(by_hand)?;
    let start: Start = serde_json::from_str(&start).map_err(|_| anyhow!(by_hand))?;
    start_log();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Before there are other threads.
    let threads = cores * THREADS_PER_CORE;
    let isolates = IsolatePool::new(cores, threads, crate::unstoppable::give_up);
    let ends = Ends {
        leave: CancellationToken::new(),
        stop: CancellationToken::new(),
    };
    let (leave, stop) = (ends.leave.clone(), ends.stop.clone());
    // Not on the runtime: this works if nothing else does.
    std::thread::spawn(move || {
        while let Some(Ok(order)) = told.next() {
            match serde_json::from_str(&order) {
                Ok(Order::Leave) => leave.cancel(),
                Err(error) => tracing::error!(%error, "an order that is not known"),
            }
        }
        stop.cancel();
        std::thread::sleep(END);
        std::process::exit(1);
    });
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(serve(start, Arc::new(isolates), cores, &socket, &ends));
    // Instances that did not stop in time are not waited for.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve(
    start: Start,
    isolates: Arc<IsolatePool>,
    cores: usize,
    socket: &UnixStream,
    ends: &Ends,
) -> anyhow::Result<()> {
    let must_load = start.must_load;
    let begun = tokio::select! {
        begun = begin(start, isolates, cores) => begun?,
        () = ends.any() => return Ok(()),
    };
    let (pod, ownership) = (&begun.pod, &begun.ownership);
    if must_load {
        let tried = tokio::select! {
            tried = pod.app().try_out() => tried,
            () = ends.any() => Ok(()),
        };
        if let Err(why) = tried {
            ownership.release().await;
            return say(socket, &Said::Failed { why });
        }
    }
    let drained = CancellationToken::new();
    let config = DoorConfig {
        listen: LOOPBACK,
        show_errors: true,
        ..door_config()
    };
    let application = Door::before(pod.clone(), pod.app().clone(), begun.requests.clone());
    let door = FrontDoor::bind(config, Arc::new(application)).await?;
    let (http, sockets) = (door.local_addr(), door.sockets());
    let admin = begun.admin;
    let door = tokio::spawn(door.run(drained.clone().cancelled_owned()));
    let (waits, tells) = (ownership.clone(), socket.try_clone()?);
    let telling = tokio::spawn(async move {
        takes_part(&waits).await;
        // If nobody is there to hear it, that is noticed elsewhere.
        let _ = say(&tells, &Said::Ready { http, admin });
    });
    let outcome = active(ownership, ends.any()).await;
    telling.abort();
    if let Err(failure) = outcome {
        bail!(failure.message().to_owned());
    }
    sockets.cancel();
    if ends.stop.is_cancelled() {
        pod.app().drain(DRAIN).await;
        pod.app().shut_down().await;
    } else {
        leave(pod, door, &drained, DrainLimits::default()).await;
    }
    Ok(())
}

/// A pod that takes no part yet.
struct Begun {
    pod: Arc<Pod>,
    ownership: Arc<Ownership>,
    requests: Option<Arc<Requests>>,
    admin: SocketAddr,
}

async fn begin(start: Start, isolates: Arc<IsolatePool>, cores: usize) -> anyhow::Result<Begun> {
    let networks = |texts: &[String]| texts.iter().flat_map(|text| text.parse()).collect();
    let rules = NetworkRules {
        deny: networks(&start.deny),
        allow: networks(&start.allow),
    };
    rules.choose();
    let class = start.code.class()?;
    let digest = class.bundle.digest().to_string();
    let store = portside_store::open(&start.store, &start.app).await?;
    let sharing = SharingArgs::at(LOOPBACK, start.revision);
    let registered = sharing.register(&store, &start.pod).await;
    let (ownership, sharing) = registered.map_err(|why| anyhow!(why.message().to_owned()))?;
    let console = Console::coloured(start.colour);
    let requests = start.requests.then(Arc::<Requests>::default);
    let app = App::start(
        isolates,
        Config {
            class,
            store: store.clone(),
            ownership: ownership.clone(),
            servers: cores,
            log: Box::new(move |line| console.write(line)),
            reached: requests.clone().map(Requests::sink),
            memory: portside_sidecar::memory::of_process(),
            spill: Spill {
                directory: start.state,
                ..Spill::default()
            },
            sharing,
            called: Called {
                pod: Some(start.pod.clone()),
                revision: Some(start.revision.to_string()),
            },
        },
    );
    let (mut registry, metrics) = metrics::registry();
    let pod = Pod::new(start.pod, app, ownership.clone(), metrics);
    registry.register_collector(Box::new(PodGauges(pod.clone())));
    let admin = Admin::bind(LOOPBACK, Readiness::waiting_for([]), registry).await?;
    let address = admin.local_addr()?;
    tokio::spawn(admin.with(admin::routes(pod.clone(), digest, store)).run());
    Ok(Begun {
        pod,
        ownership,
        requests,
        admin: address,
    })
}

fn say(mut socket: &UnixStream, said: &Said) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    Ok(socket.write_all(&line)?)
}

impl Ends {
    async fn any(&self) {
        tokio::select! {
            () = self.leave.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
    }
}
