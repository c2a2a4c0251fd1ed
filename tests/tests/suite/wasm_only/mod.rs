//! What only the Wasm filter can do, and the bootstraps that we ship for it.

mod held_headers;
mod install;
