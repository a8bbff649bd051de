//! A Postgres of this machine's own programs, which has the state of one application and ends with it.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;
use url::form_urlencoded::byte_serialize;

use super::fleet::END;
use super::programs::{Programs, version_of};

/// One that has run for this long did not end of how it was started.
const SOUND: Duration = Duration::from_secs(5);
/// How much of its log is shown when it does not start.
const LOG_END: usize = 2000;

/// Starts the server whose command line this gets, in the background, and has it shut down when a line comes, or its input ends, as it
/// does when `portside` ends, however that ends: then pods may still be about to write, and have so many seconds for it. Its output is the lock, kept as long as
/// the server runs.
const GUARD: &str = r#"
log=$1 socket=$2 pods_end=$3; shift 3
exec 3<&0
"$@" </dev/null >>"$log" 2>&1 3<&- &
server=$!
{ read -r _ <&3 || sleep "$pods_end"; kill -INT $server; } 2>/dev/null &
waiting=$!
wait $server
status=$?
kill $waiting 2>/dev/null || rm -rf "$socket"
exit $status
"#;

/// A server that is running, or about to.
pub struct Postgres {
    guard: Guard,
    programs: Programs,
    folder: PathBuf,
    /// The folder with its socket: the paths of sockets are short.
    socket: TempDir,
    connections: usize,
    lock: File,
    url: String,
}

/// The shell that has the server.
struct Guard {
    process: Child,
    input: Option<ChildStdin>,
}

impl Postgres {
    /// Starts the server in this folder, which is made if there is none, for so many connections. It can be connected to a little
    /// later. The lock is kept until the server has ended.
    ///
    /// # Errors
    /// There are no programs of Postgres, or they cannot be run here; with what to do.
    pub async fn start(folder: &Path, connections: usize, lock: &File) -> anyhow::Result<Self> {
        if rustix::process::geteuid().is_root() {
            bail!(
                "Postgres does not run as root, so root has none in .portside/postgres: be another user, or name a server \
                 with --store postgres://…"
            );
        }
        let data = folder.join("data");
        let programs = Programs::find(version_of(&data)?).await?;
        if !data.is_dir() {
            make(folder, &data, &programs).await?;
        }
        let socket = tempfile::Builder::new().prefix("portside-").tempdir()?;
        let lock = lock.try_clone()?;
        Ok(Self {
            guard: guard(&programs, folder, socket.path(), connections, &lock)?,
            url: url(socket.path()),
            programs,
            folder: folder.to_owned(),
            socket,
            connections,
            lock,
        })
    }

    /// Where it is, for those of this user.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts it again whenever it has ended without having been told to. Returns when that is of no use, with what it has said
    /// last.
    pub async fn keep(&mut self) -> anyhow::Error {
        loop {
            let begun = Instant::now();
            let how = match self.guard.process.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => return error.into(),
            };
            if begun.elapsed() < SOUND {
                let log = self.folder.join("log");
                let said = fs::read_to_string(&log).unwrap_or_default();
                let said = end_of(&said);
                return anyhow!(
                    "Postgres has ended ({how}). The end of {}:\n{said}",
                    log.display()
                );
            }
            eprintln!("portside: Postgres has ended ({how}): it is started again");
            let socket = self.socket.path();
            match guard(
                &self.programs,
                &self.folder,
                socket,
                self.connections,
                &self.lock,
            ) {
                Ok(guard) => self.guard = guard,
                Err(why) => return why,
            }
        }
    }

    /// Shuts it down, and returns when it is.
    pub async fn end(mut self) {
        if let Some(mut input) = self.guard.input.take() {
            // It has ended if that fails, as below.
            let _ = input.write_all(b"end\n").await;
        }
        let _ = self.guard.process.wait().await;
    }
}

fn guard(
    programs: &Programs,
    folder: &Path,
    socket: &Path,
    connections: usize,
    lock: &File,
) -> anyhow::Result<Guard> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", GUARD, "portside-postgres"])
        .arg(folder.join("log"))
        .arg(socket)
        .arg(END.as_secs().to_string())
        .arg(programs.of("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(socket)
        .args(["-c", "listen_addresses="])
        .args(["-c", &format!("max_connections={connections}")])
        .stdin(Stdio::piped())
        .stdout(lock.try_clone()?)
        .stderr(Stdio::null())
        // Ctrl-C is not for it.
        .process_group(0);
    let mut process = command.spawn().context("cannot start a shell")?;
    Ok(Guard {
        // Or waiting would close it.
        input: process.stdin.take(),
        process,
    })
}

fn end_of(log: &str) -> &str {
    let from = log.len().saturating_sub(LOG_END);
    let from = (from..log.len()).find(|&at| log.is_char_boundary(at));
    from.map_or("", |from| &log[from..])
}

/// For a server whose socket is in this folder.
fn url(socket: &Path) -> String {
    let host: String = byte_serialize(socket.as_os_str().as_bytes()).collect();
    format!("postgres://postgres@localhost/postgres?host={host}")
}

/// Makes the server's data: whole, or not at all.
async fn make(folder: &Path, data: &Path, programs: &Programs) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let new = folder.join("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    let output = Command::new(programs.of("initdb"))
        .args(["--auth=trust", "--username=postgres", "--encoding=UTF8"])
        .args(["--locale=C", "--no-instructions", "-D"])
        .arg(&new)
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .await
        .context("cannot run initdb")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("Postgres' initdb cannot make {}:\n{said}", data.display());
    }
    fs::rename(&new, data).with_context(|| format!("cannot make {}", data.display()))
}
