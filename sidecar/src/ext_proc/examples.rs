//! Reads by which examples a caller wants its text classified. Pure.

use std::sync::Arc;

use llm_router_proto::envoy::config::core::v3::Metadata;
use llm_router_proto::{DIGEST, EXAMPLES, Kind, METADATA_NAMESPACE, ROUTES, Struct, Value};
use llm_router_routing::config::Examples;

use llm_router_classifier::few_shot::check;

/// Longest digest that is taken, in bytes: it is a key of ours.
const MAX_DIGEST: usize = 128;

/// The examples that a caller goes by.
#[derive(Debug, PartialEq)]
pub(super) struct Lesson {
    /// Stands for them.
    pub(super) digest: String,
    /// They themselves, if the caller sent them.
    pub(super) examples: Option<Arc<Examples>>,
}

/// Why a caller's examples cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata {METADATA_NAMESPACE}.{EXAMPLES}{0}")]
pub(super) struct Malformed(String);

impl Lesson {
    /// The lesson of a request's metadata; none if it goes by no examples.
    pub(super) fn from_metadata(metadata: Option<&Metadata>) -> Result<Option<Self>, Malformed> {
        let ours = metadata.and_then(|metadata| metadata.filter_metadata.get(METADATA_NAMESPACE));
        let Some(lesson) = ours.and_then(|ours| ours.fields.get(EXAMPLES)) else { return Ok(None) };
        let fields = structure(lesson).ok_or_else(|| malformed(" is no structure"))?;
        let digest = fields.fields.get(DIGEST).and_then(string);
        let digest = digest.filter(|digest| !digest.is_empty() && digest.len() <= MAX_DIGEST);
        let digest = digest.ok_or_else(|| malformed(".digest is missing, or no short text"))?;
        let examples = fields.fields.get(ROUTES).map(examples).transpose()?;
        if examples.as_ref().is_some_and(|examples| examples.digest() != digest) {
            return Err(malformed(".digest is not that of the routes"));
        }
        Ok(Some(Self { digest: digest.to_owned(), examples }))
    }
}

fn examples(value: &Value) -> Result<Arc<Examples>, Malformed> {
    let labels = structure(value).ok_or_else(|| malformed(".routes is no structure"))?;
    let label = |(label, texts): (&String, _)| Some((label.clone(), strings(texts)?));
    let routes = labels.fields.iter().map(label).collect::<Option<_>>();
    let routes = routes.ok_or_else(|| malformed(".routes has something else than lists of texts"))?;
    check(&routes).map_err(|error| malformed(&format!(".routes: {error}")))?;
    Ok(Arc::new(Examples::new(routes)))
}

fn malformed(problem: &str) -> Malformed {
    Malformed(problem.to_owned())
}

fn structure(value: &Value) -> Option<&Struct> {
    match &value.kind {
        Some(Kind::StructValue(fields)) => Some(fields),
        _ => None,
    }
}

fn string(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    match &value.kind {
        Some(Kind::ListValue(list)) => {
            list.values.iter().map(|value| string(value).map(str::to_owned)).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_router_proto::ListValue;

    fn value(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn text(text: &str) -> Value {
        value(Kind::StringValue(text.to_owned()))
    }

    fn fields(fields: Vec<(&str, Value)>) -> Value {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        value(Kind::StructValue(Struct { fields }))
    }

    fn list(texts: &[&str]) -> Value {
        value(Kind::ListValue(ListValue { values: texts.iter().map(|it| text(it)).collect() }))
    }

    fn read(examples: Value) -> Result<Option<Lesson>, Malformed> {
        let ours = Struct { fields: [(EXAMPLES.to_owned(), examples)].into() };
        let metadata = Metadata { filter_metadata: [(METADATA_NAMESPACE.to_owned(), ours)].into() };
        Lesson::from_metadata(Some(&metadata))
    }

    #[test]
    fn a_lesson_is_a_digest_and_perhaps_the_examples() {
        assert_eq!(Lesson::from_metadata(None), Ok(None));
        assert_eq!(Lesson::from_metadata(Some(&Metadata::default())), Ok(None));
        let examples = Examples::new([("billing".to_owned(), vec!["refund".to_owned()])].into());
        let digest = examples.digest().to_owned();
        let brief = read(fields(vec![(DIGEST, text(&digest))])).unwrap();
        assert_eq!(brief, Some(Lesson { digest: digest.clone(), examples: None }));
        let routes = fields(vec![("billing", list(&["refund"]))]);
        let full = read(fields(vec![(DIGEST, text(&digest)), (ROUTES, routes)])).unwrap();
        assert_eq!(full, Some(Lesson { digest, examples: Some(Arc::new(examples)) }));
    }

    #[test]
    fn what_is_no_lesson_says_why() {
        let with = |routes| fields(vec![(DIGEST, text("d")), (ROUTES, routes)]);
        for (examples, problem) in [
            (text("d"), "examples is no structure"),
            (fields(vec![]), "examples.digest is missing"),
            (fields(vec![(DIGEST, text(&"d".repeat(129)))]), "examples.digest is missing"),
            (with(list(&["refund"])), "examples.routes is no structure"),
            (with(fields(vec![("billing", text("refund"))])), "something else than lists"),
            (with(fields(vec![])), "there are 0"),
            (with(fields(vec![("billing", list(&["refund"]))])), "digest is not that of the routes"),
        ] {
            let error = read(examples).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
