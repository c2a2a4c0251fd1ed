//! Adapters: compatible with PEFT, and used only with the heads that were trained on them.

use llm_router_classifier::device::Compute;
use llm_router_classifier::model::Model;
use llm_router_classifier::model::encoder::Encoder;
use llm_router_classifier::model::tokenizer::Tokens;
use llm_router_classifier::model::training::Dropout;
use llm_router_trainer::train::{FineTuneSettings, StopSignal};
use tch::{Device, Tensor};

use crate::tiny::{Workspace, fixtures, lora};

#[test]
fn a_peft_adapter_gives_the_same_result_as_in_peft() {
    let folder = fixtures().join("adapters/bert");
    let encoder = Encoder::load(&folder, Device::Cpu).unwrap();
    let tensors = Tensor::read_safetensors(folder.join("reference.safetensors")).unwrap();
    let tensor = |name: &str| &tensors.iter().find(|(key, _)| key == name).unwrap().1;
    let text = Tokens::from(Vec::<i64>::try_from(tensor("ids")).unwrap());
    let states = encoder.hidden_states(&encoder.batch(&[&text]).unwrap(), encoder.layers()).unwrap();
    let difference = (states.last().unwrap() - tensor("last")).abs().max().double_value(&[]);
    assert!(difference < 1e-4, "{difference}");
    let base = Encoder::load(&fixtures().join("encoders/bert"), Device::Cpu).unwrap();
    let states = base.hidden_states(&base.batch(&[&text]).unwrap(), base.layers()).unwrap();
    assert!((states.last().unwrap() - tensor("last")).abs().max().double_value(&[]) > 0.1);
}

#[test]
fn a_head_of_another_adapter_is_rejected() {
    let workspace = Workspace::new("bert");
    let short = FineTuneSettings { epochs: 1, ..lora() };
    workspace.train("one", &short, false, &StopSignal::default()).unwrap();
    workspace.train("two", &FineTuneSettings { seed: 4, ..short }, false, &StopSignal::default()).unwrap();
    let head = |out: &str| workspace.path(&format!("{out}/heads/word/head.json"));
    let own = std::fs::read_to_string(head("one")).unwrap();
    std::fs::copy(head("two"), head("one")).unwrap();
    let error = || format!("{:#}", Model::load(&workspace.path("one"), Device::Cpu).err().unwrap());
    assert!(error().contains("trained on another adapter"), "{}", error());
    std::fs::write(head("one"), r#"{"layer": 3}"#).unwrap();
    assert!(error().contains("trained without an adapter"), "{}", error());
    std::fs::write(head("one"), own).unwrap();
    std::fs::remove_file(workspace.path("one/adapter_config.json")).unwrap();
    std::fs::copy(workspace.path("base/config.json"), workspace.path("one/config.json")).unwrap();
    for name in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(workspace.path("base").join(name), workspace.path("one").join(name)).unwrap();
    }
    assert!(error().contains("the folder has none"), "{}", error());
}

#[test]
fn heads_that_would_lose_their_encoder_are_named() {
    let workspace = Workspace::new("bert");
    std::fs::create_dir_all(workspace.path("out/heads/older")).unwrap();
    let error = workspace.train("out", &lora(), false, &StopSignal::default()).unwrap_err().to_string();
    assert!(error.contains("older"), "{error}");
}

#[test]
fn an_invalid_adapter_is_rejected_with_the_reason() {
    for (from, to, reason) in [
        ("\"r\": 2", "\"r\": 3", "does not fit"),
        ("\"LORA\"", "\"IA3\"", "peft_type"),
        ("\"use_dora\": false", "\"use_dora\": true", "use_dora"),
        ("\"bias\": \"none\"", "\"bias\": \"all\"", "bias"),
        ("../../encoders/bert", "nowhere", "base_model_name_or_path"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let adapter = folder.path().join("adapters/bert");
        std::fs::create_dir_all(&adapter).unwrap();
        std::os::unix::fs::symlink(fixtures().join("encoders"), folder.path().join("encoders")).unwrap();
        let config = std::fs::read_to_string(fixtures().join("adapters/bert/adapter_config.json")).unwrap();
        assert!(config.contains(from), "{from}");
        std::fs::write(adapter.join("adapter_config.json"), config.replace(from, to)).unwrap();
        let weights = "adapter_model.safetensors";
        std::fs::copy(fixtures().join("adapters/bert").join(weights), adapter.join(weights)).unwrap();
        let error = format!("{:#}", Encoder::load(&adapter, Device::Cpu).unwrap_err());
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn torchscript_cannot_be_trained() {
    let folder = fixtures().join("encoders/torchscript");
    let compute = Compute::from(Device::Cpu);
    let error = Encoder::load_for_training(&folder, compute, Dropout::new(0.0)).unwrap_err().to_string();
    assert!(error.contains("--method head"), "{error}");
}
