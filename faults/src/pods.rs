//! Pods of one class on one Postgres, behind a gateway.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use portside_testkit::Site;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::api::{Api, CLASS, Endpoint, HOST, NAMESPACE};
use crate::databases::Stored;
use crate::history::Micros;
use crate::network::{Host, Network, Role};
use crate::postgres::Postgres;
use crate::process::{Guard, Process};
use crate::proxy::{Mode, Proxy, Server};
use crate::schedule::{Fault, Schedule};
use crate::system::{App, Programs, Setting, System, copy_app};
use crate::terms::{ADMIN_PORT, Said, Watching, ask};

/// One of them is active and the others stand by, or all serve.
const PODS: usize = 3;
/// How many there are one after the other when the class is scaled.
const SCALES: [usize; 4] = [1, 5, 2, PODS];
/// Where pods that serve together reach each other.
const PEER_PORT: u16 = 7485;
const HTTP_PORT: u16 = 7480;
const DATABASE_PORT: u16 = 7432;
/// How long something may take to be ready. Generous, for the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(40);
/// Who has the shards, for people to see why nobody has all of them.
const OWNERS: &str = "SELECT name, p.pod, renewals, count(shard) AS shards, max(epoch) AS epoch \
    FROM portside.pod p FULL JOIN portside.shard s ON s.owner = p.pod GROUP BY 1, 2, 3 ORDER BY 1";
/// What pods log: of shards that are given to others how long that took, too.
const LOG: &str = "info,sqlx=warn,portside_sidecar::departures=debug";
/// How long a pod that has ended by itself stays down.
const RESTART: Duration = Duration::from_millis(300);

/// The class, running.
#[derive(Debug)]
pub struct Pods {
    programs: Programs,
    guard: Guard,
    logs: PathBuf,
    postgres: Postgres,
    api: Api,
    gateway: Process,
    /// Where the gateway is.
    front: Host,
    pods: Vec<Pod>,
    started: u8,
    restarts: usize,
    version: u32,
    /// Whether they share the workers.
    shared: bool,
    /// How many faults there were.
    faults: usize,
    app: App,
    lie: &'static str,
    /// Each pod, as clients reach it.
    sites: watch::Sender<Vec<Site>>,
    watching: Watching,
    network: Network,
}

#[derive(Debug)]
struct Pod {
    name: String,
    number: u8,
    doors: Doors,
    process: Process,
    host: Host,
}

/// How a pod and others reach each other: through proxies of the lab, each at an address of its own, so that the network
/// can part who asks from them, and the proxies themselves can cut, lose and hold.
#[derive(Debug)]
struct Doors {
    database: Proxy,
    /// From other pods.
    peers: Proxy,
    /// From the gateway: for clients, and for what it asks itself. They do nothing but lead on.
    _gateway: [Proxy; 2],
}

impl Doors {
    async fn open(network: &Network, number: u8, database: PathBuf) -> Result<Self> {
        let door = async |role, port| {
            let at = SocketAddr::new(network.address(role, number), port);
            let to = SocketAddr::new(network.address(Role::Host, number), port);
            Proxy::start(at, Server::Port(to)).await
        };
        let listen = SocketAddr::new(network.address(Role::Database, number), DATABASE_PORT);
        Ok(Self {
            database: Proxy::start(listen, Server::Socket(database)).await?,
            peers: door(Role::Peer, PEER_PORT).await?,
            _gateway: [
                door(Role::Pod, HTTP_PORT).await?,
                door(Role::Pod, ADMIN_PORT).await?,
            ],
        })
    }
}

impl Pods {
    /// Starts everything, all pods at once, which share the workers or do not. None of them need be active yet.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(setting: Setting, shared: bool) -> Result<Self> {
        let Setting {
            programs,
            guard,
            logs,
            app,
            lie,
            ..
        } = setting;
        let network = Network::start()?;
        let postgres = Postgres::start(&guard, &logs.join("postgres.log")).await?;
        copy_app(&guard.folder().join("app"), app, 1, lie)?;
        fs::create_dir(guard.folder().join("env"))?;
        let api = Api::start(network.address(Role::Lab, 1)).await?;
        fs::write(guard.folder().join("kubeconfig"), api.kubeconfig())?;
        let front = network.host(&guard, Role::Gateway, 1).await?;
        let gateway = start_gateway(&programs, &guard, &logs, &front)?;
        let (sites, _) = watch::channel(Vec::new());
        let watching = Watching::start(sites.subscribe());
        let mut pods = Self {
            programs,
            guard,
            logs,
            postgres,
            api,
            gateway,
            front,
            pods: Vec::new(),
            started: 1,
            restarts: 0,
            version: 1,
            shared,
            faults: 0,
            app,
            lie,
            sites,
            watching,
            network,
        };
        for _ in 0..PODS {
            let pod = pods.new_pod().await?;
            pods.pods.push(pod);
        }
        pods.publish();
        Ok(pods)
    }

    /// A pod of a new name and address.
    async fn new_pod(&mut self) -> Result<Pod> {
        // A round does not have so many that an address is needed again while it is in use.
        self.started = if self.started == u8::MAX {
            2
        } else {
            self.started + 1
        };
        let number = self.started;
        let name = format!("pod-{number}");
        let host = self.network.host(&self.guard, Role::Host, number).await?;
        let doors = Doors::open(&self.network, number, self.postgres.socket()).await?;
        let url = self.guard.folder().join(format!("{name}-url"));
        fs::write(url, self.database_url(number))?;
        let process = self.start_pod(&name, number, &host)?;
        Ok(Pod {
            name,
            number,
            doors,
            process,
            host,
        })
    }

    fn database_url(&self, number: u8) -> String {
        let door = self.network.address(Role::Database, number);
        format!("postgres://postgres@{door}:{DATABASE_PORT}/postgres")
    }

    fn start_pod(&self, name: &str, number: u8, host: &Host) -> Result<Process> {
        let folder = self.guard.folder();
        let address = host.address();
        let door = self.network.address(Role::Peer, number);
        let mut command = host.command(&self.programs.portside);
        command
            .args(["sidecar", "run", "--class", "lab/lab", "--pod-name", name])
            .args(["--listen", &format!("{address}:{HTTP_PORT}")])
            .args(["--admin", &format!("{address}:{ADMIN_PORT}")])
            .arg("--store-file")
            .arg(folder.join(format!("{name}-url")))
            .arg("--app")
            .arg(folder.join("app"))
            .arg("--env-dir")
            .arg(folder.join("env"))
            .arg("--told")
            .arg(folder.join(format!("{name}-told")))
            .arg("--termination-log")
            .arg(folder.join(format!("{name}-ended")))
            .env("PORTSIDE_LOG", LOG)
            .current_dir(folder);
        if self.shared {
            command
                .args(["--peer-listen", &format!("{address}:{PEER_PORT}")])
                .args(["--peer-address", &format!("{door}:{PEER_PORT}")])
                .args(["--revision", &self.version.to_string()]);
        }
        self.guard.spawn(
            command,
            Signal::KILL,
            &self.logs.join(format!("{name}.log")),
        )
    }

    /// Tells the gateway which pods there are.
    fn publish(&self) {
        let endpoints = self.pods.iter().map(|pod| {
            let door = self.network.address(Role::Pod, pod.number);
            Endpoint {
                pod: pod.name.clone(),
                http: SocketAddr::new(door, HTTP_PORT),
                admin: SocketAddr::new(door, ADMIN_PORT),
            }
        });
        self.api.set(endpoints.collect());
        let sites = self
            .pods
            .iter()
            .map(|pod| Site::at(&format!("{}:{HTTP_PORT}", pod.host.address())));
        self.sites.send_replace(sites.collect());
    }

    /// As the kubelet does, starts pods that have ended by themselves.
    fn tend(&mut self) -> Result<()> {
        for index in 0..self.pods.len() {
            if let Some(status) = self.pods[index].process.ended() {
                self.restarts += 1;
                let log = self.logs.join(format!("{}.log", self.pods[index].name));
                append(
                    &log,
                    &format!("faults: it ended with {status}: started again\n"),
                )?;
                self.start_again(index)?;
            }
        }
        Ok(())
    }

    fn start_again(&mut self, index: usize) -> Result<()> {
        let pod = &self.pods[index];
        let process = self.start_pod(&pod.name, pod.number, &pod.host)?;
        self.pods[index].process = process;
        Ok(())
    }

    /// What a pod says of itself.
    async fn state(&self, index: usize) -> Option<Said> {
        ask(&self.pods[index].host.address().to_string()).await
    }

    /// The active pod, as the pods have it; of several, the one of the highest term. Of those that serve together each in turn.
    async fn active(&self) -> Option<usize> {
        let mut active = vec![];
        for index in 0..self.pods.len() {
            if let Some(said) = self.state(index).await
                && let Some(term) = said.active
            {
                active.push((term, index));
            }
        }
        let (newest, _) = *active.iter().max()?;
        active.retain(|(term, _)| *term == newest);
        let (_, index) = active[self.faults % active.len()];
        Some(index)
    }

    /// The active pod, waiting for one.
    async fn some_active(&mut self) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(active) = self.active().await {
                return Ok(active);
            }
            if Instant::now() > deadline {
                let owners = self.postgres.ask(OWNERS).await;
                let (waited, logs) = (PATIENCE.as_secs(), self.logs.display());
                bail!("no pod became active in {waited} s: see {logs}\n{owners}");
            }
            self.rest(Duration::from_millis(100)).await?;
        }
    }

    async fn replace(&mut self, index: usize) -> Result<()> {
        let pod = self.new_pod().await?;
        self.pods[index] = pod;
        self.publish();
        Ok(())
    }

    async fn drain(&mut self, index: usize) -> Result<()> {
        self.end_pod(index).await?;
        self.replace(index).await
    }

    /// Lets a pod end as Kubernetes does, and waits until it has.
    async fn end_pod(&mut self, index: usize) -> Result<()> {
        self.pods[index].process.signal(Signal::TERM);
        if !self.pods[index].process.wait(PATIENCE).await {
            bail!("{} does not end", self.pods[index].name);
        }
        Ok(())
    }

    async fn roll_out(&mut self, schedule: &mut Schedule) -> Result<()> {
        self.version += 1;
        let app = self.guard.folder().join("app");
        copy_app(&app, self.app, self.version, self.lie)?;
        // Those with the new code come behind the others.
        for number in 0..PODS {
            self.add().await?;
            self.remove(schedule.below(PODS - number)).await?;
        }
        Ok(())
    }

    async fn scale(&mut self, schedule: &mut Schedule) -> Result<()> {
        for count in SCALES {
            while self.pods.len() < count {
                self.add().await?;
            }
            while self.pods.len() > count {
                self.remove(schedule.below(self.pods.len())).await?;
            }
            self.rest(schedule.time(500..2000)).await?;
        }
        Ok(())
    }

    /// One more, behind the others, once it says something of itself.
    async fn add(&mut self) -> Result<()> {
        let pod = self.new_pod().await?;
        self.pods.push(pod);
        self.publish();
        let new = self.pods.len() - 1;
        let deadline = Instant::now() + PATIENCE;
        while self.state(new).await.is_none() {
            if Instant::now() > deadline {
                bail!("{} does not start", self.pods[new].name);
            }
            self.rest(Duration::from_millis(100)).await?;
        }
        Ok(())
    }

    async fn remove(&mut self, index: usize) -> Result<()> {
        self.end_pod(index).await?;
        self.pods.remove(index);
        self.publish();
        Ok(())
    }

    async fn lose_takeover(&mut self, active: usize, schedule: &mut Schedule) -> Result<()> {
        self.pods[active].process.signal(Signal::KILL);
        let mode = Mode::LoseReplies(2 + schedule.below(6) as u64);
        for pod in &self.pods {
            pod.doors.database.set(mode);
        }
        let _ = self.pods[active].process.wait(PATIENCE).await;
        self.start_again(active)?;
        let rest = self.rest(schedule.time(3000..6000)).await;
        for pod in &self.pods {
            pod.doors.database.set(Mode::Pass);
        }
        rest
    }

    async fn kill(&mut self, indices: &[usize], pause: Duration) -> Result<()> {
        for index in indices {
            self.pods[*index].process.signal(Signal::KILL);
        }
        sleep(pause).await;
        for index in indices {
            let _ = self.pods[*index].process.wait(PATIENCE).await;
            self.start_again(*index)?;
        }
        Ok(())
    }

    /// Nothing arrives between these for some time.
    async fn part(&mut self, time: Duration, pairs: &[(IpAddr, IpAddr)]) -> Result<()> {
        self.network.part(pairs)?;
        let rest = self.rest(time).await;
        self.network.heal(pairs)?;
        rest
    }

    /// Each pod, and where it reaches each other one.
    fn pairs(&self) -> Vec<(IpAddr, IpAddr)> {
        let door = |pod: &Pod| self.network.address(Role::Peer, pod.number);
        let others = |pod: &Pod| {
            let number = pod.number;
            self.pods.iter().filter(move |other| other.number != number)
        };
        let pairs = self.pods.iter().flat_map(|pod| {
            let address = pod.host.address();
            others(pod).map(move |other| (address, door(other)))
        });
        pairs.collect()
    }

    async fn database(&mut self, index: usize, mode: Mode, time: Duration) -> Result<()> {
        self.pods[index].doors.database.set(mode);
        let rest = self.rest(time).await;
        self.pods[index].doors.database.set(Mode::Pass);
        rest
    }
}

fn start_gateway(programs: &Programs, guard: &Guard, logs: &Path, front: &Host) -> Result<Process> {
    let address = front.address();
    let mut command = front.command(&programs.gateway);
    command
        .args(["--listen", &format!("{address}:{HTTP_PORT}")])
        .args(["--admin", &format!("{address}:{ADMIN_PORT}")])
        .args(["--hold", "8s", "--access-log=false"])
        .env("KUBECONFIG", guard.folder().join("kubeconfig"))
        .current_dir(guard.folder());
    guard.spawn(command, Signal::KILL, &logs.join("gateway.log"))
}

fn append(log: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut log = fs::File::options().append(true).create(true).open(log)?;
    Ok(log.write_all(text.as_bytes())?)
}

impl System for Pods {
    fn site(&self) -> Site {
        Site {
            address: format!("{}:{HTTP_PORT}", self.front.address()),
            host: HOST.to_owned(),
        }
    }

    fn pods(&self) -> watch::Receiver<Vec<Site>> {
        self.sites.subscribe()
    }

    fn contradictions(&self) -> Vec<String> {
        self.watching.contradictions()
    }

    fn restarts(&self) -> usize {
        self.restarts
    }

    fn handed_over(&self) -> Result<Vec<Micros>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.logs)? {
            let log = fs::read_to_string(entry?.path())?;
            let times = log
                .lines()
                .filter(|line| line.contains("given to another process"));
            let micros = |line: &str| -> Option<Micros> {
                line.split("took_us=")
                    .nth(1)?
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            };
            all.extend(times.filter_map(micros));
        }
        Ok(all)
    }

    async fn ready(&mut self) -> Result<()> {
        self.some_active().await?;
        let logs = self.logs.clone();
        self.answered(PATIENCE, &logs).await
    }

    async fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(RESTART.min(end.saturating_duration_since(Instant::now()))).await;
            self.tend()?;
        }
        Ok(())
    }

    async fn inflict(&mut self, fault: Fault, schedule: &mut Schedule) -> Result<()> {
        self.faults += 1;
        let active = self.some_active().await?;
        match fault {
            Fault::Kill => self.kill(&[active], schedule.time(0..1500)).await,
            Fault::KillAll => {
                let all: Vec<usize> = (0..self.pods.len()).collect();
                self.kill(&all, schedule.time(0..1500)).await
            }
            Fault::Replace => {
                self.pods[active].process.signal(Signal::KILL);
                sleep(schedule.time(0..1000)).await;
                self.replace(active).await
            }
            Fault::Pause | Fault::PauseShortly => {
                let time = match fault {
                    Fault::Pause => schedule.time(3500..7000),
                    _ => schedule.time(200..2800),
                };
                self.pods[active].process.signal(Signal::STOP);
                let rest = self.rest(time).await;
                self.pods[active].process.signal(Signal::CONT);
                rest
            }
            Fault::Drain => self.drain(active).await,
            Fault::Rollout => self.roll_out(schedule).await,
            Fault::Scale => self.scale(schedule).await,
            Fault::LoseTakeover => self.lose_takeover(active, schedule).await,
            Fault::KillGateway => {
                self.gateway.signal(Signal::KILL);
                let _ = self.gateway.wait(PATIENCE).await;
                self.gateway = start_gateway(&self.programs, &self.guard, &self.logs, &self.front)?;
                Ok(())
            }
            Fault::CrashDatabase => {
                self.postgres
                    .restart(Signal::QUIT, schedule.time(0..2000))
                    .await
            }
            Fault::RestartDatabase => {
                self.postgres
                    .restart(Signal::INT, schedule.time(0..2000))
                    .await
            }
            Fault::StopDatabase => {
                self.postgres
                    .restart(Signal::INT, schedule.time(7000..9000))
                    .await
            }
            Fault::Cut => {
                for _ in 0..4 {
                    self.pods[active].doors.database.cut();
                    self.rest(schedule.time(50..600)).await?;
                }
                Ok(())
            }
            Fault::LoseReplies => {
                let mode = Mode::LoseReplies(3 + schedule.below(12) as u64);
                self.database(active, mode, schedule.time(500..2500)).await
            }
            Fault::LoseRequests => {
                let mode = Mode::LoseRequests(3 + schedule.below(12) as u64);
                self.database(active, mode, schedule.time(500..2500)).await
            }
            Fault::Delay => {
                let mode = Mode::Delay(schedule.time(20..200));
                self.database(active, mode, schedule.time(1000..4000)).await
            }
            Fault::Hold => {
                self.database(active, Mode::Hold, schedule.time(300..2500))
                    .await
            }
            Fault::Partition => {
                let time = schedule.time(3500..6000);
                let pod = &self.pods[active];
                let door = self.network.address(Role::Database, pod.number);
                self.part(time, &[(pod.host.address(), door)]).await
            }
            Fault::FailOver => self.postgres.fail_over(schedule.time(300..1500)).await,
            Fault::PartGateway => {
                let time = schedule.time(1000..8000);
                let door = self.network.address(Role::Pod, self.pods[active].number);
                self.part(time, &[(self.front.address(), door)]).await
            }
            Fault::CutPeers => {
                for _ in 0..4 {
                    self.pods[active].doors.peers.cut();
                    self.rest(schedule.time(50..600)).await?;
                }
                Ok(())
            }
            Fault::PartPeers => {
                let time = schedule.time(500..8000);
                self.part(time, &self.pairs()).await
            }
            Fault::Silence => {
                self.pods[active].doors.database.silence();
                let rest = self.rest(schedule.time(4000..9000)).await;
                self.pods[active].doors.database.cut();
                rest
            }
            Fault::Refuse => {
                self.database(active, Mode::Refuse, schedule.time(300..5000))
                    .await
            }
            Fault::Reload | Fault::Break => bail!("{} is for portside dev", fault.name()),
        }
    }

    async fn kill_all(&mut self) -> Result<()> {
        let all: Vec<usize> = (0..self.pods.len()).collect();
        self.kill(&all, Duration::ZERO).await?;
        self.ready().await
    }

    async fn end(&mut self) -> Result<Stored> {
        for pod in &mut self.pods {
            pod.process.signal(Signal::KILL);
            ensure!(
                pod.process.wait(PATIENCE).await,
                "{} does not end",
                pod.name
            );
        }
        // Through a proxy that lets everything pass by now: the database itself has no address.
        Ok(Stored {
            url: self.database_url(self.pods[0].number),
            app: format!("{NAMESPACE}/{CLASS}"),
        })
    }

    fn app(&self) -> App {
        self.app
    }
}
