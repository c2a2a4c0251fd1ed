//! Detects changed files by polling.
//!
//! Polling, not inotify: Kubernetes swaps a ConfigMap by a symlink two folders up, which a watch on the file never sees;
//! network volumes report no changes at all; and a few `stat`s every few seconds cost nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Levels of a model's folder that are read: `heads/NAME/FILE`.
const DEPTH: usize = 3;

/// Identifies the files at a path, through symlinks. Two fingerprints are equal if nothing changed in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint(BTreeMap<PathBuf, File>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Fingerprint {
    /// Reads the fingerprint of a file, or of all files in a folder. It is empty if there are none. Blocks.
    pub(super) fn read(path: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(path, DEPTH, &mut files);
        Self(files)
    }
}

fn collect(path: &Path, depth: usize, files: &mut BTreeMap<PathBuf, File>) {
    let Ok(metadata) = fs::metadata(path) else { return };
    if !metadata.is_dir() {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let file = File { device: metadata.dev(), inode: metadata.ino(), length: metadata.len(), modified };
        files.insert(path.to_owned(), file);
    } else if depth > 0 {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), depth - 1, files);
        }
    }
}

/// The last fingerprints of one path. It reads no files itself.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    loaded: Fingerprint,
    seen: Fingerprint,
}

impl Watch {
    /// Starts with the files that are being loaded.
    pub(super) fn new(path: PathBuf, now: Fingerprint) -> Self {
        Self { path, loaded: now.clone(), seen: now }
    }

    /// Whether the files differ from the loaded ones and have not changed since the previous call: a folder that is still
    /// being copied is left alone. Each change is reported once.
    pub(super) fn has_settled(&mut self, now: Fingerprint) -> bool {
        let settled = now == self.seen && now != self.loaded;
        if settled {
            self.loaded = now.clone();
        }
        self.seen = now;
        settled
    }

    /// Records that these files are being loaded, settled or not.
    pub(super) fn set_loaded(&mut self, now: Fingerprint) {
        self.seen = now.clone();
        self.loaded = now;
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn watch(path: PathBuf) -> Watch {
        let now = Fingerprint::read(&path);
        Watch::new(path, now)
    }

    fn has_settled(watch: &mut Watch) -> bool {
        let now = Fingerprint::read(watch.path());
        watch.has_settled(now)
    }

    #[test]
    fn a_change_is_reported_once_and_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heads/task/labels.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "[]").unwrap();
        let mut watch = watch(folder.path().to_owned());
        assert!(!has_settled(&mut watch));

        fs::write(&file, "[1]").unwrap();
        assert!(!has_settled(&mut watch), "it may still be written to");
        fs::write(&file, "[1, 2]").unwrap();
        assert!(!has_settled(&mut watch), "it was still written to");
        assert!(has_settled(&mut watch));
        assert!(!has_settled(&mut watch), "it was reported before");
    }

    #[test]
    fn what_was_loaded_is_not_reported() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut watch = watch(file.path().to_owned());
        fs::write(file.path(), "new").unwrap();
        watch.set_loaded(Fingerprint::read(file.path()));
        assert!(!has_settled(&mut watch) && !has_settled(&mut watch));
    }

    #[test]
    fn a_swapped_symlink_of_a_folder_above_is_a_change() {
        // As Kubernetes mounts a ConfigMap: policy.yaml -> ..data/policy.yaml, ..data -> ..VERSION
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("policy.yaml"), "same length").unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/policy.yaml", at("policy.yaml")).unwrap();
        let mut watch = watch(at("policy.yaml"));

        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(!has_settled(&mut watch));
        assert!(has_settled(&mut watch));
    }
}
