//! How much memory this process may use and uses: what its control group says, which is what the system ends it by.

use std::path::{Path, PathBuf};

use portside_core::admission::Memory;

/// Tells how much memory the process uses, of how much; nothing if it has no limit. Called some times a second.
pub type Meter = Box<dyn Fn() -> Option<Memory> + Send + Sync>;

/// A meter of this process's control group. None of it ever fails: what cannot be read counts as no limit.
#[must_use]
pub fn of_process() -> Meter {
    let groups = Groups::of_process(Path::new("/proc/self"));
    Box::new(move || groups.tightest())
}

/// A process without a limit.
#[must_use]
pub fn unlimited() -> Meter {
    Box::new(|| None)
}

/// How much memory the machine has, in bytes; nothing if it does not say.
pub(crate) fn of_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib = total.trim().strip_suffix("kB")?.trim();
    Some(kib.parse::<u64>().ok()? << 10)
}

/// The group of a process and those around it, each of which may have a limit.
/// See <https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files>.
#[derive(Debug, PartialEq, Eq)]
struct Groups {
    folders: Vec<PathBuf>,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn limit(self) -> &'static str {
        match self {
            Self::One => "memory.limit_in_bytes",
            Self::Two => "memory.max",
        }
    }

    fn used(self) -> &'static str {
        match self {
            Self::One => "memory.usage_in_bytes",
            Self::Two => "memory.current",
        }
    }

    /// In `memory.stat`: what the system takes back before it ends anybody. Pages of files that were read more than once count as
    /// active, such as those of large databases. In version 1, of the groups below as well.
    fn reclaimable(self) -> [&'static str; 2] {
        match self {
            Self::One => ["total_inactive_file ", "total_active_file "],
            Self::Two => ["inactive_file ", "active_file "],
        }
    }
}

impl Groups {
    fn of_process(proc: &Path) -> Self {
        let read = |name| std::fs::read_to_string(proc.join(name)).unwrap_or_default();
        Self::of(&read("cgroup"), &read("mountinfo"))
    }

    /// From `/proc/self/cgroup`, whose lines are `ID:CONTROLLERS:PATH`, and `/proc/self/mountinfo`. Where both versions are
    /// mounted, the one that has the memory controller.
    fn of(cgroup: &str, mountinfo: &str) -> Self {
        let lines = cgroup.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            Some((parts.next()?, parts.next()?, parts.next()?))
        });
        let mut two = None;
        for (id, controllers, path) in lines {
            if controllers.split(',').any(|one| one == "memory") {
                return Self::at(mountinfo, path, Version::One);
            }
            if id == "0" && controllers.is_empty() {
                two = Some(path);
            }
        }
        Self::at(mountinfo, two.unwrap_or("/"), Version::Two)
    }

    fn at(mountinfo: &str, path: &str, version: Version) -> Self {
        let mounted = mountinfo.lines().find_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let (kind, options) = kind.split_once(' ')?;
            let is_it = match version {
                Version::One => {
                    kind == "cgroup"
                        && options
                            .rsplit(' ')
                            .next()
                            .is_some_and(|options| options.split(',').any(|one| one == "memory"))
                }
                Version::Two => kind == "cgroup2",
            };
            let mut fields = mount.split(' ').skip(3);
            is_it.then_some((fields.next()?, fields.next()?))
        });
        let Some((root, folder)) = mounted else {
            return Self {
                folders: vec![],
                version,
            };
        };
        // In a container the mount may begin at the container's own group.
        let below = Path::new(path).strip_prefix(root);
        let group = match below {
            Ok(below) => Path::new(folder).join(below),
            Err(_) => PathBuf::from(folder),
        };
        let folders = group
            .ancestors()
            .take_while(|one| one.starts_with(folder))
            .map(Path::to_owned)
            .collect();
        Self { folders, version }
    }

    /// Of the group whose limit is nearest.
    fn tightest(&self) -> Option<Memory> {
        let all = self.folders.iter().filter_map(|one| self.memory(one));
        all.max_by(|a, b| {
            let ratio =
                |one: &Memory, other: &Memory| u128::from(one.used) * u128::from(other.limit);
            ratio(a, b).cmp(&ratio(b, a))
        })
    }

    fn memory(&self, folder: &Path) -> Option<Memory> {
        /// Version 1 says "none" with nearly 2^63.
        const NO_LIMIT: u64 = 1 << 60;
        let number = |name| -> Option<u64> {
            let text = std::fs::read_to_string(folder.join(name)).ok()?;
            text.trim().parse().ok()
        };
        let limit = number(self.version.limit()).filter(|limit| *limit < NO_LIMIT)?;
        let used = number(self.version.used())?;
        let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let names = self.version.reclaimable();
        let reclaimable = stat.lines().filter_map(|line| {
            let bytes = names.iter().find_map(|name| line.strip_prefix(name))?;
            bytes.parse::<u64>().ok()
        });
        Some(Memory {
            used: used.saturating_sub(reclaimable.sum()),
            limit,
        })
    }
}

#[cfg(test)]
mod tests;
