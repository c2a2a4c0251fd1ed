//! An LLM's answer, cut anywhere: no panic, and however it is cut, the same is found.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use llm_router_routing::usage::{Usage, UsageReader};

/// The sizes of its pieces come before the answer, so that mutations of one leave the other whole.
#[derive(Arbitrary, Debug)]
struct Input<'a> {
    pieces: [u8; 4],
    answer: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    for content_type in ["application/json", "text/event-stream; charset=utf-8"] {
        let whole = read(content_type, [input.answer]);
        assert_eq!(read(content_type, pieces(&input)), whole, "as {content_type}");
        assert_eq!(read(content_type, input.answer.chunks(1)), whole, "as {content_type}, byte by byte");
    }
});

fn read<'a>(
    content_type: &str,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Option<Usage>, Option<String>, bool) {
    let mut reader = UsageReader::with_response_id(Some(content_type));
    for piece in pieces {
        reader.read(piece);
    }
    (reader.usage(), reader.response_id().map(str::to_owned), reader.has_content())
}

/// The answer in pieces of these sizes, over and over.
fn pieces<'a>(input: &Input<'a>) -> Vec<&'a [u8]> {
    let mut sizes = input.pieces.iter().cycle();
    let mut left = input.answer;
    let mut pieces = Vec::new();
    while !left.is_empty() {
        let size = sizes.next().map_or(1, |size| usize::from(*size).max(1));
        let (piece, rest) = left.split_at(size.min(left.len()));
        pieces.push(piece);
        left = rest;
    }
    pieces
}
