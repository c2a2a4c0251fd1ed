//! Models in TorchScript.

use llm_router_classifier::model::tokenizer::Tokens;
use tch::Tensor;

use super::{assert_near, encoder, reference};

#[test]
fn a_module_that_returns_logits_returns_one_row_per_text_alone_and_padded() {
    let encoder = encoder("torchscript-logits");
    let tensors = Tensor::read_safetensors(super::folder("torchscript-logits").join("reference.safetensors"));
    let (_, theirs) = tensors.unwrap().into_iter().find(|(name, _)| name == "last").unwrap();
    let texts = reference("torchscript").texts;
    let logits = |texts: &[&Tokens]| {
        encoder.hidden_states(&encoder.batch(texts).unwrap(), 1).unwrap().remove(0).squeeze_dim(1)
    };
    assert_near("padded", &logits(&texts.iter().collect::<Vec<_>>()), &theirs);
    for (index, text) in texts.iter().enumerate() {
        assert_near("alone", &logits(&[text]), &theirs.narrow(0, index as i64, 1));
    }
}

#[test]
fn an_output_of_another_shape_is_an_error_with_the_expected_shape() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(super::folder("torchscript").join("model.pt"), folder.path().join("model.pt"))
        .unwrap();
    let config = r#"{"model_type": "x", "hidden_size": 9, "max_position_embeddings": 4}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let encoder =
        llm_router_classifier::model::encoder::Encoder::load(folder.path(), tch::Device::Cpu).unwrap();
    let batch = encoder.batch(&[&Tokens::from(vec![5, 6])]).unwrap();
    let error = encoder.hidden_states(&batch, 1).unwrap_err().to_string();
    assert!(error.contains("[1, 2, 8]") && error.contains("[texts, tokens, 9]"), "{error}");
}
