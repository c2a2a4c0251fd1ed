//! Tiny random encoders, and rows that they can learn from.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use llm_router_classifier::device::Compute;
use llm_router_trainer::train::{
    Decay, FineTuneSettings, HeadKind, HeadPlan, Job, Method, Plan, Source, StopSignal, TrainingReport,
    fine_tune, load,
};
use tch::Device;

use crate::time_limit::TimeLimit;

pub(crate) const ENCODERS: [&str; 5] = ["bert", "roberta", "deberta-v3", "deberta-own-keys", "modernbert"];

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../classifier/tests/fixtures")
}

/// A folder with an encoder and training rows.
pub(crate) struct Workspace {
    pub(crate) folder: tempfile::TempDir,
    _limit: TimeLimit,
}

impl Workspace {
    pub(crate) fn new(encoder: &str) -> Self {
        let workspace = Self { folder: tempfile::tempdir().unwrap(), _limit: TimeLimit::start() };
        let encoders = fixtures().join("encoders");
        std::fs::create_dir(workspace.path("base")).unwrap();
        for (from, name) in
            [(encoder, "config.json"), (encoder, "model.safetensors"), ("nvidia", "tokenizer.json")]
        {
            std::fs::copy(encoders.join(from).join(name), workspace.path("base").join(name)).unwrap();
        }
        std::fs::write(workspace.path("rows.jsonl"), rows()).unwrap();
        workspace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Two heads: which of two words is in the text, and the fraction of its words that are small.
    pub(crate) fn plan(&self) -> Plan {
        let data = vec![Source::from(self.path("rows.jsonl"))];
        let label = HeadPlan { held_out: Some(0.1), ..HeadPlan::new("word", data.clone()) };
        let score = HeadPlan {
            kind: HeadKind::Score,
            layer: Some(1),
            held_out: Some(0.1),
            features: vec![llm_router_classifier::model::text_features::TextFeature::LogLength],
            ..HeadPlan::new("small", data)
        };
        Plan { heads: vec![label, score] }
    }

    pub(crate) fn train(
        &self,
        out: &str,
        settings: &FineTuneSettings,
        resume: bool,
        stop: &StopSignal,
    ) -> Result<Vec<TrainingReport>> {
        // libtorch has one random number generator per process: trainings in parallel would disturb each other.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let job = Job {
            model: &self.path("base"),
            out: &self.path(out),
            compute: Compute::from(Device::Cpu),
            threads: 1,
            seed: settings.seed,
            command: "llm-router-train train ...",
            started: Instant::now(),
        };
        fine_tune(&load(&self.plan(), settings.seed)?, &job, settings, resume, stop)
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.path(path)).unwrap()
    }
}

pub(crate) fn lora() -> FineTuneSettings {
    FineTuneSettings {
        method: Method::Lora { rank: 4, alpha: 8.0 },
        epochs: 10,
        patience: 10,
        batch: 16,
        batch_tokens: 256,
        learning_rate: 2e-2,
        head_learning_rate: 1e-2,
        warm_up: 0.1,
        decay: Decay::Cosine,
        weight_decay: 0.01,
        clip: 1.0,
        dropout: 0.05,
        label_smoothing: 0.0,
        seed: 3,
        time_budget: None,
        checkpoint_every: Duration::from_secs(3600),
    }
}

/// Texts of 4 to 20 words, with the word `t1` or `t2` at any position.
fn rows() -> String {
    let mut random = fastrand::Rng::with_seed(5);
    let mut rows = Vec::new();
    for _ in 0..300 {
        let mut words: Vec<u32> = (0..random.usize(4..20)).map(|_| random.u32(5..97)).collect();
        let small = words.iter().filter(|word| **word < 51).count() as f64 / words.len() as f64;
        let label = random.u32(1..3);
        let position = random.usize(0..words.len());
        words[position] = label;
        let text: Vec<_> = words.iter().map(|word| format!("t{word}")).collect();
        let row = serde_json::json!({"text": text.join(" "), "label": format!("t{label}"), "score": small});
        rows.push(row.to_string());
    }
    rows.join("\n")
}
