//! One mock LLM for each LLM cluster of the bootstraps.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use llm_router_test_support::mock_llm::{self, RequestLog};

use crate::bootstrap::Bootstrap;
use crate::serve;
use crate::tls::Authority;

const CLUSTERS: [&str; 3] = ["llama-8b", "llama-70b", "nemotron"];

/// The mock LLMs, which all tests share.
pub static MOCK_LLMS: LazyLock<MockLlms> =
    LazyLock::new(|| MockLlms { addresses: CLUSTERS.map(|name| (name, serve_plain(name))) });

/// The requests that all mock LLMs of this process received and that a test tracks.
pub static REQUEST_LOG: LazyLock<Arc<RequestLog>> = LazyLock::new(Arc::default);

/// Mock LLMs for all LLM clusters.
#[derive(Debug)]
pub struct MockLlms {
    addresses: [(&'static str, SocketAddr); 3],
}

impl MockLlms {
    /// Points the bootstrap's LLM clusters at the mock LLMs.
    #[must_use]
    pub fn behind(&self, bootstrap: Bootstrap) -> Bootstrap {
        self.addresses.iter().fold(bootstrap, |it, (name, address)| it.cluster(name, *address))
    }

    /// The address of a cluster's mock LLM.
    #[must_use]
    pub fn address(&self, cluster: &str) -> SocketAddr {
        let found = self.addresses.iter().find(|(name, _)| *name == cluster);
        found.unwrap_or_else(|| panic!("there is no cluster {cluster}")).1
    }
}

/// Starts one more mock LLM.
#[must_use]
pub fn serve_plain(cluster: &'static str) -> SocketAddr {
    serve(|listener| mock_llm::serve(listener, cluster.to_owned(), Arc::clone(&REQUEST_LOG)))
}

/// Starts one more mock LLM, with TLS and a certificate for `host`.
#[must_use]
pub fn serve_tls(cluster: &'static str, host: &'static str, authority: &'static Authority) -> SocketAddr {
    let log = Arc::clone(&REQUEST_LOG);
    serve(move |listener| mock_llm::serve(authority.serve_as(host, listener), cluster.to_owned(), log))
}
