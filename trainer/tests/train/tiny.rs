//! Tiny random encoders, and rows that they can learn.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use llm_router_classifier::device::Compute;
use llm_router_trainer::train::{
    Decay, HeadPlan, Job, Kind, Method, Plan, Report, Settings, Source, Stop, fine_tune, load,
};
use tch::Device;

pub(crate) const ENCODERS: [&str; 5] = ["bert", "roberta", "deberta-v3", "deberta-own-keys", "modernbert"];

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../classifier/tests/fixtures")
}

/// A folder with an encoder's folder and rows.
pub(crate) struct Workplace {
    pub(crate) folder: tempfile::TempDir,
}

impl Workplace {
    pub(crate) fn new(encoder: &str) -> Self {
        let workplace = Self { folder: tempfile::tempdir().unwrap() };
        let encoders = fixtures().join("encoders");
        std::fs::create_dir(workplace.path("base")).unwrap();
        for (from, name) in
            [(encoder, "config.json"), (encoder, "model.safetensors"), ("nvidia", "tokenizer.json")]
        {
            std::fs::copy(encoders.join(from).join(name), workplace.path("base").join(name)).unwrap();
        }
        std::fs::write(workplace.path("rows.jsonl"), rows()).unwrap();
        workplace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Two heads: which of two words is in the text, and how large a share of its words is small.
    pub(crate) fn plan(&self) -> Plan {
        let data = vec![Source::from(self.path("rows.jsonl"))];
        let label = HeadPlan { held_out: Some(0.1), ..HeadPlan::new("word", data.clone()) };
        let score = HeadPlan {
            kind: Kind::Score,
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
        settings: &Settings,
        resume: bool,
        stop: &Stop,
    ) -> Result<Vec<Report>> {
        // libtorch's chance is the process's, and so is its order when tests run side by side.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let job = Job {
            model: &self.path("base"),
            out: &self.path(out),
            compute: Compute::from(Device::Cpu),
            threads: 1,
            seed: settings.seed,
            command: "llm-router-train train ...",
            began: Instant::now(),
        };
        fine_tune(&load(&self.plan(), settings.seed)?, &job, settings, resume, stop)
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.path(path)).unwrap()
    }
}

pub(crate) fn lora() -> Settings {
    Settings {
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

/// Texts of 4 to 20 words, in which the word `t1` or `t2` is anywhere.
fn rows() -> String {
    let mut random = fastrand::Rng::with_seed(5);
    let mut rows = Vec::new();
    for _ in 0..300 {
        let mut words: Vec<u32> = (0..random.usize(4..20)).map(|_| random.u32(5..97)).collect();
        let small = words.iter().filter(|word| **word < 51).count() as f64 / words.len() as f64;
        let label = random.u32(1..3);
        let place = random.usize(0..words.len());
        words[place] = label;
        let text: Vec<_> = words.iter().map(|word| format!("t{word}")).collect();
        let row = serde_json::json!({"text": text.join(" "), "label": format!("t{label}"), "score": small});
        rows.push(row.to_string());
    }
    rows.join("\n")
}
