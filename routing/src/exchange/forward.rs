//! Rewrites a client's request for the chosen model.

use super::effects::Forward;
use super::event::{Event, EventSink};
use crate::config::Config;
use crate::decision::Decision;
use crate::failover::Failover;
use crate::request::{RequestHead, Target};
use crate::rewrite::{MAX_SAVED, Rewrite, Rewritten, TooLarge};
use crate::router::Step;

/// The changes that send a request to the decision's model. `body` is the one that `rewrite` was found in; it is requested
/// only if the model edits it. If the request cannot go to another model, the decision loses its fallback models.
pub(super) fn forward<B: AsRef<[u8]>>(
    config: &Config,
    target: &Target,
    head: &RequestHead,
    decision: &mut Decision,
    rewrite: &Rewrite,
    body: impl FnOnce() -> B,
    events: &mut impl EventSink,
) -> Forward {
    let model = &decision.model;
    let edited = (!model.body.is_empty()).then(body);
    let text = edited.as_ref().map(AsRef::as_ref).unwrap_or_default();
    let body = rewrite.for_model(&model.upstream, &model.body, text);
    let mut headers = vec![(config.cluster_header.clone(), model.cluster.clone())];
    headers.extend(config.model_header.clone().map(|name| (name, model.upstream.clone())));
    headers.extend(content_length(head, &body));
    let base_path = model.base_path.as_deref();
    if !head.header(":path").is_some_and(|path| target.is_path_at(path, base_path)) {
        headers.push((":path".to_owned(), target.path_at(base_path)));
    }
    if let Some(host) = &model.host {
        headers.push((":authority".to_owned(), host.clone()));
    }
    let host = head.header(":authority").unwrap_or_default();
    let failover = match Failover::new(config, decision, target, host, text) {
        Ok(failover) => failover,
        Err(TooLarge) => {
            events.record(Event::Step(Step::NoFailover { model, max_bytes: MAX_SAVED }));
            decision.next.clear();
            None
        }
    };
    Forward { headers, body, failover }
}

/// The changes that take routing metadata out of a request that is not routed; none if it has none.
pub(super) fn without_unwanted(head: &RequestHead, rewrite: &Rewrite) -> Option<Forward> {
    let body = rewrite.without_unwanted()?;
    Some(Forward { headers: content_length(head, &body).into_iter().collect(), body, failover: None })
}

/// The header that fits the new body, where the client announced the old one's length.
fn content_length(head: &RequestHead, body: &Rewritten) -> Option<(String, String)> {
    head.headers().get("content-length").map(|_| ("content-length".to_owned(), body.len().to_string()))
}
