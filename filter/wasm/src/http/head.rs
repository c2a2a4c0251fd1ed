//! A request's headers: held until its body says where it goes.

use llm_router_routing::admission::{Admission, admit};
use llm_router_routing::headers;
use llm_router_routing::model_list;
use llm_router_routing::rejection::Rejection;
use llm_router_routing::request::Endpoint;
use llm_router_routing::router::Client;

use super::{Http, Phase};
use crate::body::Body;
use crate::host::{self, RequestHeaders};

/// What is kept of the request's headers.
pub(crate) struct Head {
    pub(crate) endpoint: Endpoint,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(super) has_content_length: bool,
    pub(super) body: Body,
}

impl Http {
    /// Takes the router's headers from the client's, and reads those that matter.
    pub(super) fn read_headers(&self, end_of_stream: bool) -> Result<Phase, Rejection> {
        let headers = RequestHeaders.get_all();
        for (name, _) in
            headers.iter().filter(|(name, _)| headers::is_own(name, &self.shared.config.cluster_header))
        {
            RequestHeaders.remove(name);
        }
        let client = Client { path: "", headers: &headers };
        let endpoint = match admit(&self.shared.config, &client, !end_of_stream)? {
            Admission::Prompt(endpoint) => endpoint,
            Admission::Untouched => return Ok(Phase::Untouched),
            Admission::ModelList => {
                let json = [("content-type", "application/json")].to_vec();
                host::respond(200, json, &model_list::to_json(&self.shared.config));
                return Ok(Phase::Refused);
            }
        };
        let content_length = client.header("content-length");
        let announced = content_length.and_then(|length| length.parse().ok());
        Ok(Phase::Reading(Head {
            endpoint,
            path: client.header(":path").unwrap_or_default().to_owned(),
            has_content_length: content_length.is_some(),
            body: Body::new(self.shared.room, announced),
            headers,
        }))
    }
}
