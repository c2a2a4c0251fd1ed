//! Our encoders compute what `transformers` does.
// Clippy exempts test functions, but not the functions that they call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod e5;
mod encoders;
mod minilm;
mod nvidia;
mod precision;
mod torchscript;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::tokenizer::Tokens;
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

/// The largest difference allowed between two numbers of a hidden state.
const TOLERANCE: f64 = 1e-4;

/// Texts of 1 to 512 tokens, and the results of `transformers` for them.
struct Reference {
    texts: Vec<Tokens>,
    /// Each text's token vectors after the last layer, `[tokens, hidden]`.
    last: Vec<Tensor>,
    /// The token vectors of the text with 13 tokens after each layer, `[layers, tokens, hidden]`.
    layers: Tensor,
}

/// A text, and its tokens and vector in the reference.
#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<i64>,
    embedding: Vec<f32>,
}

/// The cases of a fixture, `{"cases": [...]}`.
fn cases(json: &str) -> Vec<Case> {
    #[derive(Deserialize)]
    struct Fixture {
        cases: Vec<Case>,
    }
    serde_json::from_str::<Fixture>(json).unwrap().cases
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders").join(name)
}

fn encoder(name: &str) -> Encoder {
    Encoder::load(&folder(name), Device::Cpu).unwrap()
}

fn reference(name: &str) -> Reference {
    let tensors = Tensor::read_safetensors(folder(name).join("reference.safetensors")).unwrap();
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    let lengths = Vec::<i64>::try_from(&tensors["lengths"]).unwrap();
    let ids = tensors["ids"].to_kind(Kind::Int64).split_with_sizes(&lengths, 0);
    Reference {
        texts: ids.into_iter().map(|ids| Tokens::from(Vec::<i64>::try_from(ids).unwrap())).collect(),
        last: tensors["last"].split_with_sizes(&lengths, 0),
        layers: tensors["layers"].shallow_clone(),
    }
}

fn assert_near(what: &str, ours: &Tensor, theirs: &Tensor) {
    assert_eq!(ours.size(), theirs.size(), "{what}");
    let difference = (ours - theirs).abs().max().double_value(&[]);
    assert!(difference <= TOLERANCE, "{what} differs by {difference}");
}
