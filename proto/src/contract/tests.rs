use llm_router_routing::config::Examples;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::envoy::config::core::v3::Metadata;
use crate::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse, processing_request};
use crate::structs::{fields, list, structure};
use crate::{Bytes, Kind, Struct, Value};

const NEXT_MAJOR: Version = Version { major: CONTRACT_VERSION.major + 1, minor: 0 };

fn request() -> ClassifyRequest {
    ClassifyRequest {
        version: CONTRACT_VERSION,
        classifiers: Classifiers::Named(vec!["task".to_owned()]),
        policy: Some("task_router".to_owned()),
        examples: None,
        body: Bytes::from_static(b"{}"),
    }
}

fn examples() -> Examples {
    Examples::new([("billing".to_owned(), vec!["refund please".to_owned()])].into())
}

/// The metadata of a request with these fields.
fn with_fields<K: Into<String>>(ours: impl IntoIterator<Item = (K, Value)>) -> Option<Metadata> {
    Some(Metadata { filter_metadata: [(NAMESPACE.to_owned(), fields(ours))].into() })
}

fn read<K: Into<String>>(
    ours: impl IntoIterator<Item = (K, Value)>,
) -> Result<ClassifyRequest, RequestError> {
    ClassifyRequest::from_parts(with_fields(ours), Bytes::new())
}

fn respond(ours: Vec<(&str, Value)>) -> Result<ClassifyResponse, ResponseError> {
    ClassifyResponse::from_metadata(fields([(NAMESPACE, structure(ours))]))
}

// The names and shapes on the wire: filters and sidecars of other versions rely on them.

#[test]
fn the_requests_wire_format_is_stable() {
    let full = ClassifyRequest {
        examples: Some(RequestedExamples {
            examples: FewShotExamples::Full(examples().into()),
            are_optional: true,
        }),
        ..request()
    };
    let expected = with_fields([
        ("contract_version", Value::from("1.3")),
        ("classifiers", list(["task"])),
        ("policy", Value::from("task_router")),
        (
            "examples",
            structure([
                ("digest", Value::from(examples().digest())),
                ("routes", structure([("billing", list(["refund please"]))])),
                ("optional", true.into()),
            ]),
        ),
    ]);
    assert_eq!(full.encode().metadata_context, expected);
}

#[test]
fn the_responses_wire_format_is_stable() {
    let score = HeadPrediction::Score { score: 0.5, dimensions: vec![("creativity".to_owned(), 0.25)] };
    let label = HeadPrediction::Label {
        label: "Chatbot".to_owned(),
        confidence: 0.75,
        scores: vec![("Chatbot".to_owned(), 0.75)],
    };
    let response = ClassifyResponse {
        version: CONTRACT_VERSION,
        predictions: vec![("complexity".to_owned(), score), ("task".to_owned(), label.clone())],
        coverage: Some(Coverage { tokens: 256, of: 789, estimated: true }),
    };
    let task = structure([
        ("label", Value::from("Chatbot")),
        ("confidence", 0.75.into()),
        ("scores", structure([("Chatbot", 0.75.into())])),
    ]);
    let complexity =
        structure([("score", Value::from(0.5)), ("scores", structure([("creativity", 0.25.into())]))]);
    let read = structure([("tokens", Value::from(256.0)), ("of", 789.0.into()), ("estimated", true.into())]);
    let ours = [
        ("contract_version", "1.3".into()),
        ("read", read),
        ("task", task.clone()),
        ("complexity", complexity),
    ];
    assert_eq!(response.into_metadata(), fields([("llm_router", structure(ours))]));

    let decision = decision_metadata([("model", "big".to_owned())], vec![("task".to_owned(), label)]);
    let ours = [("task", task), ("decision", structure([("model", "big".into())]))];
    assert_eq!(decision, fields([("llm_router", structure(ours))]));
}

#[test]
fn native_envoy_asks_every_classifier_and_sees_no_version() {
    let body = Bytes::from_static(b"{}");
    for metadata in [None, Some(Metadata::default())] {
        let request = ClassifyRequest::from_parts(metadata, body.clone()).unwrap();
        let version = Version::UNVERSIONED;
        assert_eq!(
            request,
            ClassifyRequest {
                version,
                classifiers: Classifiers::All,
                policy: None,
                examples: None,
                body: body.clone()
            }
        );
        let response =
            ClassifyResponse { version: version.to_respond(), predictions: Vec::new(), coverage: None };
        assert_eq!(response.into_metadata(), fields([("llm_router", structure::<String>([]))]));
    }
}

#[test]
fn a_request_of_version_1_0_is_read() {
    let request = read([("classifiers", list(["task"]))]).unwrap();
    assert_eq!(request.version, Version::UNVERSIONED);
    assert_eq!(request.classifiers, Classifiers::Named(vec!["task".to_owned()]));
}

#[test]
fn a_response_of_version_1_0_is_read() {
    let task = structure([("label", Value::from("Chatbot")), ("confidence", 0.75.into())]);
    let response = respond(vec![("task", task)]).unwrap();
    assert_eq!(response.version, Version::UNVERSIONED);
    let expected =
        HeadPrediction::Label { label: "Chatbot".to_owned(), confidence: 0.75, scores: Vec::new() };
    assert_eq!(response.prediction("task"), Some(&expected));
}

#[test]
fn another_major_version_is_rejected_by_both_sides_with_the_side_to_upgrade() {
    let newer = ClassifyRequest { version: NEXT_MAJOR, ..request() }.encode();
    let error = ClassifyRequest::decode(newer).unwrap_err();
    assert_eq!(
        error,
        RequestError::Version(IncompatibleVersion { filter: NEXT_MAJOR, sidecar: CONTRACT_VERSION })
    );
    let expected = format!(
        "the filter speaks version {NEXT_MAJOR} of the contract and the sidecar {CONTRACT_VERSION}: upgrade the sidecar"
    );
    assert_eq!(error.to_string(), expected);

    let error = respond(vec![("contract_version", "0.9".into())]).unwrap_err();
    let sidecar = Version { major: 0, minor: 9 };
    assert_eq!(error, ResponseError::Version(IncompatibleVersion { filter: CONTRACT_VERSION, sidecar }));
    assert!(error.to_string().ends_with("upgrade the sidecar"), "{error}");
    let error = respond(vec![("contract_version", NEXT_MAJOR.to_string().into())]).unwrap_err();
    assert!(error.to_string().ends_with("upgrade the filter"), "{error}");
}

#[test]
fn the_version_is_checked_before_fields_that_it_may_have_changed() {
    let newer = read::<&str>([
        ("contract_version", NEXT_MAJOR.to_string().into()),
        ("classifiers", "all of them".into()),
    ]);
    assert!(matches!(newer, Err(RequestError::Version(_))), "{newer:?}");
}

#[test]
fn a_malformed_version_is_an_error() {
    for version in ["", "1", "1.", ".1", "1.x", "-1.0", "1.0.0", "4294967296.0"].map(Value::from) {
        let request = read([("contract_version", version.clone())]);
        assert_eq!(
            request.unwrap_err().to_string(),
            "the metadata llm_router.contract_version is not MAJOR.MINOR"
        );
        let response = respond(vec![("contract_version", version)]);
        assert_eq!(response.unwrap_err(), ResponseError::InvalidVersion);
    }
    assert!(read([("contract_version", 1.1.into())]).is_err());
}

#[test]
fn a_malformed_or_oversized_field_is_named_with_what_is_wrong() {
    let classifiers = |value| read([("classifiers", value)]);
    let named = |names: &[&str]| classifiers(list(names.iter().copied()));
    let examples = |value| read([("examples", value)]);
    let routes = |value| examples(structure([("digest", "d".into()), ("routes", value)]));
    let billing = |value| routes(structure([("billing", value)]));
    let long = "x".repeat(1025);
    for (request, problem) in [
        (classifiers("task".into()), "classifiers is not a list of strings"),
        (classifiers(list([1.0])), "classifiers is not a list of strings"),
        (named(&["task"; 65]), "classifiers has 65 names; the maximum is 64"),
        (named(&[&long]), "classifiers has a name of more than 128 bytes"),
        (read([("policy", 1.0.into())]), "policy is not a string of at most 128 bytes"),
        (read([("policy", "x".repeat(129).into())]), "policy is not a string of at most 128 bytes"),
        (examples("d".into()), "examples is not a structure"),
        (examples(structure::<String>([])), "examples.digest is missing"),
        (examples(structure([("digest", "".into())])), "examples.digest is missing"),
        (examples(structure([("digest", long.as_str().into())])), "examples.digest is missing"),
        (routes(list(["refund"])), "examples.routes is not a structure"),
        (routes(structure::<String>([])), "examples.routes has no examples"),
        (routes(structure([("a\n", list(["refund"]))])), "examples.routes has a label that is invalid"),
        (billing("refund".into()), "examples.routes has a label without a list of strings"),
        (billing(list::<Value>([])), "examples.routes has no examples of \"billing\""),
        (billing(list(["x"; 1001])), "examples.routes has more than 1000 examples"),
        (billing(list([long.as_str()])), "examples.routes has an example of more than 1024 bytes"),
        (billing(list(["refund"])), "examples.digest is not the digest of the routes"),
    ] {
        let error = request.unwrap_err().to_string();
        assert!(error.starts_with(&format!("the metadata llm_router.{problem}")), "{error}");
    }
    assert!(named(&["task"; 64]).is_ok());
    let headers = processing_request::Request::RequestHeaders(Default::default());
    let message = ProcessingRequest { request: Some(headers), ..ProcessingRequest::default() };
    assert_eq!(ClassifyRequest::decode(message), Err(RequestError::NoBody));
}

#[test]
fn the_name_of_a_policy_is_sent_unless_it_is_too_long() {
    for (length, is_sent) in [(128, true), (129, false)] {
        let request = ClassifyRequest { policy: Some("x".repeat(length)), ..request() };
        let read = ClassifyRequest::decode(request.clone().encode()).unwrap();
        assert_eq!(read.policy, request.policy.filter(|_| is_sent));
    }
}

#[test]
fn a_prediction_becomes_a_classification_only_if_it_is_valid() {
    let label = |label: &str, confidence| HeadPrediction::Label {
        label: label.to_owned(),
        confidence,
        scores: Vec::new(),
    };
    assert!(label("Chatbot", 0.5).classification().is_ok());
    for invalid in [label("Chatbot", 7.0), label("Chatbot", f32::NAN), label("a\r\nx-evil: 1", 0.5)] {
        assert!(invalid.classification().is_err(), "{invalid:?}");
    }
    let score = |score| HeadPrediction::Score { score, dimensions: vec![("reasoning".to_owned(), 0.5)] };
    let classification = score(0.25).classification().unwrap();
    assert_eq!(classification.label().map(|it| it.name()), Some("reasoning"));
    assert!(score(-0.1).classification().is_err());
}

fn any_version() -> impl Strategy<Value = Version> {
    any::<u32>().prop_map(|minor| Version { minor, ..CONTRACT_VERSION })
}

fn any_examples() -> impl Strategy<Value = RequestedExamples> {
    // Labels as policies may have them.
    let routes = btree_map("[^\\p{Cc}]{1,20}", vec(any::<String>(), 1..4), 1..4);
    let full = routes.prop_map(|routes| FewShotExamples::Full(Examples::new(routes).into()));
    let examples = prop_oneof!["[0-9a-f]{64}".prop_map(FewShotExamples::Digest), full];
    (examples, any::<bool>())
        .prop_map(|(examples, are_optional)| RequestedExamples { examples, are_optional })
}

prop_compose! {
    fn any_request()(
        version in any_version(),
        classifiers in prop_oneof![
            Just(Classifiers::All),
            vec("[a-z0-9-]{0,16}", 0..4).prop_map(Classifiers::Named),
        ],
        policy in proptest::option::of(any::<String>()),
        examples in proptest::option::of(any_examples()),
        body in vec(any::<u8>(), 0..200),
    ) -> ClassifyRequest {
        ClassifyRequest { version, classifiers, policy, examples, body: body.into() }
    }
}

fn any_scores() -> impl Strategy<Value = Vec<(String, f32)>> {
    btree_map(any::<String>(), -1e6_f32..1e6, 0..5).prop_map(|scores| scores.into_iter().collect())
}

fn any_prediction() -> impl Strategy<Value = HeadPrediction> {
    let label = (any::<String>(), 0.0_f32..=1.0, any_scores())
        .prop_map(|(label, confidence, scores)| HeadPrediction::Label { label, confidence, scores });
    let score = (0.0_f32..=1.0, any_scores())
        .prop_map(|(score, dimensions)| HeadPrediction::Score { score, dimensions });
    prop_oneof![label, score]
}

prop_compose! {
    fn any_response()(
        version in any_version(),
        // No head may have the name of another field.
        predictions in btree_map("task|examples|[a-z0-9-]{5,12}", any_prediction(), 0..4),
        coverage in proptest::option::of((0..1_u64 << 53, 0..1_u64 << 53, any::<bool>())),
    ) -> ClassifyResponse {
        let coverage = coverage.map(|(tokens, of, estimated)| Coverage { tokens, of, estimated });
        ClassifyResponse { version, predictions: predictions.into_iter().collect(), coverage }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::default()),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_name().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(list),
            vec((any_name(), inner), 0..5).prop_map(structure),
        ]
    })
}

/// A field's name, often one that the contract knows.
fn any_name() -> impl Strategy<Value = String> {
    let known = "llm_router|contract_version|classifiers|policy|examples|digest|routes|read|tokens|of|estimated|label|\
                 confidence|score|scores|task|decision|1\\.1";
    prop_oneof![3 => known, 1 => ".*"]
}

/// Fields that no version has yet.
fn unknown_fields() -> impl Strategy<Value = Vec<(String, Value)>> {
    vec(("new_[a-z]{1,8}", any_value()), 0..4)
}

fn extend(structure: &mut Struct, more: Vec<(String, Value)>) {
    structure.fields.extend(more);
}

fn inner<'a>(structure: &'a mut Struct, field: &str) -> Option<&'a mut Struct> {
    match structure.fields.get_mut(field)?.kind.as_mut()? {
        Kind::StructValue(inner) => Some(inner),
        _ => None,
    }
}

/// Tag and content of a Protocol Buffers field that no message has, as bytes.
const UNKNOWN_FIELD: &[u8] = b"\xfa\x7f\x03new";

proptest! {
    #[test]
    fn a_request_survives_the_round_trip(request in any_request()) {
        let bytes = request.clone().encode().encode_to_vec();
        prop_assert_eq!(crate::limits::check(&bytes), Ok(()));
        let message = ProcessingRequest::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(ClassifyRequest::decode(message), Ok(request));
    }

    #[test]
    fn a_template_encodes_the_same_request(request in any_request()) {
        let request = ClassifyRequest { version: CONTRACT_VERSION, ..request };
        let template = RequestTemplate::new(
            request.classifiers.clone(),
            request.policy.clone(),
            request.examples.clone(),
        );
        let message = ProcessingRequest::decode(template.encode(request.body.clone()).as_slice()).unwrap();
        prop_assert_eq!(message, request.encode());
    }

    #[test]
    fn a_response_survives_the_round_trip(response in any_response()) {
        let dynamic_metadata = Some(response.clone().into_metadata());
        let bytes = ProcessingResponse { dynamic_metadata, ..ProcessingResponse::default() }.encode_to_vec();
        prop_assert_eq!(ClassifyResponse::decode(&bytes), Ok(response));
    }

    #[test]
    fn fields_of_a_later_minor_version_of_the_request_are_ignored(
        request in any_request(),
        more in unknown_fields(),
        of_examples in unknown_fields(),
    ) {
        let mut message = request.clone().encode();
        let metadata = message.metadata_context.as_mut().unwrap();
        metadata.filter_metadata.insert("other".to_owned(), fields(more.clone()));
        let ours = metadata.filter_metadata.get_mut(NAMESPACE).unwrap();
        extend(ours, more);
        if let Some(examples) = inner(ours, "examples") {
            extend(examples, of_examples);
        }
        let mut bytes = message.encode_to_vec();
        bytes.extend_from_slice(UNKNOWN_FIELD);
        let message = ProcessingRequest::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(ClassifyRequest::decode(message), Ok(request));
    }

    #[test]
    fn fields_of_a_later_minor_version_of_the_response_are_ignored(
        response in any_response(),
        more in unknown_fields(),
        of_heads in unknown_fields(),
    ) {
        let mut metadata = response.clone().into_metadata();
        extend(&mut metadata, more.clone());
        let ours = inner(&mut metadata, NAMESPACE).unwrap();
        for name in response.predictions.iter().map(|(name, _)| name.as_str()).chain(["read"]) {
            if let Some(head) = inner(ours, name) {
                extend(head, of_heads.clone());
            }
        }
        // A structure that looks like a prediction is one.
        let more = more.into_iter().filter(|(_, value)| !matches!(value.kind, Some(Kind::StructValue(_))));
        extend(ours, more.collect());
        let mut bytes =
            ProcessingResponse { dynamic_metadata: Some(metadata), ..ProcessingResponse::default() }.encode_to_vec();
        bytes.extend_from_slice(UNKNOWN_FIELD);
        prop_assert_eq!(ClassifyResponse::decode(&bytes), Ok(response));
    }

    #[test]
    fn arbitrary_bytes_are_decoded_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = ClassifyResponse::decode(&bytes);
        let _ = ProcessingRequest::decode(bytes.as_slice()).map(ClassifyRequest::decode);
    }

    #[test]
    fn damaged_messages_are_decoded_without_a_panic(
        request in any_request(),
        response in any_response(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let dynamic_metadata = Some(response.into_metadata());
        let mut response = ProcessingResponse { dynamic_metadata, ..ProcessingResponse::default() }.encode_to_vec();
        let mut request = request.encode().encode_to_vec();
        for (index, byte) in damage {
            for message in [&mut request, &mut response] {
                let index = index.index(message.len());
                message[index] = byte;
            }
        }
        let _ = ClassifyResponse::decode(&response);
        let _ = ProcessingRequest::decode(request.as_slice()).map(ClassifyRequest::decode);
    }

    #[test]
    fn arbitrary_metadata_is_read_without_a_panic(ours in vec((any_name(), any_value()), 0..8)) {
        let _ = read(ours.clone());
        let response = ClassifyResponse::from_metadata(fields([(NAMESPACE, structure(ours))]));
        for (_, prediction) in response.iter().flat_map(|response| &response.predictions) {
            let _ = prediction.classification();
        }
    }

    #[test]
    fn a_version_survives_its_text(major in any::<u32>(), minor in any::<u32>()) {
        let version = Version { major, minor };
        prop_assert_eq!(version.to_string().parse(), Ok(version));
    }
}
