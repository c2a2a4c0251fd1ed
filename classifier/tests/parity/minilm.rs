//! The real all-MiniLM-L6-v2, from text to embedding; scripts/transformers_reference.py writes the reference.

use std::path::{Path, PathBuf};

use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::load::load_encoder;
use llm_router_classifier::model::tokenizer::{Tokenizer, Tokens};
use tch::Device;

use super::{Case, cases};

/// The largest difference allowed between two numbers of an embedding.
const TOLERANCE: f32 = 1e-5;

pub(crate) fn model() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/minilm");
    assert!(
        folder.join("model.safetensors").is_file(),
        "no encoder in models/minilm: run scripts/setup --only minilm"
    );
    folder
}

/// The encoder as it was published, without the adapter that the shipped heads read it through.
fn load_published() -> (Encoder, Tokenizer) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"] {
        std::os::unix::fs::symlink(model().canonicalize().unwrap().join(name), folder.path().join(name))
            .unwrap();
    }
    load_encoder(folder.path(), Device::Cpu).unwrap()
}

fn reference() -> Vec<Case> {
    cases(include_str!("../fixtures/minilm_reference.json"))
}

fn embed(encoder: &Encoder, texts: &[&Tokens]) -> Vec<Vec<f32>> {
    encoder.embed(&encoder.batch(texts).unwrap()).unwrap().try_into().unwrap()
}

fn assert_near(text: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    let difference = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference <= TOLERANCE, "{text:?} differs by {difference}");
}

#[test]
fn the_reference_covers_one_token_to_the_longest_input() {
    let lengths: Vec<_> = reference().iter().map(|case| case.ids.len()).collect();
    let (_, tokenizer) = load_published();
    assert_eq!(tokenizer.max_tokens(), 256);
    assert!(lengths.contains(&3) && lengths.contains(&256), "{lengths:?}");
}

#[test]
fn texts_alone_embed_as_in_transformers() {
    let (encoder, tokenizer) = load_published();
    for case in reference() {
        let tokens = tokenizer.tokenize(&case.text).unwrap();
        assert_eq!(tokens.ids(), case.ids, "{:?}", case.text);
        let embedding = embed(&encoder, &[&tokens]);
        assert_near(&case.text, &embedding[0], &case.embedding);
    }
}

#[test]
fn texts_in_a_padded_batch_embed_as_in_transformers() {
    let (encoder, tokenizer) = load_published();
    let cases = reference();
    let texts: Vec<Tokens> = cases.iter().map(|case| tokenizer.tokenize(&case.text).unwrap()).collect();
    let embeddings = embed(&encoder, &texts.iter().collect::<Vec<_>>());
    for (case, embedding) in cases.iter().zip(&embeddings) {
        assert_near(&case.text, embedding, &case.embedding);
    }
}

#[test]
fn the_layers_that_heads_read_end_in_the_embedding() {
    let (encoder, tokenizer) = load_published();
    let tokens = tokenizer.tokenize("Write a Python function that merges two sorted lists.").unwrap();
    let states = encoder.hidden_states(&encoder.batch(&[&tokens]).unwrap(), encoder.layers()).unwrap();
    assert_eq!(states.len(), 6);
    let mean = states[5].squeeze_dim(0).mean_dim(0, false, None);
    let ours: Vec<f32> = (&mean / mean.norm()).try_into().unwrap();
    let embedding = embed(&encoder, &[&tokens]);
    assert_near("the last layer", &ours, &embedding[0]);
}

#[test]
fn a_megabyte_is_read_only_at_its_ends() {
    let (_, tokenizer) = load_published();
    let middle = "word and ünïcode ".repeat(60_000);
    let tokens =
        tokenizer.tokenize(&format!("{} {middle} {}", "first ".repeat(500), "last ".repeat(500))).unwrap();
    let ends = tokenizer.tokenize(&format!("{}{}", "first ".repeat(127), "last ".repeat(127))).unwrap();
    assert_eq!(tokens.ids(), ends.ids());
    assert_eq!((ends.read().of, tokens.read().tokens), (256, 256));
    assert!(tokens.read().estimated && tokens.read().of > 100_000, "{:?}", tokens.read());
}
