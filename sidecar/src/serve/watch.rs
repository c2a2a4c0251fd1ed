//! Sees that files have changed, by asking now and then.
//!
//! Asking, not inotify: a Kubernetes ConfigMap is swapped by one symlink two folders up, which a watch on the file never
//! sees; network volumes tell nothing at all; and a few `stat`s every few seconds cost nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How deep a model's folder is looked into: `heads/NAME/FILE`.
const DEPTH: usize = 3;

/// What the files at a path are, through symlinks; two are equal if nothing was changed between.
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
    /// Of a file, or of all files in a folder. Without any, it is empty.
    pub(super) fn of(path: &Path) -> Self {
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

/// What was seen of one path.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    loaded: Fingerprint,
    seen: Fingerprint,
}

impl Watch {
    /// Of what was loaded just now.
    pub(super) fn new(path: PathBuf) -> Self {
        let now = Fingerprint::of(&path);
        Self { path, loaded: now.clone(), seen: now }
    }

    /// Whether there is something new, and it has stayed the same since the call before: a folder that is still being
    /// copied is left alone. It is told once.
    pub(super) fn has_settled(&mut self) -> bool {
        let now = Fingerprint::of(&self.path);
        let settled = now == self.seen && now != self.loaded;
        if settled {
            self.loaded = now.clone();
        }
        self.seen = now;
        settled
    }

    /// What is there now is being loaded, settled or not.
    pub(super) fn take(&mut self) {
        self.seen = Fingerprint::of(&self.path);
        self.loaded = self.seen.clone();
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_is_told_once_and_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heads/task/labels.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "[]").unwrap();
        let mut watch = Watch::new(folder.path().to_owned());
        assert!(!watch.has_settled());

        fs::write(&file, "[1]").unwrap();
        assert!(!watch.has_settled(), "it may still be written to");
        fs::write(&file, "[1, 2]").unwrap();
        assert!(!watch.has_settled(), "it was still written to");
        assert!(watch.has_settled());
        assert!(!watch.has_settled(), "it was told before");
    }

    #[test]
    fn what_was_taken_is_not_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut watch = Watch::new(file.path().to_owned());
        fs::write(file.path(), "new").unwrap();
        watch.take();
        assert!(!watch.has_settled() && !watch.has_settled());
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
        let mut watch = Watch::new(at("policy.yaml"));

        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(!watch.has_settled());
        assert!(watch.has_settled());
    }
}
