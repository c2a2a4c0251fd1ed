//! multilingual-e5-small as `scripts/setup` converts it, from text to embedding; scripts/e5_reference.py writes the
//! reference, by the engine of the package that the weights come in.

use std::path::Path;

use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::load::load_encoder;
use llm_router_classifier::model::tokenizer::{Prompt, Tokenizer};
use tch::Device;

use super::{Case, cases};

/// The minimum cosine to the engine's embedding. The engine rounds activations to 8 bits, ours does not.
const LEAST_COSINE: f32 = 0.998;

/// The encoder as it was converted, without the adapter that the shipped heads read it through.
fn load_converted() -> (Encoder, Tokenizer) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/e5").canonicalize().unwrap();
    assert!(model.join("model.safetensors").is_file(), "no encoder in models/e5: run scripts/setup");
    let folder = tempfile::tempdir().unwrap();
    for name in
        ["config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json", "prompt.json"]
    {
        std::os::unix::fs::symlink(model.join(name), folder.path().join(name)).unwrap();
    }
    load_encoder(folder.path(), Device::Cpu).unwrap()
}

fn reference() -> Vec<Case> {
    cases(include_str!("../fixtures/e5_reference.json"))
}

#[test]
fn texts_of_all_scripts_have_the_token_ids_of_the_packages_engine() {
    let (_, tokenizer) = load_converted();
    for case in reference() {
        assert_eq!(tokenizer.tokenize(&case.text).unwrap().ids(), case.ids, "{:?}", case.text);
    }
}

#[test]
fn texts_embed_as_in_the_packages_engine() {
    let (encoder, tokenizer) = load_converted();
    for case in reference() {
        let tokens = tokenizer.tokenize(&format!("query: {}", case.text)).unwrap();
        let embedding = encoder.embed(&encoder.batch(&[&tokens]).unwrap()).unwrap();
        let embedding = Vec::<Vec<f32>>::try_from(embedding).unwrap().remove(0);
        let cosine: f32 = embedding.iter().zip(&case.embedding).map(|(ours, theirs)| ours * theirs).sum();
        assert!(cosine > LEAST_COSINE, "{:?}: {cosine}", case.text);
    }
}

#[test]
fn it_reads_context_after_the_prompt() {
    let (_, tokenizer) = load_converted();
    let context = ["Wer schrieb Faust?".to_owned()];
    let alone = tokenizer.tokenize("Und wann?").unwrap();
    let tokens = tokenizer.tokenize(Prompt { text: "Und wann?", context: &context }).unwrap();
    assert_eq!(&tokens.ids()[..tokens.pooled()], alone.ids());
    assert!(tokens.ids().len() > tokens.pooled());
}
