//! Limits on messages from Envoy, checked before a message is decoded.
//!
//! A few bytes can become a large structure: an empty header takes 2 bytes in a message and 72 in memory. The limit on the
//! length of a message cannot prevent that, because it must admit request bodies of many megabytes. So [`check`] reads the tags
//! of an encoded message, and rejects it if the parts that are not bodies are too long or too many.

/// The maximum number of bytes of headers, trailers, attributes and unknown fields together. Envoy's own limit on headers is
/// 60 KiB by default.
pub const MAX_OTHER_BYTES: usize = 1 << 20;

/// The maximum number of bytes of dynamic metadata. The few-shot examples of a policy take about half of them.
pub const MAX_METADATA_BYTES: usize = 2 << 20;

/// The maximum number of headers or trailers. Envoy's own limit is 100 by default.
pub const MAX_HEADERS: usize = 1000;

/// The maximum number of structures, lists and values of metadata and attributes, at all levels. Few-shot examples take a tenth
/// of them.
pub const MAX_VALUES: usize = 20_000;

/// The maximum number of levels of nested messages. Decoding has the same limit.
const MAX_DEPTH: usize = 100;

/// Why a message is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The bytes are not a message.
    #[error("the processing request is not valid Protocol Buffers")]
    Malformed,
    /// More than [`MAX_OTHER_BYTES`].
    #[error(
        "the processing request has more than {MAX_OTHER_BYTES} bytes beside its body and metadata: lower max_request_headers_kb in Envoy"
    )]
    OtherBytes,
    /// More than [`MAX_METADATA_BYTES`].
    #[error("metadata_context has more than {MAX_METADATA_BYTES} bytes: let Envoy forward fewer namespaces")]
    MetadataBytes,
    /// More than [`MAX_HEADERS`].
    #[error("the processing request has more than {MAX_HEADERS} headers: lower max_headers_count in Envoy")]
    Headers,
    /// More than [`MAX_VALUES`].
    #[error(
        "metadata_context and attributes have more than {MAX_VALUES} values: let Envoy forward fewer namespaces and attributes"
    )]
    Values,
    /// More levels than can be decoded.
    #[error(
        "metadata_context or attributes have more than {MAX_DEPTH} levels: let Envoy forward fewer of them"
    )]
    Depth,
}

/// Checks an encoded `ProcessingRequest`. Bodies have no limit here, because they are decoded without a copy.
///
/// # Errors
/// The bytes are not a message, or the message exceeds a limit.
pub fn check(message: &[u8]) -> Result<(), LimitError> {
    let (mut totals, mut other, mut metadata) = (Totals::default(), 0, 0);
    for field in Fields(message) {
        let field = field?;
        match field.number {
            REQUEST_BODY | RESPONSE_BODY => continue,
            METADATA_CONTEXT => metadata += field.size,
            _ => other += field.size,
        }
        if other > MAX_OTHER_BYTES {
            return Err(LimitError::OtherBytes);
        }
        if metadata > MAX_METADATA_BYTES {
            return Err(LimitError::MetadataBytes);
        }
        totals.add(Part::Message, &field, MAX_DEPTH)?;
    }
    Ok(())
}

const REQUEST_BODY: u64 = 4;
const RESPONSE_BODY: u64 = 5;
const METADATA_CONTEXT: u64 = 8;

/// A type of message that others contain in any number, or that contains such messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// `ProcessingRequest`.
    Message,
    /// `HttpHeaders` or `HttpTrailers`.
    HttpHeaders,
    HeaderMap,
    HeaderValue,
    Metadata,
    /// An entry of a map of structures: a namespace of the metadata, or the attributes of a filter.
    NamedStruct,
    Struct,
    /// An entry of a structure.
    NamedValue,
    Value,
    ListValue,
}

impl Part {
    /// The type of a field; none if it contains no such messages. The numbers are those of the `.proto` files.
    fn of_field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Message, 2 | 3 | 6 | 7) => Self::HttpHeaders,
            (Self::Message, METADATA_CONTEXT) => Self::Metadata,
            (Self::Message, 9) | (Self::Metadata, 1) => Self::NamedStruct,
            (Self::HttpHeaders, 1) => Self::HeaderMap,
            (Self::HeaderMap, 1) => Self::HeaderValue,
            (Self::NamedStruct, 2) | (Self::Value, 5) => Self::Struct,
            (Self::Struct, 1) => Self::NamedValue,
            (Self::NamedValue, 2) | (Self::ListValue, 1) => Self::Value,
            (Self::Value, 6) => Self::ListValue,
            _ => return None,
        })
    }
}

/// What a message contains.
#[derive(Default)]
struct Totals {
    headers: usize,
    values: usize,
}

impl Totals {
    /// Adds a field of a message of this type, with the messages that it contains.
    fn add(&mut self, of: Part, field: &Field<'_>, levels: usize) -> Result<(), LimitError> {
        let Some((part, content)) = of.of_field(field.number).zip(field.content) else { return Ok(()) };
        self.count(part)?;
        let levels = levels.checked_sub(1).ok_or(LimitError::Depth)?;
        for field in Fields(content) {
            self.add(part, &field?, levels)?;
        }
        Ok(())
    }

    fn count(&mut self, part: Part) -> Result<(), LimitError> {
        match part {
            Part::Message | Part::HttpHeaders | Part::HeaderMap | Part::Metadata => {}
            Part::HeaderValue => self.headers += 1,
            Part::NamedStruct | Part::Struct | Part::NamedValue | Part::Value | Part::ListValue => {
                self.values += 1;
            }
        }
        if self.headers > MAX_HEADERS {
            return Err(LimitError::Headers);
        }
        if self.values > MAX_VALUES {
            return Err(LimitError::Values);
        }
        Ok(())
    }
}

/// One field of an encoded message.
struct Field<'m> {
    number: u64,
    /// The bytes of a message, a string or bytes; none if the field is a number.
    content: Option<&'m [u8]>,
    /// The length of the whole field, its tag included.
    size: usize,
}

/// The fields of an encoded message. Use none after an error.
struct Fields<'m>(&'m [u8]);

impl<'m> Iterator for Fields<'m> {
    type Item = Result<Field<'m>, LimitError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() { None } else { Some(self.read().ok_or(LimitError::Malformed)) }
    }
}

impl<'m> Fields<'m> {
    /// None if the bytes are not a field.
    fn read(&mut self) -> Option<Field<'m>> {
        let before = self.0.len();
        let key = self.varint()?;
        let content = match key & 7 {
            0 => self.varint().map(|_| None)?,
            1 => self.take(8).map(|_| None)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Some(self.take(length)?)
            }
            5 => self.take(4).map(|_| None)?,
            // Groups, which proto3 does not have.
            _ => return None,
        };
        Some(Field { number: key >> 3, content, size: before - self.0.len() })
    }

    fn take(&mut self, length: usize) -> Option<&'m [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of up to ten bytes, of seven bits each. Bits beyond 64 are lost; decoding rejects such numbers.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use llm_router_routing::config::Examples;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::contract::{
        CONTRACT_VERSION, Classifiers, ClassifyRequest, FewShotExamples, RequestedExamples,
    };
    use crate::envoy::config::core::v3::{HeaderMap, HeaderValue, Metadata};
    use crate::envoy::service::ext_proc::v3::{
        HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, processing_request::Request,
    };
    use crate::structs::{fields, list, structure};
    use crate::{Bytes, Struct, Value};

    /// An encoded field of this number.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![(number << 3) | 2];
        prost::encode_length_delimiter(content.len(), &mut field).unwrap();
        field.extend_from_slice(content);
        field
    }

    fn message(request: Request) -> Vec<u8> {
        ProcessingRequest { request: Some(request), ..ProcessingRequest::default() }.encode_to_vec()
    }

    fn header_map(count: usize) -> Option<HeaderMap> {
        Some(HeaderMap { headers: vec![HeaderValue::default(); count] })
    }

    fn headers(count: usize) -> HttpHeaders {
        HttpHeaders { headers: header_map(count), end_of_stream: false }
    }

    fn with_metadata(ours: Struct) -> Vec<u8> {
        let metadata = Metadata { filter_metadata: HashMap::from([("a".to_owned(), ours)]) };
        ProcessingRequest { metadata_context: Some(metadata), ..ProcessingRequest::default() }.encode_to_vec()
    }

    fn with_attributes(attributes: Struct) -> Vec<u8> {
        let attributes = HashMap::from([("a".to_owned(), attributes)]);
        ProcessingRequest { attributes, ..ProcessingRequest::default() }.encode_to_vec()
    }

    fn empty_values(count: usize) -> Struct {
        fields([("a", list(vec![Value::default(); count]))])
    }

    #[test]
    fn headers_and_trailers_are_counted() {
        let trailers = |count| HttpTrailers { trailers: header_map(count) };
        let kinds: [&dyn Fn(usize) -> Request; 4] = [
            &|count| Request::RequestHeaders(headers(count)),
            &|count| Request::ResponseHeaders(headers(count)),
            &|count| Request::RequestTrailers(trailers(count)),
            &|count| Request::ResponseTrailers(trailers(count)),
        ];
        for kind in kinds {
            assert_eq!(check(&message(kind(MAX_HEADERS))), Ok(()));
            assert_eq!(check(&message(kind(MAX_HEADERS + 1))), Err(LimitError::Headers));
        }
    }

    /// Decoding merges the occurrences of a field.
    #[test]
    fn headers_in_several_fields_are_counted_together() {
        let half = message(Request::RequestHeaders(headers(MAX_HEADERS / 2)));
        assert_eq!(check(&[&half[..], &half].concat()), Ok(()));
        assert_eq!(check(&[&half[..], &half, &half].concat()), Err(LimitError::Headers));
        let map = header_map(MAX_HEADERS).unwrap().encode_to_vec();
        let twice = [field(1, &map), field(1, &map)].concat();
        assert_eq!(check(&field(2, &twice)), Err(LimitError::Headers));
    }

    #[test]
    fn values_are_counted_at_all_levels() {
        for encode in [with_metadata, with_attributes] {
            // Beside the values: the namespace, its structure, its entry, and the list with its value.
            assert_eq!(check(&encode(empty_values(MAX_VALUES - 5))), Ok(()));
            assert_eq!(check(&encode(empty_values(MAX_VALUES - 4))), Err(LimitError::Values));
            let lists = list(vec![list(vec![Value::default(); 200]); 200]);
            assert_eq!(check(&encode(fields([("a", lists)]))), Err(LimitError::Values));
            let entries = (0..MAX_VALUES).map(|name| (name.to_string(), Value::default()));
            assert_eq!(check(&encode(fields(entries))), Err(LimitError::Values));
        }
        let namespaces = (0..=MAX_VALUES).map(|name| (name.to_string(), Struct::default())).collect();
        let metadata_context = Some(Metadata { filter_metadata: namespaces });
        let request = ProcessingRequest { metadata_context, ..ProcessingRequest::default() };
        assert_eq!(check(&request.encode_to_vec()), Err(LimitError::Values));
    }

    #[test]
    fn what_is_not_a_body_has_a_limit_in_bytes() {
        let text = |length: usize| fields([("a", "x".repeat(length).into())]);
        let long = HeaderValue { value: "x".repeat(MAX_OTHER_BYTES), ..HeaderValue::default() };
        let long = HttpHeaders { headers: Some(HeaderMap { headers: vec![long] }), ..HttpHeaders::default() };
        assert_eq!(check(&message(Request::RequestHeaders(long))), Err(LimitError::OtherBytes));
        assert_eq!(check(&with_attributes(text(MAX_OTHER_BYTES))), Err(LimitError::OtherBytes));
        assert_eq!(check(&with_metadata(text(MAX_OTHER_BYTES))), Ok(()));
        assert_eq!(check(&with_metadata(text(MAX_METADATA_BYTES))), Err(LimitError::MetadataBytes));
        // Empty fields, which decoding merges.
        assert_eq!(check(&field(2, &[]).repeat(MAX_OTHER_BYTES)), Err(LimitError::OtherBytes));
        // Fields that no version has yet.
        assert_eq!(check(&field(15, &vec![0; MAX_OTHER_BYTES])), Err(LimitError::OtherBytes));
    }

    #[test]
    fn bodies_have_no_limit() {
        let body = || HttpBody { body: vec![b'x'; 3 << 20].into(), end_of_stream: true };
        assert_eq!(check(&message(Request::RequestBody(body()))), Ok(()));
        assert_eq!(check(&message(Request::ResponseBody(body()))), Ok(()));
    }

    #[test]
    fn the_largest_examples_of_a_policy_are_within_the_limits() {
        let texts = |label: usize| {
            (0..10).map(|text| format!("{label} {text} {:x<1$}", "", Examples::MAX_LENGTH - 10)).collect()
        };
        let labels = (0..Examples::MAX / 10).map(|label| (format!("label {label}"), texts(label)));
        let examples = FewShotExamples::Full(Examples::new(labels.collect()).into());
        let request = ClassifyRequest {
            version: CONTRACT_VERSION,
            classifiers: Classifiers::Named(vec!["examples".to_owned(); 64]),
            policy: Some("p".repeat(128)),
            examples: Some(RequestedExamples { examples, are_optional: true }),
            body: Bytes::from(vec![b'x'; 1 << 20]),
        };
        assert_eq!(check(&request.encode().encode_to_vec()), Ok(()));
    }

    #[test]
    fn nesting_has_the_limit_of_decoding() {
        let nested = |levels| (0..levels).fold(Value::from("a"), |inner, _| list([inner]));
        let encoded = with_metadata(fields([("a", nested(40))]));
        assert!(check(&encoded).is_ok() && ProcessingRequest::decode(encoded.as_slice()).is_ok());
        let mut value = Vec::new();
        for _ in 0..10_000 {
            value = field(6, &field(1, &value));
        }
        let entry = field(1, &field(2, &value));
        let encoded = field(8, &field(1, &field(2, &entry)));
        assert_eq!(check(&encoded), Err(LimitError::Depth));
        assert!(ProcessingRequest::decode(encoded.as_slice()).is_err());
    }

    #[test]
    fn bytes_that_are_not_a_message_are_rejected() {
        let group = [(2 << 3) | 3, (2 << 3) | 4];
        let endless = [0xff; 11];
        for malformed in [&b"\xff"[..], b"\x12\x05abc", b"\x12\x03\x0a\x05a", b"\x09abc", &group, &endless] {
            assert_eq!(check(malformed), Err(LimitError::Malformed), "{malformed:?}");
        }
        assert_eq!(check(b""), Ok(()));
    }

    #[test]
    fn an_error_names_the_field_and_the_remedy() {
        let text = LimitError::Headers.to_string();
        assert!(text.contains("1000 headers") && text.contains("max_headers_count"), "{text}");
    }

    fn any_structure() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::default()), any::<f64>().prop_map(Value::from)];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(list),
                vec((".*", inner), 0..5).prop_map(structure),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_checked_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
            let checked = check(&bytes);
            // A message that decodes has been read in full.
            if ProcessingRequest::decode(bytes.as_slice()).is_ok() && checked.is_err() {
                // Only groups of unknown fields, which proto3 does not have.
                prop_assert_eq!(checked, Err(LimitError::Malformed));
            }
        }

        #[test]
        fn ordinary_metadata_is_within_the_limits(values in vec((".*", any_structure()), 0..8)) {
            prop_assert_eq!(check(&with_metadata(fields(values.clone()))), Ok(()));
            prop_assert_eq!(check(&with_attributes(fields(values))), Ok(()));
        }
    }
}
