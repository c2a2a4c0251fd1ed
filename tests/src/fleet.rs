//! One stand-in for each LLM cluster of the bootstraps.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use crate::bootstrap::Bootstrap;
use crate::serve;
use crate::stand_in::{self, Gate, Hooks, Received};

const CLUSTERS: [&str; 3] = ["llama-8b", "llama-70b", "nemotron"];

/// The stand-ins, which all tests share.
pub static FLEET: LazyLock<Fleet> = LazyLock::new(Fleet::start);

/// Stand-ins for all LLM clusters.
#[derive(Debug)]
pub struct Fleet {
    addresses: [(&'static str, SocketAddr); 3],
    hooks: Arc<Hooks>,
}

impl Fleet {
    fn start() -> Self {
        let hooks = Arc::new(Hooks::default());
        let start = |name: &'static str| {
            let hooks = Arc::clone(&hooks);
            (name, serve(move |listener| stand_in::serve(listener, name.to_owned(), hooks)))
        };
        Self { addresses: CLUSTERS.map(start), hooks }
    }

    /// Points the bootstrap's LLM clusters at the stand-ins.
    #[must_use]
    pub fn behind(&self, bootstrap: Bootstrap) -> Bootstrap {
        self.addresses.iter().fold(bootstrap, |it, (name, address)| it.cluster(name, *address))
    }

    /// The address of a cluster's stand-in.
    #[must_use]
    pub fn address(&self, cluster: &str) -> SocketAddr {
        let found = self.addresses.iter().find(|(name, _)| *name == cluster);
        found.unwrap_or_else(|| panic!("there is no cluster {cluster}")).1
    }

    /// The request with this test id as an LLM got it, if one did.
    #[must_use]
    pub fn received(&self, id: &str) -> Option<Received> {
        self.hooks.received.find(id)
    }

    /// The request with this test id, each time that an LLM got it.
    #[must_use]
    pub fn attempts(&self, id: &str) -> Vec<Received> {
        self.hooks.received.attempts(id)
    }

    /// Holds back the stream that answers the request with this test id.
    #[must_use]
    pub fn hold(&self, id: &str) -> Gate {
        self.hooks.gates.hold(id)
    }
}
