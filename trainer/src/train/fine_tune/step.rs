//! One step of the optimiser.

use anyhow::{Result, bail};

use super::batches;
use super::checkpoint::TrainingState;
use super::trainer::Trainer;

impl Trainer<'_> {
    /// Fits some texts, at a fraction of the highest learning rate, and returns their loss. Random numbers depend on the
    /// step alone, so that a resumed training takes the same steps.
    pub(super) fn step(
        &mut self,
        state: &mut TrainingState,
        texts: &[usize],
        rate_fraction: f64,
    ) -> Result<f64> {
        let settings = self.options.settings;
        tch::manual_seed(settings.seed.wrapping_add(state.steps as u64).cast_signed());
        self.network.enable_dropout(true);
        let length =
            |text: usize| self.training_set.texts.get(text).map_or(0, |text| text.tokens.ids().len());
        let micro_batches = batches::micro_batches(texts, length, settings.batch_tokens);
        let mut sum = 0.0;
        for batch in micro_batches {
            let loss =
                self.network.loss(&self.parameters, &self.training_set, &batch, settings.label_smoothing)?;
            let loss = loss.f_div_scalar(texts.len() as f64)?;
            sum += f64::try_from(&loss)?;
            loss.f_backward()?;
            tch::no_grad(|| self.collect_gradients())?;
        }
        self.network.enable_dropout(false);
        if !sum.is_finite() {
            bail!("the loss is not finite after {} steps; try a lower learning rate", state.steps);
        }
        state.steps += 1;
        state.loss += sum;
        tch::no_grad(|| {
            self.parameters.step(state.steps, rate_fraction, settings.clip)?;
            self.weights.apply(&self.parameters)
        })?;
        Ok(sum)
    }

    /// Moves the gradients of a forward pass to the parameters.
    fn collect_gradients(&mut self) -> Result<()> {
        self.weights.collect_gradients(&mut self.parameters)?;
        for head in &self.network.heads {
            for id in [head.weight, head.bias] {
                let mut gradient = self.parameters.value(id)?.f_grad()?;
                if gradient.defined() {
                    self.parameters.accumulate(id, &gradient)?;
                    let _ = gradient.f_zero_()?;
                }
            }
        }
        Ok(())
    }
}
