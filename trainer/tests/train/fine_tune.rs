//! Heads trained together with an encoder.

use std::time::Duration;

use llm_router_classifier::model::Model;
use llm_router_classifier::model::prediction::Outputs;
use llm_router_trainer::train::{Ended, How, Method, Quality, Report, Settings, Stop, load};
use tch::Device;

use crate::tiny::{ENCODERS, Workplace, lora};

fn epochs(report: &Report) -> Vec<f64> {
    let How::FineTuned(history) = &report.training else { panic!("not fine-tuned") };
    history.epochs.iter().map(|epoch| epoch.loss).collect()
}

fn ended(report: &Report) -> (Ended, usize) {
    let How::FineTuned(history) = &report.training else { panic!("not fine-tuned") };
    (history.ended, history.steps)
}

fn full() -> Settings {
    Settings { method: Method::Full, learning_rate: 5e-3, ..lora() }
}

/// What the model in the folder says of the held-out rows of `small`, as the trainer measures it.
fn served_error(workplace: &Workplace, out: &str) -> f64 {
    let (model, tokenizer) = Model::load(&workplace.path(out), Device::Cpu).unwrap();
    let tasks = load(&workplace.plan(), lora().seed).unwrap();
    let rows = tasks[1].held_out();
    let mut sum = 0.0;
    for (text, truth) in &rows {
        let answer =
            model.classify(&[&tokenizer.tokenize(text).unwrap()], Outputs::Scores).unwrap().remove(0);
        let scores = answer.scores.iter().find(|scores| &*scores.head == "small").unwrap();
        sum += f64::from((scores.score.unwrap() - truth).abs());
    }
    sum / rows.len() as f64
}

#[test]
fn every_encoder_learns_and_is_served_as_it_was_trained() {
    for encoder in ENCODERS {
        for settings in [lora(), full()] {
            let workplace = Workplace::new(encoder);
            let reports = workplace.train("out", &settings, false, &Stop::default()).unwrap();
            let losses = epochs(&reports[0]);
            assert!(losses.last().unwrap() < &(0.95 * losses[1]), "{encoder}: {losses:?}");
            let Some(Quality::Score(quality)) = &reports[1].held_out else { panic!("no score") };
            let (trained, served) = (quality.score.mean_absolute_error, served_error(&workplace, "out"));
            assert!((trained - served).abs() < 1e-5, "{encoder}: trained {trained}, served {served}");
        }
    }
}

#[test]
fn the_same_command_gives_the_same_bytes() {
    let workplace = Workplace::new("bert");
    let files = |out: &str| {
        workplace.train(out, &lora(), false, &Stop::default()).unwrap();
        ["adapter_model.safetensors", "heads/word/head.safetensors", "heads/small/head.json"]
            .map(|name| workplace.read(&format!("{out}/{name}")))
    };
    assert!(files("one") == files("two"), "the files differ");
}

#[test]
fn what_was_interrupted_goes_on_to_the_same_end() {
    let workplace = Workplace::new("bert");
    let whole = workplace.train("whole", &lora(), false, &Stop::default()).unwrap();

    let stop = Stop::default();
    let state = workplace.path("parts/.training/state.json");
    let told = stop.clone();
    let watch = std::thread::spawn(move || {
        while !state.is_file() {
            std::thread::sleep(Duration::from_millis(1));
        }
        told.now();
    });
    // The state is kept after every step, so that the first step ends it.
    let often = Settings { checkpoint_every: Duration::ZERO, ..lora() };
    let reports = workplace.train("parts", &often, false, &stop).unwrap();
    watch.join().unwrap();
    let (why, steps) = ended(&reports[0]);
    assert!(why == Ended::Interrupted && steps > 0, "{why:?} after {steps} steps");
    assert!(Model::load(&workplace.path("parts"), Device::Cpu).is_ok(), "the best so far is not there");

    let reports = workplace.train("parts", &lora(), true, &Stop::default()).unwrap();
    assert_eq!(ended(&reports[0]), ended(&whole[0]));
    for name in ["adapter_model.safetensors", "heads/word/head.safetensors", "heads/small/head.safetensors"] {
        let [whole, parts] = ["whole", "parts"].map(|out| workplace.read(&format!("{out}/{name}")));
        assert!(whole == parts, "{name} differs");
    }
    assert!(!workplace.path("parts/.training").exists(), "the state is still there");
}

#[test]
fn a_training_is_not_resumed_with_other_settings() {
    let workplace = Workplace::new("bert");
    let no_time = Settings { time_budget: Some(Duration::ZERO), ..lora() };
    let reports = workplace.train("out", &no_time, false, &Stop::default()).unwrap();
    assert_eq!(ended(&reports[0]), (Ended::TimeBudget, 0));
    let other = Settings { batch: 8, ..lora() };
    let error = format!("{:#}", workplace.train("out", &other, true, &Stop::default()).unwrap_err());
    assert!(error.contains("other data or settings"), "{error}");
}
