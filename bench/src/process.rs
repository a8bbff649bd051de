//! What a server costs the machine, from `/proc`: its process and all below it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How `/proc` counts CPU time: Linux shows programs 100 ticks a second on every architecture it has Rust for.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time a process and its descendants have used so far, user and system, to 10 ms; with those that have ended.
pub fn cpu_time(root: u32) -> Result<Duration> {
    let mut ticks = 0;
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/stat");
        let Ok(stat) = fs::read_to_string(&path) else {
            ensure!(pid != root, "cannot read {path}");
            continue; // it has ended since
        };
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

/// What memory is used for, in bytes, as far as the places and sizes of mappings tell.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// Pages of V8's heaps: 256 KiB each, and there they begin.
    pub v8_pages: u64,
    /// What glibc's malloc has: the heap of the process, and arenas, which begin at multiples of 64 MiB.
    pub malloc: u64,
    /// Files: the program with what is in it, libraries, databases.
    pub files: u64,
    /// Stacks, large allocations, tables.
    pub other: u64,
}

/// The same for the memory of a process and its descendants.
pub fn resident_by_use(root: u32) -> Result<Resident> {
    let mut all = Resident::default();
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/smaps");
        let smaps = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        add_mappings(&smaps, &mut all);
    }
    Ok(all)
}

const V8_PAGE: u64 = 256 << 10;
const ARENA: u64 = 64 << 20;

/// Adds what each mapping has to what it is used for.
fn add_mappings(smaps: &str, all: &mut Resident) {
    let mut mapping = None;
    for line in smaps.lines() {
        if let Some(resident) = line.strip_prefix("Rss:") {
            let bytes = parse_size(resident).unwrap_or(0);
            match mapping.take() {
                Some((_, _, "[heap]")) => all.malloc += bytes,
                Some((_, _, name)) if name.starts_with('/') => all.files += bytes,
                Some((start, end, "")) if start % V8_PAGE == 0 && (end - start) % V8_PAGE == 0 => {
                    all.v8_pages += bytes;
                }
                Some((start, _, "")) if start % ARENA == 0 => all.malloc += bytes,
                _ => all.other += bytes,
            }
        } else if let Some(found) = parse_mapping(line) {
            mapping = Some(found);
        }
    }
}

/// Where a mapping begins and ends, and its name: the first line of its entry.
fn parse_mapping(line: &str) -> Option<(u64, u64, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    // After the permissions, the offset, the device and the inode.
    let name = rest.splitn(5, ' ').nth(4).unwrap_or("").trim();
    Some((address(start)?, address(end)?, name))
}

/// The process and its descendants.
pub fn tree(root: u32) -> Result<Vec<u32>> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        let tasks = format!("/proc/{pid}/task");
        let Ok(listed) = fs::read_dir(&tasks) else {
            ensure!(pid != root, "cannot read {tasks}");
            continue; // it has ended since
        };
        for task in listed {
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

/// `utime` and `stime` of a `stat` line, and those of children that have ended. The program's name, in parentheses before them, may hold anything.
fn parse_ticks(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let times = after_name.split(' ').skip(11).take(4);
    let times: Vec<u32> = times.map_while(|time| time.parse().ok()).collect();
    (times.len() == 4).then(|| times.iter().sum())
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    parse_size(line)
}

/// The bytes of a size as `/proc` has it.
fn parse_size(text: &str) -> Option<u64> {
    let kib: u64 = text.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 0 0 120 34 5 6 20 0 9 0 100 1 1 1";
        assert_eq!(parse_ticks(stat), Some(165));
    }

    #[test]
    fn reads_resident_memory_in_bytes() {
        assert_eq!(
            parse_resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"),
            Some(2 << 20)
        );
    }

    #[test]
    fn tells_what_memory_is_used_for() {
        let smaps = "\
560000000000-560000100000 r-xp 00000000 fe:00 12 /bin/a program
Size:               1024 kB
Rss:                 100 kB
560000200000-560000300000 rw-p 00000000 00:00 0 [heap]
Rss:                  20 kB
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
Rss:                   3 kB
7f0000140000-7f00001a5000 rw-p 00000000 00:00 0 \n\
Rss:                   4 kB
7f0008000000-7f0008021000 rw-p 00000000 00:00 0
Rss:                  50 kB
";
        let mut all = Resident::default();
        add_mappings(smaps, &mut all);
        let kib = |kib: u64| kib << 10;
        assert_eq!(all.files, kib(100));
        assert_eq!(all.v8_pages, kib(3));
        assert_eq!(all.malloc, kib(70));
        assert_eq!(all.other, kib(4));
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
