//! The state of a training in a folder, so that it can go on where it was ended.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::Tensor;

use super::history::Epoch;
use super::parameters::Parameters;
use super::settings::Settings;
use crate::train::task::HeadTask;

const TENSORS: &str = "state.safetensors";
const STATE: &str = "state.json";

/// Where a training is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Tells settings and data apart.
    pub(super) fingerprint: String,
    /// Steps done.
    pub(super) steps: usize,
    /// The sum of the losses of this epoch's steps.
    pub(super) loss: f64,
    /// Seconds that it took.
    pub(super) seconds: f64,
    /// The epochs done; the first is the encoder as it was.
    pub(super) epochs: Vec<Epoch>,
}

/// The folder that keeps the state.
#[derive(Debug)]
pub(super) struct Checkpoint(PathBuf);

impl Checkpoint {
    /// In the output's folder.
    pub(super) fn of(out: &Path) -> Self {
        Self(out.join(".training"))
    }

    /// Writes the state; what was there is replaced only when all is written.
    pub(super) fn save(&self, state: &State, parameters: &Parameters, best: &[Tensor]) -> Result<()> {
        let new = self.0.with_extension("new");
        let fail = || format!("cannot write {}", new.display());
        std::fs::create_dir_all(&new).with_context(fail)?;
        Tensor::write_safetensors(&parameters.state(best), new.join(TENSORS)).with_context(fail)?;
        std::fs::write(new.join(STATE), serde_json::to_string(state)?).with_context(fail)?;
        self.remove()?;
        std::fs::rename(&new, &self.0).with_context(fail)
    }

    /// Takes the state back into the parameters, and returns it with the best values so far.
    pub(super) fn load(
        &self,
        fingerprint: &str,
        parameters: &mut Parameters,
    ) -> Result<(State, Vec<Tensor>)> {
        let fail = || format!("cannot resume from {}", self.0.display());
        let state: State = serde_json::from_slice(&std::fs::read(self.0.join(STATE)).with_context(fail)?)
            .with_context(fail)?;
        ensure!(
            state.fingerprint == fingerprint,
            "{}: it was begun with other data or settings; without --resume it begins anew",
            fail()
        );
        let tensors = Tensor::read_safetensors(self.0.join(TENSORS)).with_context(fail)?;
        let mut tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
        let take = |name: &str| tensors.remove(name).with_context(|| format!("{}: no {name}", fail()));
        let best = parameters.take_state(take)?;
        Ok((state, best))
    }

    /// Removes the state.
    pub(super) fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

/// What tells a training from others: the same settings on the same data go the same way.
pub(super) fn fingerprint(settings: &Settings, tasks: &[HeadTask]) -> Result<String> {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(settings)?);
    for HeadTask { plan, data, split, .. } in tasks {
        digest.update(format!("{plan:?}"));
        for row in split.fit.iter().filter_map(|&row| data.rows.get(row)) {
            digest.update(format!("{row:?}"));
        }
    }
    Ok(digest.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}
