//! What only the dynamic module can do, or must not do to Envoy.

mod calls;
mod loading;
mod panics;
mod remote;
mod versions;
mod workers;
