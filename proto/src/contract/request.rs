//! The request of the filter to the sidecar.

use std::collections::BTreeMap;
use std::sync::Arc;

use llm_router_routing::classification::Label;
use llm_router_routing::config::Examples;
use prost::Message;

use super::{CONTRACT_VERSION, IncompatibleVersion, NAMESPACE, VERSION, Version};
use crate::envoy::config::core::v3::Metadata;
use crate::envoy::service::ext_proc::v3::{HttpBody, ProcessingRequest, processing_request::Request};
use crate::structs::{fields, into_list, into_string, into_struct, list, structure};
use crate::{Bytes, Kind, Struct, Value};

/// The field of the requested classifiers: a list of names.
const CLASSIFIERS: &str = "classifiers";
/// The field of the policy's name: a string.
const POLICY: &str = "policy";
/// The field of the few-shot examples: a structure of [`DIGEST`] and perhaps [`ROUTES`].
const EXAMPLES: &str = "examples";
/// The field of the examples' digest.
const DIGEST: &str = "digest";
/// The field of the examples themselves: a structure of lists of texts, by label.
const ROUTES: &str = "routes";
/// The field that says that the other predictions do not wait for the examples': true or absent.
const OPTIONAL: &str = "optional";

/// The maximum number of classifiers in a request.
const MAX_CLASSIFIERS: usize = 64;
/// The maximum length of a classifier's name, of a policy's name and of a digest, in bytes.
const MAX_NAME: usize = 128;

/// A request to classify one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifyRequest {
    /// The contract's version that the sender speaks.
    pub version: Version,
    /// The requested classifiers.
    pub classifiers: Classifiers,
    /// The name of the policy that the prediction is for, if there is one. Since version 1.3.
    pub policy: Option<String>,
    /// The few-shot examples of a policy that classifies by them.
    pub examples: Option<RequestedExamples>,
    /// The prompt. From our filter it is a chat completions body with up to three user messages, as
    /// [`Prompt::to_body`](llm_router_routing::request::Prompt::to_body) writes it: the last is to be classified, those before
    /// it are its context. From native Envoy it is the client's body.
    pub body: Bytes,
}

/// The classifiers that a request selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Classifiers {
    /// Every head of the model: the request names none, as native Envoy does.
    #[default]
    All,
    /// These, by name.
    Named(Vec<String>),
}

/// The few-shot examples of a request, and whether its response needs them.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestedExamples {
    /// The examples.
    pub examples: FewShotExamples,
    /// Whether the other classifiers' predictions are wanted even if the examples are not embedded yet. Since version 1.3.
    pub are_optional: bool,
}

impl From<FewShotExamples> for RequestedExamples {
    /// Examples that the response needs.
    fn from(examples: FewShotExamples) -> Self {
        Self { examples, are_optional: false }
    }
}

/// The few-shot examples of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum FewShotExamples {
    /// Their digest: the sidecar knows them already, or responds with [`UNKNOWN_DIGEST`](super::UNKNOWN_DIGEST).
    Digest(String),
    /// All of them, with their digest.
    Full(Arc<Examples>),
}

impl FewShotExamples {
    /// The digest that identifies them.
    pub fn digest(&self) -> &str {
        match self {
            Self::Digest(digest) => digest,
            Self::Full(examples) => examples.digest(),
        }
    }
}

/// Why a message is not a [`ClassifyRequest`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The message has no request body.
    #[error("the processing request has no request body")]
    NoBody,
    /// The filter speaks another major version.
    #[error(transparent)]
    Version(#[from] IncompatibleVersion),
    /// A field of the metadata is missing, malformed, or too large.
    #[error("the metadata {NAMESPACE}.{field} {problem}")]
    Field {
        /// The field's path.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl RequestError {
    fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }
}

impl ClassifyRequest {
    /// The request as a message.
    pub fn encode(self) -> ProcessingRequest {
        let metadata = metadata(self.version, self.classifiers, self.policy, self.examples);
        ProcessingRequest { metadata_context: Some(metadata), ..request_body(self.body) }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// The message has no request body, or other metadata than the contract's.
    pub fn decode(message: ProcessingRequest) -> Result<Self, RequestError> {
        let Some(Request::RequestBody(body)) = message.request else { return Err(RequestError::NoBody) };
        Self::from_parts(message.metadata_context, body.body)
    }

    /// Reads a message whose body has been taken out already.
    ///
    /// # Errors
    /// The metadata is not the contract's.
    pub fn from_parts(metadata: Option<Metadata>, body: Bytes) -> Result<Self, RequestError> {
        let ours = metadata.and_then(|mut metadata| metadata.filter_metadata.remove(NAMESPACE));
        let Some(Struct { fields: mut ours }) = ours else {
            let version = Version::UNVERSIONED;
            return Ok(Self { version, classifiers: Classifiers::All, policy: None, examples: None, body });
        };
        // Checked first, because the other fields may have another meaning in another major version.
        let version = Version::from_field(ours.get(VERSION))
            .ok_or_else(|| RequestError::field(VERSION, "is not MAJOR.MINOR"))?;
        IncompatibleVersion::check(version, CONTRACT_VERSION)?;
        let classifiers = ours.remove(CLASSIFIERS).map_or(Ok(Classifiers::All), read_classifiers)?;
        let policy = ours.remove(POLICY).map(read_policy).transpose()?;
        let examples = ours.remove(EXAMPLES).map(read_examples).transpose()?;
        Ok(Self { version, classifiers, policy, examples, body })
    }
}

/// A request without its prompt, encoded once for many prompts.
#[derive(Clone, Debug)]
pub struct RequestTemplate(Vec<u8>);

impl RequestTemplate {
    /// Encodes everything but the prompt.
    pub fn new(
        classifiers: Classifiers,
        policy: Option<String>,
        examples: Option<RequestedExamples>,
    ) -> Self {
        let metadata_context = Some(metadata(CONTRACT_VERSION, classifiers, policy, examples));
        Self(ProcessingRequest { metadata_context, ..ProcessingRequest::default() }.encode_to_vec())
    }

    /// The bytes of the request about this prompt. Protocol Buffers allow encoding the fields of a message separately and
    /// concatenating them.
    pub fn encode(&self, body: Bytes) -> Vec<u8> {
        let rest = request_body(body);
        let mut message = Vec::with_capacity(self.0.len() + rest.encoded_len());
        message.extend_from_slice(&self.0);
        // Encoding fails only if the buffer cannot grow, and a vector can.
        let _ = rest.encode(&mut message);
        message
    }
}

fn request_body(body: Bytes) -> ProcessingRequest {
    let request = Some(Request::RequestBody(HttpBody { body, end_of_stream: true }));
    ProcessingRequest { request, ..ProcessingRequest::default() }
}

fn metadata(
    version: Version,
    classifiers: Classifiers,
    policy: Option<String>,
    examples: Option<RequestedExamples>,
) -> Metadata {
    let classifiers = match classifiers {
        Classifiers::All => None,
        Classifiers::Named(names) => Some((CLASSIFIERS, list(names))),
    };
    let examples = examples.map(|examples| (EXAMPLES, write_examples(&examples)));
    let version = version.to_field().map(|value| (VERSION, value));
    // Only captures need it, so a request with a longer name is classified all the same.
    let policy = policy.filter(|name| name.len() <= MAX_NAME).map(|name| (POLICY, name.into()));
    let ours = fields([version, classifiers, policy, examples].into_iter().flatten());
    Metadata { filter_metadata: [(NAMESPACE.to_owned(), ours)].into() }
}

fn write_examples(RequestedExamples { examples, are_optional }: &RequestedExamples) -> Value {
    let digest = Some((DIGEST, examples.digest().into()));
    let routes = match examples {
        FewShotExamples::Digest(_) => None,
        FewShotExamples::Full(examples) => {
            let routes = examples.routes().iter();
            let routes =
                routes.map(|(label, texts)| (label.as_str(), list(texts.iter().map(String::as_str))));
            Some((ROUTES, structure(routes)))
        }
    };
    let optional = are_optional.then(|| (OPTIONAL, true.into()));
    structure([digest, routes, optional].into_iter().flatten())
}

fn read_classifiers(value: Value) -> Result<Classifiers, RequestError> {
    let wrong = |problem: String| RequestError::field(CLASSIFIERS, problem);
    let names = strings(value).ok_or_else(|| wrong("is not a list of strings".to_owned()))?;
    if names.len() > MAX_CLASSIFIERS {
        return Err(wrong(format!("has {} names; the maximum is {MAX_CLASSIFIERS}", names.len())));
    }
    if names.iter().any(|name| name.len() > MAX_NAME) {
        return Err(wrong(format!("has a name of more than {MAX_NAME} bytes")));
    }
    Ok(Classifiers::Named(names))
}

fn read_policy(value: Value) -> Result<String, RequestError> {
    let name = into_string(value).filter(|name| name.len() <= MAX_NAME);
    name.ok_or_else(|| RequestError::field(POLICY, format!("is not a string of at most {MAX_NAME} bytes")))
}

fn read_examples(value: Value) -> Result<RequestedExamples, RequestError> {
    let mut fields =
        into_struct(value).ok_or_else(|| RequestError::field(EXAMPLES, "is not a structure"))?.fields;
    let field = format!("{EXAMPLES}.{DIGEST}");
    let digest = fields.remove(DIGEST).and_then(into_string);
    let digest = digest.filter(|digest| !digest.is_empty() && digest.len() <= MAX_NAME).ok_or_else(|| {
        RequestError::field(&field, format!("is missing, or not a string of 1 to {MAX_NAME} bytes"))
    })?;
    let are_optional = fields.remove(OPTIONAL).is_some_and(|value| value.kind == Some(Kind::BoolValue(true)));
    let Some(routes) = fields.remove(ROUTES) else {
        return Ok(RequestedExamples { examples: FewShotExamples::Digest(digest), are_optional });
    };
    let examples = Examples::new(read_routes(routes)?);
    if examples.digest() != digest {
        return Err(RequestError::field(field, "is not the digest of the routes"));
    }
    Ok(RequestedExamples { examples: FewShotExamples::Full(Arc::new(examples)), are_optional })
}

fn read_routes(value: Value) -> Result<BTreeMap<String, Vec<String>>, RequestError> {
    let wrong = |problem: String| RequestError::field(format!("{EXAMPLES}.{ROUTES}"), problem);
    let labels = into_struct(value).ok_or_else(|| wrong("is not a structure".to_owned()))?.fields;
    let mut routes = BTreeMap::new();
    let mut count = 0;
    for (label, texts) in labels {
        Label::new(label.as_str(), 1.0)
            .map_err(|error| wrong(format!("has a label that is invalid: {error}")))?;
        let texts =
            strings(texts).ok_or_else(|| wrong("has a label without a list of strings".to_owned()))?;
        if texts.is_empty() {
            return Err(wrong(format!("has no examples of {label:?}")));
        }
        count += texts.len();
        if count > Examples::MAX {
            return Err(wrong(format!("has more than {} examples", Examples::MAX)));
        }
        if texts.iter().any(|text| text.len() > Examples::MAX_LENGTH) {
            return Err(wrong(format!("has an example of more than {} bytes", Examples::MAX_LENGTH)));
        }
        routes.insert(label, texts);
    }
    if routes.is_empty() {
        return Err(wrong("has no examples".to_owned()));
    }
    Ok(routes)
}

fn strings(value: Value) -> Option<Vec<String>> {
    into_list(value)?.into_iter().map(into_string).collect()
}
