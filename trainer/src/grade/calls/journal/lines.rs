//! Appends whole lines to a file.

use std::fs::File;
use std::io::{Result, Write};

/// A file of lines, open for appending.
#[derive(Debug)]
pub(super) struct Lines {
    file: File,
    /// The length of its whole lines, in bytes.
    length: u64,
}

impl Lines {
    /// A file with whole lines of this length in bytes.
    pub(super) fn new(file: File, length: u64) -> Self {
        Self { file, length }
    }

    /// Appends a line, with its line end.
    ///
    /// # Errors
    /// If it cannot be written. What is written of it is removed before the next line, which would continue it otherwise.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<()> {
        if self.file.metadata()?.len() > self.length {
            self.file.set_len(self.length)?;
        }
        self.file.write_all(line)?;
        self.length += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_line_that_was_written_in_part_is_removed_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&path).unwrap();
        let mut lines = Lines::new(file, 0);
        lines.append(b"one\n").unwrap();
        // As when the disk is full.
        options.open(&path).unwrap().write_all(b"tw").unwrap();
        lines.append(b"three\n").unwrap();
        lines.append(b"four\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\nthree\nfour\n");
    }
}
