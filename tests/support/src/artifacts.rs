//! Files that are built separately from the tests, and a check that they are up to date.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Something that the tests run and that another command builds.
#[derive(Debug, Clone, Copy)]
pub struct Artifact {
    /// The file that runs, below the repository's root.
    pub path: &'static str,
    /// Where cargo lists its sources.
    pub dep_info: &'static str,
    /// The command that builds it.
    pub command: &'static str,
}

/// The sidecar.
pub const SIDECAR: Artifact = Artifact {
    path: "target/release/llm-router-sidecar",
    dep_info: "target/release/llm-router-sidecar.d",
    command: "scripts/build llm-router-sidecar",
};

/// The filter for Envoy's Wasm runtime.
pub const FILTER: Artifact = Artifact {
    path: "target/llm_router_filter.wasm",
    dep_info: "target/llm_router_filter.d",
    command: "scripts/build-filter",
};

/// The filter as a dynamic module.
pub const MODULE: Artifact = Artifact {
    path: "target/libllm_router.so",
    dep_info: "target/libllm_router.d",
    command: "scripts/build-module",
};

/// The dynamic module in a build that panics on request.
pub const PANICKING_MODULE: Artifact = Artifact {
    path: "target/panic-drill/libllm_router.so",
    dep_info: "target/panic-drill/libllm_router.d",
    command: "scripts/build-module target/panic-drill/libllm_router.so --panic-drill",
};

impl Artifact {
    /// The file, if it is not older than any of its sources.
    ///
    /// # Errors
    /// If it is missing or out of date. The error names the reason and the command to run.
    pub fn fresh(&self, repository: &Path) -> Result<PathBuf, String> {
        let path = repository.join(self.path);
        let built =
            modified(&path).ok_or_else(|| format!("{} is missing: run `{}`", self.path, self.command))?;
        let list = fs::read_to_string(repository.join(self.dep_info))
            .map_err(|_| format!("{} is missing: run `{}`", self.dep_info, self.command))?;
        for source in sources(&list) {
            // A source that is gone was deleted, renamed or moved.
            if modified(&source).is_none_or(|changed| changed > built) {
                let source = source.strip_prefix(repository).unwrap_or(&source).display();
                return Err(format!("{} is older than {source}: run `{}`", self.path, self.command));
            }
        }
        Ok(path)
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// The files after the colon of each rule, as in a Makefile: spaces within names have a backslash before them.
fn sources(dep_info: &str) -> Vec<PathBuf> {
    const SPACE: &str = "\0";
    let rules = dep_info.lines().filter_map(|line| line.split_once(": "));
    let escaped = rules.flat_map(|(_, files)| {
        let files = files.replace("\\ ", SPACE);
        files.split_whitespace().map(|file| file.replace(SPACE, " ")).collect::<Vec<_>>()
    });
    escaped.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ARTIFACT: Artifact = Artifact { path: "built", dep_info: "built.d", command: "make it" };

    /// A folder with two sources, a list of them, and what was built of them later.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["a.rs", "with space.rs", "built"] {
            fs::write(file(name), "").unwrap();
        }
        let spaced = file("with space.rs").display().to_string().replace(' ', "\\ ");
        let list = format!("{}: {} {spaced}\n", file("built").display(), file("a.rs").display());
        fs::write(file("built.d"), list).unwrap();
        touch(&file("built"), 10);
        folder
    }

    fn touch(file: &Path, seconds_from_now: u64) {
        let file = fs::File::options().append(true).open(file).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(seconds_from_now)).unwrap();
    }

    #[test]
    fn what_is_newer_than_its_sources_runs() {
        let folder = repository();
        assert_eq!(ARTIFACT.fresh(folder.path()), Ok(folder.path().join("built")));
    }

    #[test]
    fn what_is_older_than_a_source_does_not_run() {
        for changed in ["a.rs", "with space.rs"] {
            let folder = repository();
            touch(&folder.path().join(changed), 20);
            let error = ARTIFACT.fresh(folder.path()).unwrap_err();
            assert_eq!(error, format!("built is older than {changed}: run `make it`"));
        }
    }

    #[test]
    fn what_has_lost_a_source_does_not_run() {
        let folder = repository();
        fs::remove_file(folder.path().join("a.rs")).unwrap();
        assert_eq!(ARTIFACT.fresh(folder.path()), Err("built is older than a.rs: run `make it`".to_owned()));
    }

    #[test]
    fn what_was_not_built_does_not_run() {
        for missing in ["built", "built.d"] {
            let folder = repository();
            fs::remove_file(folder.path().join(missing)).unwrap();
            let error = ARTIFACT.fresh(folder.path()).unwrap_err();
            assert!(error.contains("missing: run `make it`"), "{error}");
        }
    }
}
