//! Every kind of encoder, on tiny random models; fixtures/encoders/make.py writes them and the references.

use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::tokenizer::Tokens;
use tch::Tensor;

use super::{assert_near, encoder, reference};

pub(crate) const NAMES: [&str; 7] =
    ["bert", "roberta", "deberta-v3", "deberta-own-keys", "modernbert", "nvidia", "torchscript"];

/// The token vectors of each text after the last layer, without padding, computed in one batch.
fn last(encoder: &Encoder, texts: &[&Tokens]) -> Vec<Tensor> {
    let batch = encoder.batch(texts).unwrap();
    let states = encoder.hidden_states(&batch, encoder.layers()).unwrap();
    let state = states.last().unwrap();
    let text =
        |(index, text): (usize, &&Tokens)| state.get(index as i64).narrow(0, 0, text.ids().len() as i64);
    texts.iter().enumerate().map(text).collect()
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
