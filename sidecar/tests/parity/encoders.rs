//! Every kind of encoder, on tiny random models; fixtures/encoders/make.py writes them and the references.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use llm_router_sidecar::model::encoder::Encoder;
use llm_router_sidecar::model::tokenizer::Tokens;
use tch::{Device, Tensor};

pub(crate) const NAMES: [&str; 5] = ["bert", "roberta", "deberta-v3", "deberta-own-keys", "modernbert"];

/// The largest difference allowed between two numbers of a hidden state.
const TOLERANCE: f64 = 1e-4;

/// Texts of 1 to 512 tokens, and what `transformers` computes of them.
struct Reference {
    texts: Vec<Tokens>,
    /// Each text's token vectors after the last layer, `[tokens, hidden]`.
    last: Vec<Tensor>,
    /// The token vectors of the text with 13 tokens after each layer, `[layers, tokens, hidden]`.
    layers: Tensor,
}

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders").join(name)
}

fn encoder(name: &str) -> Encoder {
    Encoder::load(&folder(name), Device::Cpu).unwrap()
}

fn reference(name: &str) -> Reference {
    let tensors = Tensor::read_safetensors(folder(name).join("reference.safetensors")).unwrap();
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    let lengths = Vec::<i64>::try_from(&tensors["lengths"]).unwrap();
    let ids = tensors["ids"].to_kind(tch::Kind::Int64).split_with_sizes(&lengths, 0);
    Reference {
        texts: ids.into_iter().map(|ids| Tokens::from(Vec::<i64>::try_from(ids).unwrap())).collect(),
        last: tensors["last"].split_with_sizes(&lengths, 0),
        layers: tensors["layers"].shallow_clone(),
    }
}

/// The token vectors of each text after the last layer, without padding, computed in one batch.
fn last(encoder: &Encoder, texts: &[&Tokens]) -> Vec<Tensor> {
    let batch = encoder.batch(texts).unwrap();
    let states = encoder.hidden_states(&batch, encoder.layers()).unwrap();
    let state = states.last().unwrap();
    let text =
        |(index, text): (usize, &&Tokens)| state.get(index as i64).narrow(0, 0, text.ids().len() as i64);
    texts.iter().enumerate().map(text).collect()
}

fn assert_near(what: &str, ours: &Tensor, theirs: &Tensor) {
    assert_eq!(ours.size(), theirs.size(), "{what}");
    let difference = (ours - theirs).abs().max().double_value(&[]);
    assert!(difference <= TOLERANCE, "{what} differs by {difference}");
}

#[test]
fn texts_of_1_to_512_tokens_alone_are_as_in_transformers() {
    for name in NAMES {
        let (encoder, reference) = (encoder(name), reference(name));
        for (text, theirs) in reference.texts.iter().zip(&reference.last) {
            let what = format!("{name}, {} tokens", text.ids().len());
            assert_near(&what, &last(&encoder, &[text])[0], theirs);
        }
    }
}

#[test]
fn texts_in_padded_batches_of_2_to_16_are_as_in_transformers() {
    for name in NAMES {
        let (encoder, reference) = (encoder(name), reference(name));
        for size in [2, 3, 16] {
            let batches = reference.texts.chunks(size).zip(reference.last.chunks(size));
            for (texts, theirs) in batches {
                let ours = last(&encoder, &texts.iter().collect::<Vec<_>>());
                for ((text, ours), theirs) in texts.iter().zip(&ours).zip(theirs) {
                    assert_near(&format!("{name}, {} tokens of {size}", text.ids().len()), ours, theirs);
                }
            }
        }
    }
}

#[test]
fn every_layer_is_as_in_transformers() {
    for name in NAMES {
        let (encoder, reference) = (encoder(name), reference(name));
        let text = reference.texts.iter().find(|text| text.ids().len() == 13).unwrap();
        let batch = encoder.batch(&[text]).unwrap();
        let states = encoder.hidden_states(&batch, encoder.layers()).unwrap();
        assert_near(name, &Tensor::cat(&states, 0), &reference.layers);
        let first = encoder.hidden_states(&batch, 1).unwrap();
        assert_eq!(first.len(), 1);
        if encoder.layers() > 1 {
            assert_near(name, &first[0], &states[0]);
        }
    }
}
