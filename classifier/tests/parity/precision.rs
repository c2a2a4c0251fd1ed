//! Computing in 16 bits changes predictions by rounding only, and so does a batch.

use llm_router_classifier::device::{Compute, Precision};
use llm_router_classifier::model::Model;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::load::load_encoder;
use llm_router_classifier::model::prediction::{Outputs, Prediction};
use llm_router_classifier::model::tokenizer::Tokens;
use tch::Device;

use crate::encoders::NAMES;
use crate::folder;
use crate::minilm::model;

const PROMPTS: [&str; 4] = [
    "hi",
    "Write a Python function that merges two sorted lists.",
    "Summarize in three sentences: the meeting began with the figures of the last quarter, which were good.",
    "def f(x: int) -> int:\n    return x ** 2  # squares\n\nprint(f(3))\n\nWhy does this print 9, and not 8? Explain it to a \
     beginner who has never seen an exponent, with two more examples.",
];

fn on_cpu(precision: Precision) -> Compute {
    Compute { device: Device::Cpu, precision }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn answers(model: &Model, texts: &[&Tokens]) -> Vec<Prediction> {
    model.classify(texts, Outputs::ScoresAndEmbedding).unwrap()
}

fn assert_alike(ours: &Prediction, reference: &Prediction, cosine_at_least: f32, tolerance: f32) {
    let embeddings = [ours, reference].map(|answer| answer.embedding.as_deref().unwrap());
    assert!(
        cosine(embeddings[0], embeddings[1]) >= cosine_at_least,
        "{}",
        cosine(embeddings[0], embeddings[1])
    );
    for (ours, reference) in ours.scores.iter().zip(&reference.scores) {
        assert_eq!(ours.top().unwrap().0, reference.top().unwrap().0);
        for (a, b) in ours.confidences.iter().zip(&reference.confidences) {
            assert!((a - b).abs() <= tolerance, "{ours:?} {reference:?}");
        }
    }
}

#[test]
fn bf16_answers_as_fp32_does() {
    let (reference, tokenizer) = Model::load(&model(), Device::Cpu).unwrap();
    let (ours, _) = Model::load(&model(), on_cpu(Precision::Bf16)).unwrap();
    for prompt in PROMPTS {
        let text = tokenizer.tokenize(prompt).unwrap();
        assert_alike(&answers(&ours, &[&text])[0], &answers(&reference, &[&text])[0], 0.999, 0.05);
    }
}

#[test]
fn a_text_has_the_same_prediction_alone_and_in_batches_of_any_order() {
    for (precision, cosine, tolerance) in [(Precision::Fp32, 0.99999, 1e-4), (Precision::Bf16, 0.999, 0.05)] {
        let (model, tokenizer) = Model::load(&model(), on_cpu(precision)).unwrap();
        let texts = PROMPTS.map(|prompt| tokenizer.tokenize(prompt).unwrap());
        let alone: Vec<_> = texts.iter().flat_map(|text| answers(&model, &[text])).collect();
        for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
            let together = answers(&model, &order.map(|index| &texts[index]));
            for (answer, index) in together.iter().zip(order) {
                assert_alike(answer, &alone[index], cosine, tolerance);
            }
        }
    }
}

#[test]
fn a_prediction_has_only_the_requested_outputs() {
    let (model, tokenizer) = Model::load(&model(), Device::Cpu).unwrap();
    let text = tokenizer.tokenize(PROMPTS[1]).unwrap();
    let all = answers(&model, &[&text]).remove(0);
    for want in [Outputs::Scores, Outputs::Embedding] {
        assert_eq!(model.classify(&[&text], want).unwrap(), [all.clone().only(want)], "{want:?}");
    }
    let (encoder, _) = load_encoder(&self::model(), Device::Cpu).unwrap();
    let embedding = encoder.embed(&encoder.batch(&[&text]).unwrap()).unwrap();
    assert_eq!(Vec::<Vec<f32>>::try_from(embedding).unwrap(), [all.embedding.unwrap()]);
}

#[test]
fn every_encoder_computes_in_bf16() {
    for name in NAMES {
        let texts: Vec<Tokens> = [3, 9].map(|tokens| Tokens::from((1..=tokens).collect::<Vec<i64>>())).into();
        let texts: Vec<_> = texts.iter().collect();
        let embed = |precision| {
            let encoder = Encoder::load(&folder(name), on_cpu(precision)).unwrap();
            let embeddings = encoder.embed(&encoder.batch(&texts).unwrap()).unwrap();
            Vec::<Vec<f32>>::try_from(embeddings).unwrap()
        };
        for (ours, reference) in embed(Precision::Bf16).iter().zip(embed(Precision::Fp32)) {
            assert!(cosine(ours, &reference) > 0.99, "{name}: {ours:?} {reference:?}");
        }
    }
}
