//! A Postgres server that can be restarted in every way, and give way to a standby.

use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tokio::net::UnixStream;

use crate::process::{Guard, Process};

/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

const SOCKET: &str = ".s.PGSQL.5432";

/// A server on a Unix socket, with `fsync` on, as `postgres` in a database of that name.
#[derive(Debug)]
pub struct Postgres {
    guard: Guard,
    folder: PathBuf,
    log: PathBuf,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    /// How many servers there were; the last one is reached.
    servers: u32,
    process: Option<Process>,
}

impl Postgres {
    /// Makes a server and starts it.
    ///
    /// # Errors
    /// Its programs are not installed or fail.
    pub async fn start(guard: &Guard, log: &Path) -> Result<Self> {
        // Where links lead: not everything need be linked.
        let programs = programs()?.join("postgres").canonicalize()?;
        let programs = programs.parent().map(Path::to_owned).unwrap_or_default();
        let folder = guard.folder().join("postgres");
        std::fs::create_dir(&folder)?;
        // It refuses to run as root.
        let user = match std::fs::metadata(&folder)?.uid() {
            0 => Some(unprivileged()?),
            _ => None,
        };
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid))?;
            let readable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            std::fs::set_permissions(guard.folder(), readable)?;
        }
        let mut postgres = Self {
            guard: guard.clone(),
            folder,
            log: log.to_owned(),
            programs,
            user,
            servers: 0,
            process: None,
        };
        let data = postgres.next_server()?;
        let mut initdb = postgres.command("initdb");
        initdb
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .args(["--no-sync", "--no-instructions", "-D"])
            .arg(data);
        carry_out("initdb", initdb).await?;
        postgres.process = Some(postgres.run().await?);
        postgres.is_reached()?;
        Ok(postgres)
    }

    /// Where it is reached: a link to the socket of the last server.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    /// The folder of the last server, in which it listens, too.
    fn server(&self) -> PathBuf {
        self.folder.join(self.servers.to_string())
    }

    /// Makes the folder of another server; returns where its data goes.
    fn next_server(&mut self) -> Result<PathBuf> {
        self.servers += 1;
        std::fs::create_dir(self.server())?;
        if let Some((uid, gid)) = self.user {
            chown(self.server(), Some(uid), Some(gid))?;
        }
        Ok(self.server().join("data"))
    }

    /// From now on whoever connects reaches the last server.
    fn is_reached(&self) -> Result<()> {
        let next = self.folder.join("next");
        symlink(self.server().join(SOCKET), &next)?;
        Ok(std::fs::rename(next, self.socket())?)
    }

    /// Stops it with a signal (INT is its fast shutdown, QUIT its immediate one, after which it recovers as from a crash), and
    /// starts it again after some time.
    ///
    /// # Errors
    /// It does not stop, or not start.
    pub async fn restart(&mut self, signal: Signal, pause: Duration) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(signal);
            ensure!(process.wait(PATIENCE).await, "Postgres does not stop");
        }
        tokio::time::sleep(pause).await;
        self.process = Some(self.run().await?);
        Ok(())
    }

    /// Makes a standby, which gets every commit before it is acknowledged. After some time the server crashes, and the standby takes
    /// its place.
    ///
    /// # Errors
    /// One of the steps fails.
    pub async fn fail_over(&mut self, pause: Duration) -> Result<()> {
        let before = self.server();
        let data = self.next_server()?;
        let mut backup = self.command("pg_basebackup");
        backup
            .args(["--username=postgres", "--checkpoint=fast", "--no-sync"])
            .args(["--write-recovery-conf", "--wal-method=stream", "--host"])
            .arg(&before)
            .arg("--pgdata")
            .arg(&data);
        carry_out("pg_basebackup", backup).await?;
        let standby = self.run().await?;
        self.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
            .await;
        self.ask("SELECT pg_reload_conf()").await;
        let follows = async {
            let state = "SELECT sync_state FROM pg_stat_replication";
            while !self.ask(state).await.contains(" sync") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let follows = tokio::time::timeout(PATIENCE, follows).await;
        follows.context("the standby does not follow")?;
        // Is there once the standby has it, and so all that was acknowledged before.
        let mark = "CREATE TABLE public.mark (); DROP TABLE public.mark";
        let said = self.ask(mark).await;
        ensure!(
            said.contains("DROP TABLE"),
            "the standby confirms nothing: {said}"
        );
        tokio::time::sleep(pause).await;
        if let Some(mut process) = self.process.replace(standby) {
            process.signal(Signal::QUIT);
            ensure!(process.wait(PATIENCE).await, "Postgres does not stop");
        }
        let mut promote = self.command("pg_ctl");
        promote.args(["promote", "--wait", "--pgdata"]).arg(&data);
        carry_out("pg_ctl promote", promote).await?;
        self.is_reached()?;
        std::fs::remove_dir_all(before)?;
        Ok(())
    }

    /// What a statement answers, as text for people; or why there is no answer.
    pub async fn ask(&self, statement: &str) -> String {
        let mut psql = tokio::process::Command::from(self.command("psql"));
        psql.arg("-h")
            .arg(&self.folder)
            .args(["-U", "postgres", "-X", "-c", statement]);
        psql.kill_on_drop(true);
        match tokio::time::timeout(PATIENCE, psql.output()).await {
            Ok(Ok(output)) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Ok(Err(error)) => format!("psql cannot be run: {error}\n"),
            Err(_) => "the database does not answer\n".to_owned(),
        }
    }

    /// Runs the last server.
    async fn run(&self) -> Result<Process> {
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.server().join("data"))
            .arg("-k")
            .arg(self.server())
            .args(["-c", "listen_addresses=", "-c", "max_connections=200"])
            .args([
                "-c",
                "shared_buffers=64MB",
                "-c",
                "log_line_prefix=%m [%p] ",
            ]);
        let process = self.guard.spawn(command, Signal::QUIT, &self.log)?;
        let socket = self.server().join(SOCKET);
        let starting = async {
            while UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let started = tokio::time::timeout(PATIENCE, starting).await;
        started.with_context(|| format!("Postgres does not start: see {}", self.log.display()))?;
        Ok(process)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // Somewhere every user may be.
        command.current_dir("/");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

async fn carry_out(what: &str, command: Command) -> Result<()> {
    let output = tokio::process::Command::from(command).output();
    let output = output.await.with_context(|| format!("cannot run {what}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {}\n{said}", output.status);
    Ok(())
}

/// The folder with Postgres' programs: one on the PATH, or where Debian keeps them, the newest version.
fn programs() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
        versions.sort_by_key(|version| {
            let number = version
                .file_name()
                .and_then(|name| name.to_str()?.parse::<u32>().ok());
            std::cmp::Reverse(number)
        });
        folders.extend(versions.into_iter().map(|version| version.join("bin")));
    }
    let found = folders
        .into_iter()
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file());
    found.context("PostgreSQL's initdb and postgres are needed, version 15 or newer: scripts/test-deps installs them")
}

/// For root, somebody else.
fn unprivileged() -> Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let find = |wanted: &str| {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields[..] {
                [name, _, uid, gid, ..] if name == wanted => {
                    Some((uid.parse().ok()?, gid.parse().ok()?))
                }
                _ => None,
            }
        })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .context("Postgres cannot run as root, and there is no user postgres or nobody")
}
