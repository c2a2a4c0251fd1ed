//! What only the Wasm filter can do, and the bootstraps that we ship for it.

mod client_limits;
mod discovery;
mod dynamic;
mod held_headers;
mod install;
mod providers;
mod replicas;
