//! Rotating JSON Lines files, with limits on their total size and on their age.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

const PREFIX: &str = "prompts-";
const SUFFIX: &str = ".jsonl";

/// Only the user of this process may read captured prompts.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// The maximum correction of a clock. A file from further ahead was written while the clock was wrong.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

/// The limits on size and age of captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum size of a file in bytes; then a new one is started.
    pub file_size: u64,
    /// The maximum size of all files together in bytes; the oldest are deleted.
    pub total_size: u64,
    /// The maximum age of a record.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_size: 16 << 20, total_size: 256 << 20, age: Duration::from_secs(7 * 24 * 3600) }
    }
}

/// The capture files in one folder. This process writes to one of them. Several processes may share the
/// folder.
pub(super) struct Files {
    folder: PathBuf,
    limits: Limits,
    current: Option<Current>,
    /// The number in the name of the last file, a time in milliseconds. The next one is higher, unless the clock was far ahead.
    number: u128,
}

struct Current {
    file: File,
    begun: SystemTime,
    bytes: u64,
}

/// A capture file. Its name has the time when it was started.
struct Old {
    path: PathBuf,
    begun: SystemTime,
    bytes: u64,
}

impl Files {
    /// Creates the folder, if necessary, and starts a file.
    ///
    /// # Errors
    /// If that fails, or a limit is too small.
    pub(super) fn open(folder: &Path, limits: Limits) -> Result<Self> {
        let path = || format!("--capture {}", folder.display());
        ensure!(
            limits.total_size >= 2 * limits.file_size,
            "--capture-total-size must be at least twice --capture-file-size"
        );
        if !folder.exists() {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).with_context(path)?;
        }
        let mode = fs::metadata(folder).with_context(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            let mode = format!("{:o}", mode & 0o777);
            tracing::warn!(folder = %folder.display(), mode, "other users can list the folder of captured prompts; restrict it with chmod 700");
        }
        let mut files = Self { folder: folder.to_owned(), limits, current: None, number: 0 };
        files.begin(SystemTime::now()).with_context(path)?;
        files.prune(SystemTime::now());
        Ok(files)
    }

    /// Appends a line, whole or not at all.
    pub(super) fn append(&mut self, line: &str, now: SystemTime) -> io::Result<()> {
        let is_full = |current: &Current| {
            // After the clock was set back, the age is unknown, so a new file is started.
            let is_old = now.duration_since(current.begun).map_or(true, |age| age >= self.limits.age / 8);
            // Somebody deleted the file, so nobody would find the line.
            let is_gone = current.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
            let has_room = current.bytes + line.len() as u64 <= self.limits.file_size;
            is_gone || current.bytes > 0 && (is_old || !has_room)
        };
        if self.current.as_ref().is_none_or(is_full) {
            self.begin(now)?;
            self.prune(now);
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        match current.file.write_all(line.as_bytes()) {
            Ok(()) => current.bytes += line.len() as u64,
            Err(error) => {
                // A partial line would corrupt the next one.
                let _ = current.file.set_len(current.bytes);
                return Err(error);
            }
        }
        Ok(())
    }

    fn begin(&mut self, now: SystemTime) -> io::Result<()> {
        self.current = None;
        let number = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let is_ahead = self.number > number + CLOCK_TOLERANCE.as_millis();
        self.number = if is_ahead { number } else { number.max(self.number + 1) };
        let file = loop {
            let path = self.folder.join(format!("{PREFIX}{}{SUFFIX}", self.number));
            // In append mode, the next write continues where a partial line was cut off.
            let mut options = OpenOptions::new();
            match options.append(true).create_new(true).mode(FILE_MODE).open(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.number += 1,
                other => break other?,
            }
        };
        self.current = Some(Current { file, begun: now, bytes: 0 });
        Ok(())
    }

    /// Deletes files that are too old, then the oldest ones until another full file fits.
    pub(super) fn prune(&mut self, now: SystemTime) {
        let mut files = self.list();
        files.sort_by_key(|file| file.begun);
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        let newest = files.last().map(|file| file.begun);
        for file in files {
            let is_too_old = match now.duration_since(file.begun) {
                Ok(age) => age >= self.limits.age,
                // Written while the clock was ahead, so the age is unknown.
                Err(ahead) => ahead.duration() > CLOCK_TOLERANCE,
            };
            let is_too_much =
                Some(file.begun) != newest && total + self.limits.file_size > self.limits.total_size;
            if (is_too_old || is_too_much) && fs::remove_file(&file.path).is_ok() {
                total -= file.bytes;
            }
        }
    }

    /// The capture files in the folder. Ignores all other files.
    fn list(&self) -> Vec<Old> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let old = |entry: fs::DirEntry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            let begun = UNIX_EPOCH.checked_add(Duration::from_millis(number.parse().ok()?))?;
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some(Old { path: entry.path(), begun, bytes: metadata.len() })
        };
        entries.flatten().filter_map(old).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn open(folder: &Path, file_size: u64, total_size: u64) -> Files {
        Files::open(folder, Limits { file_size, total_size, age: 8 * DAY }).unwrap()
    }

    /// All lines, oldest first.
    fn lines(files: &Files) -> Vec<String> {
        let mut all = files.list();
        all.sort_by_key(|file| file.begun);
        let text: String = all.iter().map(|file| fs::read_to_string(&file.path).unwrap()).collect();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn only_the_user_reads_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("a/b");
        let files = open(&folder, 100, 200);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, FOLDER_MODE);
        for file in files.list() {
            assert_eq!(fs::metadata(file.path).unwrap().permissions().mode() & 0o777, FILE_MODE);
        }
    }

    #[test]
    fn a_full_file_is_followed_by_another_and_the_oldest_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = open(folder.path(), 10, 30);
        let now = SystemTime::now();
        for number in 0..20 {
            files.append(&format!("{number:04}\n"), now).unwrap();
        }
        let left = lines(&files);
        assert_eq!(left.last().unwrap(), "0019");
        assert!((4..=6).contains(&left.len()), "{left:?}");
        assert!(left.is_sorted());
        let total: u64 = files.list().iter().map(|file| file.bytes).sum();
        assert!(total <= 30, "{total}");
    }

    #[test]
    fn no_record_becomes_older_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = open(folder.path(), 1000, 2000);
        let start = SystemTime::now();
        for day in 0..20 {
            files.append(&format!("{day}\n"), start + day * DAY).unwrap();
        }
        let days: Vec<u32> = lines(&files).iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(days, (12..20).collect::<Vec<_>>());
        files.prune(start + 40 * DAY);
        assert!(lines(&files).is_empty());
        files.append("later\n", start + 40 * DAY).unwrap();
        assert_eq!(lines(&files), ["later"]);
    }

    #[test]
    fn files_from_a_clock_that_was_ahead_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = open(folder.path(), 1000, 2000);
        let start = SystemTime::now();
        files.append("before\n", start).unwrap();
        files.append("ahead\n", start + 10_000 * DAY).unwrap();
        files.append("after\n", start + DAY).unwrap();
        files.prune(start + DAY);
        // While the clock was ahead, the first file was too old.
        assert_eq!(lines(&files), ["after"]);
        files.prune(start + 9 * DAY);
        assert!(lines(&files).is_empty());
    }

    #[test]
    fn other_files_in_the_folder_stay() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["notes.jsonl", "prompts-old.jsonl", "prompts-1.txt"] {
            fs::write(folder.path().join(name), "mine").unwrap();
        }
        let mut files = open(folder.path(), 10, 20);
        for _ in 0..10 {
            files.append("12345678\n", SystemTime::now()).unwrap();
        }
        for name in ["notes.jsonl", "prompts-old.jsonl", "prompts-1.txt"] {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "mine");
        }
    }

    #[test]
    fn a_deleted_file_is_replaced_by_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = open(folder.path(), 100, 200);
        files.append("one\n", SystemTime::now()).unwrap();
        files.list().iter().for_each(|file| fs::remove_file(&file.path).unwrap());
        files.append("two\n", SystemTime::now()).unwrap();
        assert_eq!(lines(&files), ["two"]);
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_an_error_with_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let folder = file.path().join("x");
        let error = format!("{:#}", Files::open(&folder, Limits::default()).err().unwrap());
        assert!(error.contains(&folder.display().to_string()), "{error}");
    }
}
