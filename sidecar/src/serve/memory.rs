//! The memory limit of this process: its cgroup's, or the machine's memory.

use std::fs;
use std::path::{Component, Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

/// The limit in bytes, if the system reports one.
pub(super) fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    limits(Path::new(CGROUPS), &groups).chain(machine).min()
}

/// The limits of the process's cgroups and of their ancestors: `memory.max` in version 2, `memory.limit_in_bytes` in
/// version 1. A container sees its own cgroup as the root.
fn limits(root: &Path, groups: &str) -> impl Iterator<Item = u64> {
    let files: Vec<PathBuf> = groups.lines().flat_map(|line| files(root, line)).collect();
    // "max" and absent files set no limit.
    files.into_iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// The limit files for a line `0::/PATH`, or `NUMBER:CONTROLLERS:/PATH` in version 1.
fn files(root: &Path, line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, name) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        _ if controllers.split(',').any(|it| it == "memory") => {
            (root.join("memory"), "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let inner: PathBuf =
        Path::new(path).components().filter(|it| matches!(it, Component::Normal(_))).collect();
    inner.ancestors().map(|group| root.join(group).join(name)).collect()
}

/// `MemTotal` of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_cgroup_and_its_ancestors_are_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("pods/memory.max", "1000\n");
        write("pods/one/memory.max", "max\n");
        write("memory/docker/memory.limit_in_bytes", "500\n");
        let all = |groups| limits(root.path(), groups).collect::<Vec<_>>();
        assert_eq!(all("0::/pods/one\n"), [1000]);
        assert_eq!(all("5:cpu:/docker\n7:hugetlb,memory:/docker\n"), [500]);
        assert!(all("0::/\n").is_empty() && all("nonsense").is_empty());
    }

    #[test]
    fn a_machine_has_memory() {
        assert!(limit().unwrap() > 1 << 20);
        assert_eq!(total("MemFree: 1 kB\nMemTotal:  16 kB\n"), Some(16384));
    }
}
