//! A Postgres server for one test program.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::bouncer;
use super::tls::{self, Tls};

/// The environment variable that names a running server, to be used instead of an own one.
const EXISTING: &str = "PORTSIDE_TEST_POSTGRES";

/// The environment variable that has clients come through a PgBouncer, in its transaction mode: `1`, or where the program is.
const BOUNCER: &str = "PORTSIDE_TEST_PGBOUNCER";

/// A server in a temporary folder, listening on a Unix socket there, with `fsync` on; or the one that
/// `PORTSIDE_TEST_POSTGRES` names. Its own one stops, and the folder goes, when this is dropped and also when the test
/// program ends without dropping it, however it ends.
#[derive(Debug)]
pub struct PostgresServer {
    url: String,
    own: Option<Own>,
    is_bounced: bool,
}

#[derive(Debug)]
struct Own {
    folder: TempDir,
    programs: PathBuf,
    user: Option<User>,
    guard: Child,
    /// Its port, for the socket as well: the usual one unless it listens for TLS.
    port: u16,
}

/// Where a server listens that listens on a socket only.
const PORT: u16 = 5432;

/// Whom the server runs as, for it refuses to run as root.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
}

impl PostgresServer {
    /// Starts a server, or finds the one that `PORTSIDE_TEST_POSTGRES` names.
    ///
    /// # Panics
    /// If there is neither, saying what to install.
    #[must_use]
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a server, or finds the one that `PORTSIDE_TEST_POSTGRES` names.
    ///
    /// # Errors
    /// There is neither; the error says what to install.
    pub fn try_start() -> io::Result<Self> {
        match std::env::var(EXISTING) {
            Ok(url) => Ok(Self {
                url,
                own: None,
                is_bounced: false,
            }),
            Err(_) => Self::start_own(None),
        }
    }

    /// Starts a server of its own that lets clients in over TLS as well, at `localhost` and with passwords.
    ///
    /// # Panics
    /// If there are no programs, saying what to install.
    #[must_use]
    pub fn start_with_tls() -> (Self, Tls) {
        let tls = Tls::new().unwrap_or_else(|error| panic!("{error}"));
        let started = Self::start_own(Some(&tls));
        (started.unwrap_or_else(|error| panic!("{error}")), tls)
    }

    /// The one server of this test program, started when first asked for.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);
        &SHARED
    }

    fn start_own(tls: Option<&Tls>) -> io::Result<Self> {
        let programs = find_programs()?;
        let folder = tempfile::Builder::new().prefix("portside-pg-").tempdir()?;
        let user = match std::fs::metadata(folder.path())?.uid() {
            0 => Some(unprivileged()?),
            _ => None,
        };
        if let Some(user) = user {
            chown(folder.path(), Some(user.uid), Some(user.gid))?;
        }
        let data = folder.path().join("data");
        run(command(&programs.join("initdb"), user)
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--no-instructions", "-D"])
            .arg(&data))?;
        if let Some(tls) = tls {
            tls::set_up(tls, &data, user)?;
        }
        let own = Own {
            guard: guard(&programs, user, folder.path())?,
            folder,
            programs,
            user,
            port: tls.map_or(PORT, |tls| tls.port),
        };
        own.start()?;
        let is_bounced = match std::env::var_os(BOUNCER).filter(|_| tls.is_none()) {
            Some(program) => bouncer::start(&program, own.folder.path(), own.user)?,
            None => false,
        };
        let socket = own.folder.path().display();
        Ok(Self {
            url: match own.port {
                PORT => format!("postgres://postgres@localhost/postgres?host={socket}"),
                port => format!("postgres://postgres@localhost:{port}/postgres?host={socket}"),
            },
            own: Some(own),
            is_bounced,
        })
    }

    /// Makes a new database and returns its URL.
    ///
    /// # Panics
    /// If the server cannot be reached.
    pub async fn database(&self) -> String {
        let name = format!("portside_test_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&self.url)
            .await
            .expect("the test server is reachable");
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .expect("the test server lets us make databases");
        let (server, parameters) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let authority = server.find("://").map_or(0, |at| at + 3);
        let end = server[authority..].find('/');
        let server = &server[..end.map_or(server.len(), |at| authority + at)];
        if self.is_bounced {
            bouncer::prepare(&mut connection, &name).await;
            return format!("{server}/{name}?{parameters}{}", bouncer::PARAMETERS);
        }
        format!("{server}/{name}?{parameters}")
    }

    /// Runs a statement as a superuser.
    ///
    /// # Panics
    /// If it fails.
    pub async fn run(&self, statement: &str) {
        let mut connection = PgConnection::connect(&self.url)
            .await
            .expect("the test server is reachable");
        let query = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        let ran = query.execute(&mut connection).await;
        ran.expect("the statement is right");
    }

    /// Whether this is a server of our own, which may be crashed.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The first of its processes, whose descendants the others are, if this is a server of our own.
    ///
    /// # Errors
    /// It does not run.
    pub fn process_id(&self) -> io::Result<Option<u32>> {
        let Some(own) = &self.own else {
            return Ok(None);
        };
        let file = own.folder.path().join("data/postmaster.pid");
        let text = std::fs::read_to_string(file)?;
        let first = text.lines().next().and_then(|line| line.parse().ok());
        first
            .map(Some)
            .ok_or_else(|| io::Error::other("postmaster.pid has no process id"))
    }

    /// Stops the server as a crash would, at once and without a checkpoint (SIGQUIT), and starts it again.
    ///
    /// # Panics
    /// If it is not [ours](Self::is_own), or does not come back.
    pub fn crash(&self) {
        let own = self.own.as_ref().expect("a server of our own");
        own.stop().expect("the test server stops");
        own.start().expect("the test server starts again");
    }
}

impl Own {
    fn pg_ctl(&self) -> Command {
        let mut pg_ctl = command(&self.programs.join("pg_ctl"), self.user);
        pg_ctl.arg("-D").arg(self.folder.path().join("data"));
        pg_ctl
    }

    fn start(&self) -> io::Result<()> {
        let folder = self.folder.path().display();
        let port = self.port;
        let listen = match port {
            PORT => "",
            _ => "127.0.0.1",
        };
        let options = format!(
            "-c listen_addresses='{listen}' -c port={port} -c unix_socket_directories='{folder}' \
             -c max_connections=300 -c shared_buffers=64MB -c fsync=on"
        );
        run(self
            .pg_ctl()
            .args(["start", "-w", "-t", "60", "-o", &options, "-l"])
            .arg(self.folder.path().join("log")))
    }

    fn stop(&self) -> io::Result<()> {
        run(self
            .pg_ctl()
            .args(["stop", "-m", "immediate", "-w", "-t", "60"]))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Closing its input is what the guard waits for.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A process that stops the server and removes its folder as soon as this one closes the pipe between them, if only by
/// dying. In a group of its own, so that an interrupt from the terminal does not end it early.
fn guard(programs: &Path, user: Option<User>, folder: &Path) -> io::Result<Child> {
    const SCRIPT: &str = r#"read -r _; [ ! -f "$1/bouncer.pid" ] || kill -QUIT "$(cat "$1/bouncer.pid")"; "$0/pg_ctl" stop -D "$1/data" -m immediate -w -t 60; rm -rf "$1""#;
    command(Path::new("/bin/sh"), user)
        .arg("-c")
        .arg(SCRIPT)
        .args([programs, folder])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

pub(super) fn command(program: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    // Somewhere every user may be.
    command.current_dir("/");
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// Runs to the end. Its output goes to a file, not a pipe: the server would inherit the pipe and keep it open.
pub(super) fn run(command: &mut Command) -> io::Result<()> {
    let output = tempfile::tempfile()?;
    let status = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .status()?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    let mut output = output;
    io::Seek::rewind(&mut output)?;
    io::Read::read_to_string(&mut output, &mut said)?;
    Err(io::Error::other(format!("{command:?}: {status}\n{said}")))
}

/// The folder that has `initdb` and `pg_ctl`: one on the PATH, or where Debian keeps them (the newest version).
fn find_programs() -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
        let number = |path: &PathBuf| -> Option<u32> {
            path.file_name().and_then(OsStr::to_str)?.parse().ok()
        };
        versions.sort_by_key(|path| std::cmp::Reverse(number(path)));
        folders.extend(versions.into_iter().map(|version| version.join("bin")));
    }
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
        .ok_or_else(|| {
            io::Error::other(format!(
                "these tests need PostgreSQL's initdb and pg_ctl, version 15 or newer: install the \
                 package \"postgresql\", or set {EXISTING} to the URL of a running server"
            ))
        })
}

/// For root, somebody else.
fn unprivileged() -> io::Result<User> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let find = |wanted: &str| {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields[..] {
                [name, _, uid, gid, ..] if name == wanted => Some(User {
                    uid: uid.parse().ok()?,
                    gid: gid.parse().ok()?,
                }),
                _ => None,
            }
        })
    };
    find("postgres").or_else(|| find("nobody")).ok_or_else(|| {
        io::Error::other("the server cannot run as root, and there is no user postgres or nobody")
    })
}
