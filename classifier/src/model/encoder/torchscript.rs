//! Any other encoder, as TorchScript.
//!
//! `model.pt` takes token ids and a mask (1 where a token is not padding), both `[texts, tokens]` int64, and
//! returns either token vectors `[texts, tokens, hidden]` or one vector per text, `[texts, hidden]`, where
//! `hidden` is `config.json`'s `hidden_size`. Heads read either as layer 1.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tch::{CModule, Device, Kind, Tensor};

use super::Shape;
use super::config::Part;
use crate::model::batch::Batch;

/// A scripted or traced module. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct TorchScript {
    module: Arc<CModule>,
    hidden_size: i64,
}

/// The properties that a TorchScript module does not expose.
#[derive(Deserialize)]
pub(super) struct TorchScriptConfig {
    hidden_size: i64,
    max_position_embeddings: usize,
    #[serde(default)]
    pad_token_id: i64,
}

impl Part for TorchScriptConfig {
    fn check(&self) -> Result<()> {
        ensure!(self.hidden_size > 0, "hidden_size must be positive");
        Ok(())
    }
}

impl TorchScriptConfig {
    pub(super) fn shape(&self) -> Shape {
        Shape {
            layers: 1,
            hidden_size: self.hidden_size,
            max_tokens: self.max_position_embeddings,
            pad_token: self.pad_token_id,
        }
    }
}

impl TorchScript {
    /// Reads the module.
    ///
    /// # Errors
    /// If it is not TorchScript; the error names the file.
    pub(super) fn load(path: &Path, hidden_size: i64, device: Device) -> Result<Self> {
        let fail = || format!("cannot read {} as TorchScript", path.display());
        let mut module = CModule::load_on_device(path, device).with_context(fail)?;
        module.f_set_eval().with_context(fail)?;
        Ok(Self { module: Arc::new(module), hidden_size })
    }

    /// See [`super::Encoder::hidden_states`]. One vector per text is returned like the vector of a text's
    /// only token.
    pub(super) fn hidden_states(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        let mask = match batch.mask() {
            Some(mask) => mask.f_to_kind(Kind::Int64)?,
            None => batch.ids.f_ones_like()?,
        };
        let output = tch::no_grad(|| self.module.forward_ts(&[&batch.ids, &mask]))?;
        let (texts, tokens, hidden) = (batch.texts(), batch.tokens(), self.hidden_size);
        let states = match output.size().as_slice() {
            size if size == [texts, tokens, hidden] => output,
            size if size == [texts, hidden] => output.f_unsqueeze(1)?,
            size => bail!(
                "model.pt returned a tensor {size:?} for {texts} texts of {tokens} tokens; expected [texts, tokens, \
                 {hidden}] or [texts, {hidden}]"
            ),
        };
        Ok(vec![states.f_to_kind(Kind::Float)?])
    }
}
