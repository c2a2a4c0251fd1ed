//! Detects that the module's file was replaced. Envoy keeps the code that it has loaded from a path, so the new content would
//! never run, without a warning.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The file when it was loaded.
static LOADED: OnceLock<Option<OwnFile>> = OnceLock::new();

#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    identity: Identity,
}

/// Identifies the content of a path: inode, size, and time of the last change.
type Identity = (u64, u64, i64, i64);

/// Records the file's identity when Envoy loads it.
pub(crate) fn remember() {
    LOADED.get_or_init(|| {
        let path = path()?;
        let identity = identity(&path)?;
        Some(OwnFile { path, identity })
    });
}

/// The warning, if the file has changed since Envoy loaded it.
pub(crate) fn warning() -> Option<String> {
    let file = LOADED.get()?.as_ref()?;
    // A file that is gone has no new content.
    let is_changed = identity(&file.path).is_some_and(|now| now != file.identity);
    is_changed.then(|| {
        format!(
            "{} has changed since Envoy loaded it, and Envoy keeps the old code: give a new version a new file name",
            file.path.display()
        )
    })
}

/// Where the module was loaded from.
fn path() -> Option<PathBuf> {
    let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
    let own = std::ptr::from_ref(&LOADED).cast();
    // SAFETY: dladdr only compares the address, and fills `found` if it succeeds; the name lives as long as the module.
    let name = unsafe {
        if libc::dladdr(own, found.as_mut_ptr()) == 0 {
            return None;
        }
        let name = found.assume_init().dli_fname;
        if name.is_null() {
            return None;
        }
        CStr::from_ptr(name)
    };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

fn identity(path: &PathBuf) -> Option<Identity> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_runs_is_found_and_has_not_changed() {
        let path = path().unwrap();
        assert_eq!(fs::canonicalize(path).unwrap(), std::env::current_exe().unwrap());
        remember();
        assert_eq!(warning(), None);
    }
}
