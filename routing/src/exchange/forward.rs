//! Makes of a client's request the one that the chosen model gets.

use super::effects::Forward;
use crate::config::Config;
use crate::decision::Decision;
use crate::failover::Failover;
use crate::request::{Endpoint, RequestHead};
use crate::rewrite::Rewrite;

/// The changes that send a request to the decision's model. `body` is the one that `rewrite` was found in.
pub(super) fn forward(
    config: &Config,
    endpoint: Endpoint,
    head: &RequestHead,
    decision: &Decision,
    rewrite: &Rewrite,
    body: &[u8],
) -> Forward {
    let model = &decision.model;
    let body = rewrite.apply(body, &model.upstream);
    let mut headers = vec![(config.cluster_header.clone(), model.cluster.clone())];
    if head.headers().get("content-length").is_some() {
        headers.push(("content-length".to_owned(), body.len().to_string()));
    }
    if let Some(path) = model.path(endpoint, head.path()) {
        headers.push((":path".to_owned(), path));
    }
    if let Some(host) = &model.host {
        headers.push((":authority".to_owned(), host.clone()));
    }
    let host = head.header(":authority").unwrap_or_default();
    let failover = Failover::new(config, decision, endpoint, head.path(), host);
    Forward { headers, body, failover }
}
