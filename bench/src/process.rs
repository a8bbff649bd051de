//! What a server costs the machine, from `/proc`: its process and all below it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// How `/proc` counts CPU time: Linux shows programs 100 ticks a second on every architecture it has Rust for.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time a process and its descendants have used so far, user and system, to 10 ms.
pub fn cpu_time(root: u32) -> Result<Duration> {
    let mut ticks = 0;
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        ticks += parse_ticks(&stat).with_context(|| format!("{path} has an unknown form"))?;
    }
    Ok(TICK * ticks)
}

/// The memory a process and its descendants hold now, in bytes.
pub fn resident_bytes(root: u32) -> Result<u64> {
    let mut bytes = 0;
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        bytes += parse_resident(&status).with_context(|| format!("{path} has no VmRSS"))?;
    }
    Ok(bytes)
}

/// The process and its descendants.
fn tree(root: u32) -> Result<Vec<u32>> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            // A thread that has ended since has no children.
            let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    Ok(all)
}

/// `utime` and `stime` of a `stat` line. The program's name, in parentheses before them, may hold anything.
fn parse_ticks(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 0 0 120 34 5 6 20 0 9 0 100 1 1 1";
        assert_eq!(parse_ticks(stat), Some(154));
    }

    #[test]
    fn reads_resident_memory_in_bytes() {
        assert_eq!(
            parse_resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"),
            Some(2 << 20)
        );
    }

    #[test]
    fn counts_the_children_of_a_process() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .spawn()
            .unwrap();
        // The shell starts its own child in its own time.
        while tree(child.id()).unwrap().len() < 2 {
            std::thread::yield_now();
        }
        let pids = tree(child.id()).unwrap();
        let alone =
            parse_resident(&fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap());
        assert!(resident_bytes(child.id()).unwrap() > alone.unwrap());
        let grandchild = pids[1].to_string();
        std::process::Command::new("kill")
            .arg(grandchild)
            .status()
            .unwrap();
        child.wait().unwrap();
    }
}
