//! The servers under test: where their programs are, how one is started and stopped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{http, process};

/// How long a server may take to answer its first request.
const START_LIMIT: Duration = Duration::from_secs(60);

/// More than are ever awake: by default Portside has room for as many isolates as fit into the memory, and an object takes less.
const AWAKE: &str = "20000";

/// Raises the limit on open files as far as it goes: a workerd object on local disk holds three.
const WITH_ALL_FILES: &str = r#"ulimit -n "$(ulimit -Hn)"; exec "$@""#;

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// `portside dev`.
    Portside,
    /// `workerd serve`, with Durable Objects on local disk.
    Workerd,
}

impl Peer {
    /// As it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portside => "portside",
            Self::Workerd => "workerd",
        }
    }
}

/// The applications that are served, each by its folder's name.
#[derive(Debug, Clone, Copy)]
pub enum App {
    /// One stateless `fetch`.
    Hello,
    /// Workers, or objects, that stay awake.
    Workers,
    /// The same, asleep as soon as the peer allows.
    Sleepers,
}

/// Where Portside has what it stores.
#[derive(Debug, Clone, Copy)]
pub enum Storage<'u> {
    /// In a file of its own.
    File,
    /// In the database with this URL, which is empty.
    Postgres(&'u str),
    /// The same, and so many pods share it behind a gateway.
    Pods(&'u str, usize),
}

/// Where the programs of the peers are.
pub struct Programs {
    /// Whether Portside runs workerd's application.
    objects: bool,
    portside: PathBuf,
    workerd: PathBuf,
}

impl Programs {
    /// Finds the programs of these peers; installs workerd's npm package into the cache folder if need be.
    pub async fn find(
        peers: &[Peer],
        objects: bool,
        portside: Option<PathBuf>,
        workerd: Option<PathBuf>,
    ) -> Result<Self> {
        let beside =
            || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("portside"));
        let portside = portside.map_or_else(beside, Ok)?;
        if peers.contains(&Peer::Portside) {
            ensure!(
                portside.is_file(),
                "{} does not exist: `make release` builds it, --portside names another",
                portside.display()
            );
        }
        let workerd = match workerd {
            Some(program) => program,
            None if peers.contains(&Peer::Workerd) => install_workerd().await?,
            None => "workerd".into(), // not started
        };
        // Servers run in a folder of their own.
        Ok(Self {
            objects,
            portside: std::path::absolute(portside)?,
            workerd: std::path::absolute(workerd)?,
        })
    }

    /// Starts the peer's server with this application, in a fresh folder and with nothing stored. Returns when
    /// it answers. `storage` is Portside's.
    pub async fn start(&self, peer: Peer, app: App, storage: Storage<'_>) -> Result<Server> {
        let dir = tempfile::Builder::new()
            .prefix("portside-bench-")
            .tempdir()?;
        let folder = match app {
            App::Hello => "hello",
            App::Workers | App::Sleepers => "workers",
        };
        // Beside the log and the storage, not around them: a server may watch its application's folder.
        let copied = dir.path().join("app");
        let runs_objects = self.objects && !matches!(app, App::Hello);
        let of = if runs_objects { Peer::Workerd } else { peer };
        copy(&apps().join(of.name()).join(folder), &copied)?;
        if let (Peer::Portside, App::Sleepers) = (of, app) {
            shorten_idle(&copied.join("class.yaml"))?;
        }

        let address = free_address()?;
        let log = fs::File::create(dir.path().join("log"))?;
        let mut command = Command::new("sh");
        command.args(["-c", WITH_ALL_FILES, "sh"]);
        match peer {
            Peer::Portside => {
                let port = address.port().to_string();
                command
                    .arg(&self.portside)
                    .args(["dev", "app", "--port", &port])
                    .args(["--awake-workers", AWAKE]);
                if let Storage::Postgres(store) | Storage::Pods(store, _) = storage {
                    command.args(["--store", store]);
                }
                if let Storage::Pods(_, pods) = storage {
                    command.args(["--pods", &pods.to_string()]);
                    // It says where they are.
                    command.env("PORTSIDE_LOG", "error,portside=info");
                }
            }
            Peer::Workerd => {
                fs::create_dir(dir.path().join("storage"))?;
                command
                    .arg(&self.workerd)
                    .args([
                        "serve",
                        "app/config.capnp",
                        "--directory-path",
                        "storage=storage",
                    ])
                    .args(["--socket-addr", &format!("http={address}")]);
            }
        }
        command.current_dir(dir.path()).stdin(Stdio::null());
        command
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);

        let begin = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", peer.name()))?;
        let pid = child
            .id()
            .context("a process that has just started has an id")?;
        let mut server = Server {
            child,
            pid,
            dir,
            address,
            start: Duration::ZERO,
        };
        server.wait_until_ready(begin).await?;
        server.start = begin.elapsed();
        Ok(server)
    }
}

impl Programs {
    /// Left alone for so long, workers of [`App::Sleepers`] sleep.
    pub fn night(&self, peer: Peer) -> Duration {
        // An object ends 10 s after its last request; the class of workers sets 1 s, and 5 s before they are due alarms are prepared for.
        // All are looked at only so often.
        Duration::from_secs(match peer {
            Peer::Portside if !self.objects => 6,
            _ => 12,
        })
    }
}

/// A running server. Dropping it ends the process at once and deletes all it has stored.
pub struct Server {
    child: Child,
    pid: u32,
    dir: TempDir,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of its process to its first answer.
    pub start: Duration,
}

impl Server {
    async fn wait_until_ready(&mut self, begin: Instant) -> Result<()> {
        loop {
            if http::get(self.address, "/").await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the server ended ({status}) before it answered:\n{}",
                    self.log()
                );
            }
            if begin.elapsed() > START_LIMIT {
                bail!(
                    "the server did not answer in {START_LIMIT:?}:\n{}",
                    self.log()
                );
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Where its pods have said that they are, each its address for requests and that of its metrics.
    pub fn pods(&self) -> Result<Vec<(SocketAddr, SocketAddr)>> {
        let text = fs::read_to_string(self.dir.path().join("log"))?;
        Ok(text.lines().filter_map(parse_pod).collect())
    }

    /// The CPU time it has used since it started.
    pub fn cpu_time(&self) -> Result<Duration> {
        process::cpu_time(self.pid)
    }

    /// What it holds memory for.
    pub fn resident_by_use(&self) -> Result<process::Resident> {
        process::resident_by_use(self.pid)
    }

    /// The memory it holds, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        process::resident_bytes(self.pid)
    }

    /// The end of what it has printed.
    pub fn log(&self) -> String {
        let text = fs::read(self.dir.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Ends it and waits until it is gone, so that it does not disturb what is measured next.
    pub async fn stop(mut self) -> Result<()> {
        let all = process::tree(self.pid)?;
        // Not a request to end: workerd waits for open WebSockets then, and nothing here is worth keeping.
        self.child.kill().await.context("cannot stop the server")?;
        // Pods would take some time to notice.
        let below = all.iter().filter(|pid| **pid != self.pid);
        for pid in below.filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            // It may have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
        Ok(())
    }
}

/// The addresses in the line of a pod that takes part.
fn parse_pod(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (_, said) = line.split_once("a pod takes part ")?;
    let value = |name: &str| {
        let found = said.split(' ').find_map(|word| word.strip_prefix(name));
        found?.parse().ok()
    };
    Some((value("http=")?, value("admin=")?))
}

fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("apps")
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let name = path.file_name().context("a folder's entry has a name")?;
        fs::copy(&path, to.join(name))?;
    }
    Ok(())
}

fn shorten_idle(manifest: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest)?;
    let shorter = text.replace("idle: 60s", "idle: 1s");
    ensure!(
        shorter != text,
        "{} does not have the idle time to shorten",
        manifest.display()
    );
    Ok(fs::write(manifest, shorter)?)
}

/// The program of workerd's npm package in the version `apps/workerd/package.json` asks for.
async fn install_workerd() -> Result<PathBuf> {
    let manifest = apps().join("workerd/package.json");
    let wanted = fs::read_to_string(&manifest)?;
    let dir = cache_dir()?.join("workerd");
    let program = dir.join("node_modules/workerd/bin/workerd");
    let installed = fs::read_to_string(dir.join("package.json")).unwrap_or_default();
    if installed == wanted && program.is_file() {
        return Ok(program);
    }
    eprintln!("installing workerd into {}", dir.display());
    fs::create_dir_all(&dir)?;
    fs::copy(&manifest, dir.join("package.json"))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&dir);
    let status = npm.stdout(Stdio::null()).status().await.context(
        "cannot run npm: install Node.js with npm, or name a workerd program with --workerd",
    )?;
    ensure!(
        status.success(),
        "npm could not install workerd: --workerd names a program instead"
    );
    ensure!(
        program.is_file(),
        "workerd's npm package has no {}",
        program.display()
    );
    Ok(program)
}

fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(dir) = set("PORTSIDE_CACHE") {
        return Ok(dir.into());
    }
    if let Some(dir) = set("XDG_CACHE_HOME") {
        return Ok(Path::new(&dir).join("portside"));
    }
    let home = set("HOME").context("HOME is not set: PORTSIDE_CACHE can name the cache folder")?;
    Ok(Path::new(&home).join(".cache/portside"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_line_says_where_it_is() {
        let line = "2026-01-02T03:04:05Z  INFO portside::dev::pods::fleet: a pod takes part \
                    pod=\"pod-1\" http=127.0.0.1:81 admin=127.0.0.1:82";
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(parse_pod(line), Some((at(81), at(82))));
        assert_eq!(parse_pod("portside: 2 pods share it"), None);
    }
}
