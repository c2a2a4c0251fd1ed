//! Converts the configuration of NVIDIA's LLM Router blueprint v1 to a routing policy and Envoy clusters.
//!
//! The blueprint's classifier returns a number for each of its labels, and the controller calls the LLM at the position
//! of the highest one. The n-th LLM of a policy serves the n-th label, whatever the LLM is called: its `name` matters to
//! manual routing only. The import keeps both rules.

mod blueprint;
mod chart;
mod classes;
mod find;
mod import;
mod llms;
mod models;
mod notes;
mod policy;
mod secrets;
mod server;

pub(crate) use import::import;

/// A name in quotes, as notes and errors show it.
fn quoted(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    names.into_iter().map(|name| format!("{:?}", name.as_ref())).collect::<Vec<_>>().join(", ")
}
