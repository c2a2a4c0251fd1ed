//! The sidecar's binary, for commands that end.

use std::process::{Output, Stdio};

use llm_router_test_support::time::{TIMEOUT, within};
use tokio::process::Command;

/// The sidecar's binary. What it starts is killed on drop.
pub(crate) fn sidecar_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router-sidecar"));
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// What a command writes until it ends.
pub(crate) async fn output(command: &mut Command) -> Output {
    within(TIMEOUT, command.output()).await.unwrap()
}
