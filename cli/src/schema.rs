//! `schema`: prints the JSON schema of the policy.

use anyhow::Result;
use llm_router_routing::config::Config;

/// For editors and validators; `docs/policy.schema.json` is its output.
///
/// # Errors
/// Never: the schema is of our own types.
pub(crate) fn run() -> Result<()> {
    println!("{}", serde_json::to_string_pretty(&Config::json_schema())?);
    Ok(())
}
