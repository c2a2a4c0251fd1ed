//! The request to the sidecar: external processing with one message in each direction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use llm_router_proto::contract::{Classifiers, FewShotExamples, RequestTemplate, RequestedExamples};
use llm_router_routing::config::Classifier;
use llm_router_routing::exchange::{ExamplesPayload, Query};

/// The maximum number of combinations that are kept. A configuration has fewer.
const MAX_TEMPLATES: usize = 256;

/// Encodes requests to classify prompts. For each combination of classifiers, it keeps the part that is the same for every
/// prompt.
#[derive(Debug, Default)]
pub struct RequestEncoder {
    templates: Mutex<HashMap<String, Arc<RequestTemplate>>>,
}

impl RequestEncoder {
    /// The message that asks the sidecar to classify the query's prompt.
    pub fn encode(&self, query: &Query<'_>) -> Vec<u8> {
        let prompt = query.prompt.to_body().into();
        match query.payload {
            ExamplesPayload::Digest => self.template(query).encode(prompt),
            // Rare and large, so it is not kept.
            ExamplesPayload::Full => template_for(query).encode(prompt),
        }
    }

    fn template(&self, query: &Query<'_>) -> Arc<RequestTemplate> {
        let key = key(query);
        // A panic in another thread cannot leave the map inconsistent.
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = templates.get(&key) {
            return Arc::clone(template);
        }
        let template = Arc::new(template_for(query));
        if templates.len() < MAX_TEMPLATES {
            templates.insert(key, Arc::clone(&template));
        }
        template
    }
}

/// Identifies a query's template. A configuration has few combinations of policy and classifiers.
fn key(query: &Query<'_>) -> String {
    let names = query.classifiers.iter().map(Classifier::as_str);
    let policy = query.policy.map_or("", |policy| policy.as_str());
    let optional = if query.examples_are_optional { "optional" } else { "" };
    [policy, optional]
        .into_iter()
        .chain(names)
        .chain(query.examples().map(|examples| examples.digest()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The request to the classifiers, without its prompt.
fn template_for(query: &Query<'_>) -> RequestTemplate {
    let examples = query.examples().map(|examples| RequestedExamples {
        examples: match query.payload {
            ExamplesPayload::Digest => FewShotExamples::Digest(examples.digest().to_owned()),
            ExamplesPayload::Full => FewShotExamples::Full(Arc::clone(examples)),
        },
        are_optional: query.examples_are_optional,
    });
    let names = query.classifiers.iter().map(|classifier| classifier.as_str().to_owned());
    let policy = query.policy.map(ToString::to_string);
    RequestTemplate::new(Classifiers::Named(names.collect()), policy, examples)
}

#[cfg(test)]
mod tests {
    use llm_router_proto::contract::{CONTRACT_VERSION, ClassifyRequest};
    use llm_router_proto::envoy::service::ext_proc::v3::ProcessingRequest;
    use std::time::Duration;

    use llm_router_routing::config::Config;
    use llm_router_routing::request::{Prompt, RequestHead};
    use prost::Message;

    use super::*;

    fn config() -> Config {
        let config = serde_json::json!({
            "sidecar": {"cluster": "c"}, "default_policy": "support", "models": {"m": {"cluster": "c", "model": "m"}},
            "policies": {
                "support": {
                    "classifier": "examples", "default": "m",
                    "routes": {"billing": {"model": "m", "examples": ["refund please"]}},
                },
                "tasks": {"classifier": "task", "routes": {}, "default": "m"},
            },
        });
        Config::from_json(config.to_string().as_bytes()).unwrap()
    }

    fn sent(
        encoder: &RequestEncoder,
        classifiers: &[Classifier],
        payload: ExamplesPayload,
    ) -> ClassifyRequest {
        sent_with(encoder, classifiers, payload, false)
    }

    fn sent_with(
        encoder: &RequestEncoder,
        classifiers: &[Classifier],
        payload: ExamplesPayload,
        examples_are_optional: bool,
    ) -> ClassifyRequest {
        let (prompt, head) = (Prompt::default(), RequestHead::default());
        let policy = Some(&config().policy("support").unwrap().name).cloned();
        let policy = policy.as_ref();
        let query = Query {
            classifiers,
            policy,
            payload,
            examples_are_optional,
            prompt: &prompt,
            head: &head,
            timeout: Duration::ZERO,
        };
        ClassifyRequest::decode(ProcessingRequest::decode(encoder.encode(&query).as_slice()).unwrap())
            .unwrap()
    }

    #[test]
    fn examples_are_sent_only_when_they_are_asked_for() {
        let (encoder, config) = (RequestEncoder::default(), config());
        let classifiers = [Classifier::from("mood"), config.policy("support").unwrap().classifier.clone()];
        let examples = classifiers[1].examples().unwrap();
        let digest = ClassifyRequest {
            version: CONTRACT_VERSION,
            classifiers: Classifiers::Named(vec!["mood".to_owned(), "examples".to_owned()]),
            policy: Some("support".to_owned()),
            examples: Some(FewShotExamples::Digest(examples.digest().to_owned()).into()),
            body: Prompt::default().to_body().into(),
        };
        let full = ClassifyRequest {
            examples: Some(FewShotExamples::Full(examples.clone()).into()),
            ..digest.clone()
        };
        assert_eq!(sent(&encoder, &classifiers, ExamplesPayload::Digest), digest);
        assert_eq!(sent(&encoder, &classifiers, ExamplesPayload::Full), full);
        assert_eq!(sent(&encoder, &classifiers, ExamplesPayload::Digest), digest, "and in the next call");
    }

    #[test]
    fn optional_examples_have_a_template_of_their_own() {
        let (encoder, config) = (RequestEncoder::default(), config());
        let classifiers = [Classifier::from("mood"), config.policy("support").unwrap().classifier.clone()];
        for are_optional in [false, true, false] {
            let request = sent_with(&encoder, &classifiers, ExamplesPayload::Digest, are_optional);
            assert_eq!(request.examples.map(|examples| examples.are_optional), Some(are_optional));
        }
    }

    #[test]
    fn each_combination_of_classifiers_has_a_template() {
        let (encoder, config) = (RequestEncoder::default(), config());
        for policy in config.policies().chain(config.policies()) {
            let one = std::slice::from_ref(&policy.classifier);
            let request = sent(&encoder, one, ExamplesPayload::Digest);
            assert_eq!(request.classifiers, Classifiers::Named(vec![policy.classifier.to_string()]));
            assert_eq!(request.examples.is_some(), policy.name.as_str() == "support");
        }
    }
}
