//! Routing policies from the user's view: the schema, the reference, the examples, `check` and
//! `import-nvidia`.
// Clippy exempts only test functions themselves, not the functions that they call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod check;
mod docs;
mod explain;
mod import_nvidia;
mod reference;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// The policy tool, run in the repository to its end.
fn llm_router(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router"));
    command.env_remove("RUST_BACKTRACE").current_dir(repository("")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
