//! A request tried out: where it would go, with nothing sent and nothing remembered.

use llm_router_routing::admission::check_size;
use llm_router_routing::decision::Decision;
use llm_router_routing::rejection::Rejection;
use llm_router_routing::request::{Endpoint, Request};
use llm_router_routing::router::{Answer, Client, Plan, Router};

use super::{PolicyRouter, Service, request};

impl Service {
    /// What would be decided for a chat completion with these headers; none if it would go on as it came. The cache
    /// and the conversation's model are left out, so the classifier is asked if the policy needs it.
    ///
    /// # Errors
    /// What the client would be answered.
    pub(crate) async fn try_out(
        &self,
        router: &PolicyRouter,
        headers: &[(String, Vec<u8>)],
        body: &[u8],
    ) -> Result<Option<Decision>, Rejection> {
        let config = router.config();
        check_size(body.len(), config.limits.max_body)?;
        let request = Request::parse(Endpoint::ChatCompletions, body)?;
        let client = Client { path: "/v1/chat/completions", headers };
        // One that remembers nothing.
        let router = Router::new(config.clone());
        match router.plan(&request, &client)? {
            Plan::Passthrough => Ok(None),
            Plan::Route(decision) => Ok(Some(decision)),
            Plan::Classify(pending) => {
                let scores = self.ask(&pending, config.sidecar.timeout).await;
                let said = scores.as_ref().and_then(request::classification);
                router.decide(&pending, said.map_or(Answer::None, Answer::Fresh)).map(Some)
            }
        }
    }
}
