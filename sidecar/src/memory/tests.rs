use std::fs;

use super::*;

const TWO: &str = "30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - cgroup2 cgroup rw,nsdelegate\n";
const ONE: &str = "31 24 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
    35 31 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
    36 31 0:32 /docker/1a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

#[track_caller]
fn expect(groups: &Groups, version: Version, folders: &[&str]) {
    assert_eq!(groups.version, version);
    let folders: Vec<&Path> = folders.iter().map(Path::new).collect();
    assert_eq!(groups.folders, folders);
}

#[test]
fn groups_are_found_in_either_version() {
    let two = Groups::of("0::/system.slice/it.service\n", TWO);
    let folders = [
        "/sys/fs/cgroup/system.slice/it.service",
        "/sys/fs/cgroup/system.slice",
        "/sys/fs/cgroup",
    ];
    expect(&two, Version::Two, &folders);
    let one = Groups::of("9:cpu:/docker/1a\n4:memory:/docker/1a/b\n0::/\n", ONE);
    let folders = ["/sys/fs/cgroup/memory/b", "/sys/fs/cgroup/memory"];
    expect(&one, Version::One, &folders);
    let container = Groups::of("0::/\n", TWO);
    expect(&container, Version::Two, &["/sys/fs/cgroup"]);
    expect(&Groups::of("", ""), Version::Two, &[]);
}

fn group(folder: &Path, version: Version, limit: &str, used: &str, stat: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(version.limit()), limit).unwrap();
    fs::write(folder.join(version.used()), used).unwrap();
    fs::write(folder.join("memory.stat"), stat).unwrap();
}

#[test]
fn the_nearest_limit_counts_without_what_can_be_taken_back() {
    let root = tempfile::tempdir().unwrap();
    let (outer, inner) = (root.path().to_owned(), root.path().join("inner"));
    for (version, none) in [
        (Version::Two, "max\n"),
        (Version::One, "9223372036854771712\n"),
    ] {
        let groups = Groups {
            folders: vec![inner.clone(), outer.clone()],
            version,
        };
        let stat = "inactive_file 20\ntotal_inactive_file 20\n";
        group(&inner, version, none, "70\n", stat);
        group(&outer, version, none, "90\n", stat);
        assert_eq!(groups.tightest(), None);
        group(&inner, version, "100\n", "70\n", stat);
        let memory = |used, limit| Some(Memory { used, limit });
        assert_eq!(groups.tightest(), memory(50, 100));
        group(&outer, version, "120\n", "90\n", stat);
        assert_eq!(groups.tightest(), memory(70, 120));
    }
}

/// Where this may make a group, one with a limit is read as the kernel has it.
#[test]
fn a_real_group_is_read() {
    let groups = Groups::of_process(Path::new("/proc/self"));
    let Some(own) = groups.folders.first() else {
        return eprintln!("skipped: no control group of this process is mounted");
    };
    let folder = own.join(format!("portside-test-{}", std::process::id()));
    if let Err(error) = fs::create_dir(&folder) {
        return eprintln!("skipped: {}: {error}", folder.display());
    }
    let limit = 64 << 20;
    let limited = fs::write(folder.join(groups.version.limit()), format!("{limit}"));
    let inside = Groups {
        folders: vec![folder.clone()],
        version: groups.version,
    };
    let memory = inside.tightest();
    fs::remove_dir(&folder).unwrap();
    match limited {
        Ok(()) => assert_eq!(memory.map(|memory| memory.limit), Some(limit)),
        Err(error) => eprintln!("skipped: no limit can be set: {error}"),
    }
}
