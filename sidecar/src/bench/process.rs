//! The resources that another process uses, from `/proc`.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::Serialize;

/// Clock ticks per second in `/proc/PID/stat`. Linux fixes it for programs, whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process by a name of the user's choice: `NAME=PID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessArg {
    /// The name in reports.
    pub name: String,
    id: u32,
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// The name in reports.
    pub name: String,
    folder: PathBuf,
    /// In ticks since the machine started. Distinguishes the process from a later one with the same id.
    started: u64,
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usage {
    /// Resident memory.
    pub resident_bytes: u64,
    /// File descriptors.
    pub open_files: u64,
    /// Threads.
    pub threads: u64,
    /// Processor time of all its threads since it started.
    pub cpu_seconds: f64,
}

impl FromStr for ProcessArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, id) = text.split_once('=').ok_or("not of the form NAME=PID")?;
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(format!("the name {name:?} is not made of letters, digits, - and _"));
        }
        let id = id.parse().map_err(|_| format!("{id:?} is not the id of a process"))?;
        Ok(Self { name: name.to_owned(), id })
    }
}

impl Process {
    /// Finds the process.
    ///
    /// # Errors
    /// If it does not run, or belongs to another user, whose files cannot be counted.
    pub fn open(process: &ProcessArg) -> Result<Self> {
        let ProcessArg { name, id } = process;
        let fail = || format!("cannot watch {name}, process {id}: does it run, and as the same user?");
        let folder = PathBuf::from(format!("/proc/{id}"));
        let text = fs::read_to_string(folder.join("stat")).with_context(fail)?;
        let stat = Stat::from_text(&text).with_context(fail)?;
        let process = Self { name: name.clone(), folder, started: stat.started };
        process.read().with_context(fail)?;
        Ok(process)
    }

    /// What it uses now; none if it has ended.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.read().ok()
    }

    fn read(&self) -> Result<Usage> {
        let stat = fs::read_to_string(self.folder.join("stat"))?;
        let stat =
            Stat::from_text(&stat).filter(|stat| stat.started == self.started).context("it has ended")?;
        let status = fs::read_to_string(self.folder.join("status"))?;
        Ok(Usage {
            resident_bytes: kilobytes(&status, "VmRSS:").context("it has ended")? * 1024,
            open_files: fs::read_dir(self.folder.join("fd"))?.count() as u64,
            threads: stat.threads,
            cpu_seconds: stat.cpu_seconds,
        })
    }
}

/// A field of `/proc/PID/status` in kilobytes.
pub(super) fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The fields of `/proc/PID/stat` that are needed: proc(5).
struct Stat {
    cpu_seconds: f64,
    threads: u64,
    started: u64,
}

impl Stat {
    fn from_text(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may have spaces and parentheses of its own.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        // proc(5) counts from 1; the first after the name is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let (user, system) = (field(14)?, field(15)?);
        let cpu_seconds = (user + system) as f64 / TICKS_PER_SECOND;
        Some(Self { cpu_seconds, threads: field(20)?, started: field(22)? })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn watched(id: u32) -> Result<Process> {
        Process::open(&ProcessArg { name: "it".to_owned(), id })
    }

    #[test]
    fn a_process_is_named_by_the_user() {
        let process: ProcessArg = "envoy=17".parse().unwrap();
        assert_eq!((process.name.as_str(), process.id), ("envoy", 17));
        for text in ["17", "=17", "a,b=17", "envoy=", "envoy=-1", "envoy=all"] {
            text.parse::<ProcessArg>().unwrap_err();
        }
    }

    #[test]
    fn this_process_uses_memory_threads_and_time() {
        let this = watched(std::process::id()).unwrap();
        let before = this.usage().unwrap();
        // The system counts pages when they are touched.
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = this.usage().unwrap();
        assert!(after.resident_bytes >= 64 << 20, "{after:?}");
        assert!(before.threads >= 1 && before.open_files >= 3, "{before:?}");
        assert!(after.cpu_seconds >= before.cpu_seconds, "{before:?} {after:?}");
        drop(touched);
    }

    /// A `cat` that a shell has started, and that has echoed a byte: by then it has closed the files that it
    /// was loaded from.
    fn cat(script: &str) -> Child {
        let mut command = Command::new("sh");
        let mut cat =
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        cat.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        cat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        cat
    }

    #[test]
    fn another_process_is_counted_until_it_ends() {
        let [mut plain, mut with_file] = ["exec cat", "exec cat 9</dev/null"].map(cat);
        let [process, other] = [&plain, &with_file].map(|cat| watched(cat.id()).unwrap());
        let [usage, other_usage] = [&process, &other].map(|process| process.usage().unwrap());
        assert_eq!((usage.threads, other_usage.open_files), (1, usage.open_files + 1));
        for cat in [&mut plain, &mut with_file] {
            drop(cat.stdin.take());
            cat.wait().unwrap();
        }
        assert_eq!((process.usage(), other.usage()), (None, None));
        assert!(format!("{:#}", watched(plain.id()).unwrap_err()).contains("cannot watch it"));
    }

    #[test]
    fn a_program_may_have_any_name() {
        let stat = Stat::from_text("7 (a) b) (c) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 99 0 0").unwrap();
        assert_eq!((stat.cpu_seconds, stat.threads, stat.started), (2.0, 3, 99));
    }
}
