//! The checkpoint of a training: its state in a folder, from which `--resume` continues.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::Tensor;

use super::history::Epoch;
use super::parameters::Parameters;
use super::settings::FineTuneSettings;
use crate::train::task::HeadTask;

const TENSORS: &str = "state.safetensors";
const STATE: &str = "state.json";

/// How far a training has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainingState {
    /// Identifies settings and data.
    pub(super) fingerprint: String,
    /// Steps done.
    pub(super) steps: usize,
    /// The sum of the losses of this epoch's steps.
    pub(super) loss: f64,
    /// Seconds of training, in all processes.
    pub(super) seconds: f64,
    /// The epochs done. The first is the encoder before training.
    pub(super) epochs: Vec<Epoch>,
}

/// The folder with the checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoint(PathBuf);

impl Checkpoint {
    /// The checkpoint in an output folder.
    pub(super) fn new(out: &Path) -> Self {
        Self(out.join(".training"))
    }

    /// Where a checkpoint is written before it replaces the previous one.
    fn new_folder(&self) -> PathBuf {
        self.0.with_extension("new")
    }

    /// Saves the state. The previous checkpoint is replaced only when the new one is complete.
    pub(super) fn save(&self, state: &TrainingState, parameters: &Parameters, best: &[Tensor]) -> Result<()> {
        let new = self.new_folder();
        let fail = || format!("cannot write {}", new.display());
        std::fs::create_dir_all(&new).with_context(fail)?;
        Tensor::write_safetensors(&parameters.state(best), new.join(TENSORS)).with_context(fail)?;
        std::fs::write(new.join(STATE), serde_json::to_string(state)?).with_context(fail)?;
        self.remove()?;
        std::fs::rename(&new, &self.0).with_context(fail)
    }

    /// Loads the parameters, and returns the state with the parameters of the best epoch so far.
    pub(super) fn load(
        &self,
        fingerprint: &str,
        parameters: &mut Parameters,
    ) -> Result<(TrainingState, Vec<Tensor>)> {
        // A kill between the removal of the previous checkpoint and the renaming leaves the new one, which is complete.
        let folder = if self.0.exists() { self.0.clone() } else { self.new_folder() };
        let fail = || format!("cannot resume from {}", self.0.display());
        let state = std::fs::read(folder.join(STATE)).with_context(fail)?;
        let state: TrainingState = serde_json::from_slice(&state).with_context(fail)?;
        ensure!(
            state.fingerprint == fingerprint,
            "{}: the training was started with other data or settings; start a new one without --resume",
            fail()
        );
        let tensors = Tensor::read_safetensors(folder.join(TENSORS)).with_context(fail)?;
        let mut tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
        let take = |name: &str| tensors.remove(name).with_context(|| format!("{}: no {name}", fail()));
        let best = parameters.load_state(take)?;
        Ok((state, best))
    }

    /// Removes the checkpoint, if there is one.
    pub(super) fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Identifies a training: the same settings on the same data take the same steps.
pub(super) fn fingerprint(settings: &FineTuneSettings, tasks: &[HeadTask]) -> Result<String> {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(settings)?);
    for HeadTask { plan, data, split, .. } in tasks {
        digest.update(format!("{plan:?}"));
        for row in split.train.iter().filter_map(|&row| data.rows.get(row)) {
            digest.update(format!("{row:?}"));
        }
    }
    Ok(digest.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}
