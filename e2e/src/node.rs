//! The processes of containers, where the node is this very machine: to kill and to pause them, which no API does.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cluster::until;

/// The first process of a container, by its pid on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Process(Pid);

impl Process {
    /// Finds the first process of a pod's container.
    ///
    /// # Panics
    /// When it is not there: the container is not running, or it runs on another machine.
    pub fn of(pod: &Value, container: &str) -> Self {
        let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
        let status = statuses.iter().find(|status| status["name"] == container);
        let id = status.expect("the container's status")["containerID"]
            .as_str()
            .unwrap();
        let (_, id) = id.split_once("://").expect("a container's id");
        let found = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok())
            .find(|pid| in_container(*pid, id) && is_first(*pid));
        let pid = found.unwrap_or_else(|| {
            panic!(
                "no process of {container} ({id}) here: this test needs the cluster's node to be this machine, \
                 and to be allowed to look into /proc"
            )
        });
        Self(Pid::from_raw(pid).unwrap())
    }

    /// Sends a signal.
    pub fn signal(self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }

    /// The bytes of memory that it has, see proc_pid_status(5).
    pub fn resident(self) -> u64 {
        let status = format!("/proc/{}/status", self.0.as_raw_nonzero());
        let status = fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() << 10
    }

    /// Waits until every thread stands still.
    pub async fn paused(self) {
        until(
            "the process to stand still",
            Duration::from_secs(10),
            async || {
                let tasks = format!("/proc/{}/task", self.0.as_raw_nonzero());
                let running = fs::read_dir(&tasks)
                    .map_err(|error| error.to_string())?
                    .filter(|task| state(&task.as_ref().unwrap().path()) != Some('T'))
                    .count();
                if running == 0 {
                    Ok(())
                } else {
                    Err(format!("{running} threads still run"))
                }
            },
        )
        .await;
    }
}

/// Whether a process belongs to a container, whose id is in the names of its cgroups.
fn in_container(pid: i32, id: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(id))
}

/// Whether a process has pid 1 in its innermost pid namespace.
fn is_first(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    pids.and_then(|pids| pids.split_whitespace().last()) == Some("1")
}

/// The state letter of a thread, see proc_pid_stat(5).
fn state(task: &Path) -> Option<char> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.chars().next()
}
