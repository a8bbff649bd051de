//! Processes that end with the lab, however that ends.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Reads `SIGNAL PID` of what was started and `- PID` of what has ended. At the end of its input it signals what is left, waits
/// for it, and removes the folder.
const GUARD: &str = r#"
runs() { kill -0 "$1" && ! grep -q '^State:.*Z' "/proc/$1/status"; }
while read -r signal pid; do
  if [ "$signal" = - ]; then
    kept=
    set -- $left
    while [ $# -gt 0 ]; do [ "$2" = "$pid" ] || kept="$kept $1 $2"; shift 2; done
    left=$kept
  else
    left="$left $signal $pid"
  fi
done
set -- $left
while [ $# -gt 0 ]; do kill -CONT "$2"; kill "-$1" "$2"; shift 2; done
set -- $left
while [ $# -gt 0 ]; do
  tries=0
  while runs "$2" && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -KILL "$2"
  shift 2
done
rm -rf "$0"
"#;

/// A process that ends all others, and removes the folder with their data, as soon as the lab closes the pipe between them, if
/// only by dying. In a group of its own, so that an interrupt from the terminal does not end it early.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    process: Mutex<Child>,
}

impl Guard {
    /// Makes a folder that goes with the guard.
    ///
    /// # Errors
    /// The folder or the process cannot be made.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("portside-faults-")
            .tempdir()?
            .keep();
        let process = Command::new("/bin/sh")
            .arg("-c")
            .arg(GUARD)
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start a shell")?;
        let process = Mutex::new(process);
        Ok(Self(Arc::new(Inner { folder, process })))
    }

    /// The folder for everybody's data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Starts a process in a group of its own, which `end` is to end if nobody else does. What it says goes to a file.
    ///
    /// # Errors
    /// It cannot be started, or the file cannot be opened.
    pub fn spawn(&self, mut command: Command, end: Signal, log: &Path) -> Result<Process> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let name = if end == Signal::QUIT { "QUIT" } else { "KILL" };
        self.tell(&format!("{name} {}", child.id()));
        Ok(Process {
            guard: self.clone(),
            child,
            end,
        })
    }

    fn tell(&self, line: &str) {
        let mut process = self
            .0
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(input) = &mut process.stdin {
            // If the guard is gone there is nobody to tell, and the drop of each process ends it.
            let _ = writeln!(input, "{line}");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let process = self
            .process
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        drop(process.stdin.take());
        let _ = process.wait();
    }
}

/// A running process. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    guard: Guard,
    child: Child,
    end: Signal,
}

impl Process {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; to one that has ended, nothing.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it has ended; whether it has in the time given.
    pub async fn wait(&mut self, limit: Duration) -> bool {
        let waiting = async {
            while self.ended().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        self.signal(self.end);
        let _ = self.child.wait();
        self.guard.tell(&format!("- {}", self.child.id()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn sleeper(guard: &Guard) -> Process {
        let mut command = Command::new("sleep");
        command.arg("600");
        guard
            .spawn(command, Signal::KILL, &guard.folder().join("log"))
            .unwrap()
    }

    /// What the system does with the pipe when the lab dies.
    fn close(guard: &Guard) {
        let mut process = guard.0.process.lock().unwrap();
        drop(process.stdin.take());
        process.wait().unwrap();
    }

    #[tokio::test]
    async fn everything_ends_with_the_lab_even_what_is_stopped() {
        let guard = Guard::start().unwrap();
        let mut running = sleeper(&guard);
        let mut stopped = sleeper(&guard);
        stopped.signal(Signal::STOP);
        assert!(guard.folder().is_dir());
        close(&guard);
        assert!(running.wait(SOON).await && stopped.wait(SOON).await);
        assert!(!guard.folder().exists());
    }

    #[tokio::test]
    async fn the_guard_forgets_what_has_ended() {
        let guard = Guard::start().unwrap();
        // Its number may be somebody else's by now: here it is one that the guard must leave alone.
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let ended = sleeper(&guard);
        guard.tell(&format!("KILL {}", other.id()));
        guard.tell(&format!("- {}", other.id()));
        drop(ended);
        let mut left = sleeper(&guard);
        close(&guard);
        assert!(left.wait(SOON).await);
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
