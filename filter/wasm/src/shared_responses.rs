//! The models that made responses, in memory that Envoy's workers share, because a client's next request may
//! arrive at another worker.

use llm_router_routing::cache::SharedResponses;
use llm_router_routing::digest::Digest;

use crate::host;

/// Envoy keeps shared data until it ends, so responses share a bounded number of slots: a new one replaces an old one.
/// With 60 bytes each, all slots together take 4 MB.
const PLACES: u64 = 1 << 16;

/// Envoy's shared data, by the slot of a digest.
#[derive(Debug)]
pub(crate) struct HostResponses;

impl SharedResponses for HostResponses {
    fn get(&self, response: Digest) -> Option<String> {
        let entry = host::shared_data(&key(response))?;
        let model = entry.strip_prefix(&response.bytes())?;
        String::from_utf8(model.to_vec()).ok()
    }

    fn put(&self, response: Digest, model: &str) {
        let entry = [&response.bytes(), model.as_bytes()].concat();
        host::set_shared_data(&key(response), &entry);
    }
}

fn key(response: Digest) -> String {
    format!("llm_router.response.{}", response.number() % PLACES)
}
