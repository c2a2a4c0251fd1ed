//! Heads trained together with an encoder.

use std::time::{Duration, Instant};

use llm_router_classifier::model::Model;
use llm_router_classifier::model::prediction::Outputs;
use llm_router_trainer::train::{
    FineTuneSettings, Method, Quality, StopReason, StopSignal, TrainingDetails, TrainingReport, load,
};
use tch::Device;

use crate::tiny::{ENCODERS, Workspace, lora};

fn losses(report: &TrainingReport) -> Vec<f64> {
    let TrainingDetails::FineTuned(history) = &report.training else { panic!("not fine-tuned") };
    history.epochs.iter().map(|epoch| epoch.loss).collect()
}

fn outcome(report: &TrainingReport) -> (StopReason, usize) {
    let TrainingDetails::FineTuned(history) = &report.training else { panic!("not fine-tuned") };
    (history.stop_reason, history.steps)
}

fn full() -> FineTuneSettings {
    FineTuneSettings { method: Method::Full, learning_rate: 5e-3, ..lora() }
}

/// The error of the model in the folder on the test rows of `small`, measured as the trainer does.
fn served_error(workspace: &Workspace, out: &str) -> f64 {
    let (model, tokenizer) = Model::load(&workspace.path(out), Device::Cpu).unwrap();
    let tasks = load(&workspace.plan(), lora().seed).unwrap();
    let rows = tasks[1].test_scores();
    let mut sum = 0.0;
    for (text, truth) in &rows {
        let prediction =
            model.classify(&[&tokenizer.tokenize(*text).unwrap()], Outputs::Scores).unwrap().remove(0);
        let scores = prediction.scores.iter().find(|scores| &*scores.head == "small").unwrap();
        sum += f64::from((scores.score.unwrap() - truth).abs());
    }
    sum / rows.len() as f64
}

#[test]
fn every_encoder_learns_and_is_served_as_trained() {
    for encoder in ENCODERS {
        for settings in [lora(), full()] {
            let workspace = Workspace::new(encoder);
            let reports = workspace.train("out", &settings, false, &StopSignal::default()).unwrap();
            let losses = losses(&reports[0]);
            assert!(losses.last().unwrap() < &(0.95 * losses[1]), "{encoder}: {losses:?}");
            let Some(Quality::Score(quality)) = &reports[1].held_out else { panic!("no score") };
            let (trained, served) = (quality.score.mean_absolute_error, served_error(&workspace, "out"));
            assert!((trained - served).abs() < 1e-5, "{encoder}: trained {trained}, served {served}");
        }
    }
}

#[test]
fn the_same_command_gives_the_same_bytes() {
    let workspace = Workspace::new("bert");
    let files = |out: &str| {
        workspace.train(out, &lora(), false, &StopSignal::default()).unwrap();
        ["adapter_model.safetensors", "heads/word/head.safetensors", "heads/small/head.json"]
            .map(|name| workspace.read(&format!("{out}/{name}")))
    };
    assert!(files("one") == files("two"), "the files differ");
}

#[test]
fn an_interrupted_training_resumes_to_the_same_result() {
    let workspace = Workspace::new("bert");
    let whole = workspace.train("whole", &lora(), false, &StopSignal::default()).unwrap();

    let stop = StopSignal::default();
    let state = workspace.path("parts/.training/state.json");
    let watcher = stop.clone();
    let watch = std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !state.is_file() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        watcher.request();
    });
    // There is a checkpoint after each step, so that the first step triggers the stop.
    let often = FineTuneSettings { checkpoint_every: Duration::ZERO, ..lora() };
    let reports = workspace.train("parts", &often, false, &stop).unwrap();
    watch.join().unwrap();
    let (why, steps) = outcome(&reports[0]);
    assert!(why == StopReason::Interrupted && steps > 0, "{why:?} after {steps} steps");
    assert!(Model::load(&workspace.path("parts"), Device::Cpu).is_ok(), "the best result was not written");

    let reports = workspace.train("parts", &lora(), true, &StopSignal::default()).unwrap();
    assert_eq!(outcome(&reports[0]), outcome(&whole[0]));
    for name in ["adapter_model.safetensors", "heads/word/head.safetensors", "heads/small/head.safetensors"] {
        let [whole, parts] = ["whole", "parts"].map(|out| workspace.read(&format!("{out}/{name}")));
        assert!(whole == parts, "{name} differs");
    }
    assert!(!workspace.path("parts/.training").exists(), "the checkpoint was not removed");
}

#[test]
fn a_training_that_cannot_be_written_keeps_its_checkpoint() {
    let workspace = Workspace::new("bert");
    let whole = workspace.train("whole", &lora(), false, &StopSignal::default()).unwrap();
    // The adapter's file cannot be written where a folder has its name.
    let obstacle = workspace.path("parts/adapter_model.safetensors");
    std::fs::create_dir_all(&obstacle).unwrap();
    workspace.train("parts", &lora(), false, &StopSignal::default()).unwrap_err();
    std::fs::remove_dir(&obstacle).unwrap();
    // As if a kill had come between the removal of the previous checkpoint and the renaming of the new one.
    std::fs::rename(workspace.path("parts/.training"), workspace.path("parts/.training.new")).unwrap();

    let reports = workspace.train("parts", &lora(), true, &StopSignal::default()).unwrap();
    assert_eq!(outcome(&reports[0]), outcome(&whole[0]));
    let [whole, parts] =
        ["whole", "parts"].map(|out| workspace.read(&format!("{out}/heads/word/head.safetensors")));
    assert!(whole == parts, "the resumed training has another result");
}

#[test]
fn other_settings_cannot_resume_a_training() {
    let workspace = Workspace::new("bert");
    let no_time = FineTuneSettings { time_budget: Some(Duration::ZERO), ..lora() };
    let reports = workspace.train("out", &no_time, false, &StopSignal::default()).unwrap();
    assert_eq!(outcome(&reports[0]), (StopReason::TimeBudget, 0));
    let other = FineTuneSettings { batch: 8, ..lora() };
    let error = format!("{:#}", workspace.train("out", &other, true, &StopSignal::default()).unwrap_err());
    assert!(error.contains("other data or settings"), "{error}");
}
