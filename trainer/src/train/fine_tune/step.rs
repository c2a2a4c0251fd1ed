//! One step of the optimiser.

use anyhow::{Result, bail};

use super::batches;
use super::checkpoint::State;
use super::trainer::Trainer;

impl Trainer<'_> {
    /// Fits some texts, at a share of the highest learning rate, and returns their loss. Chance depends on the step alone,
    /// so that a resumed training goes the same way.
    pub(super) fn step(&mut self, state: &mut State, texts: &[usize], share: f64) -> Result<f64> {
        let settings = self.run.settings;
        tch::manual_seed(settings.seed.wrapping_add(state.steps as u64).cast_signed());
        self.network.train(true);
        let length = |text: usize| self.examples.texts.get(text).map_or(0, |text| text.tokens.ids().len());
        let parts = batches::parts(texts, length, settings.batch_tokens);
        let mut sum = 0.0;
        for part in parts {
            let loss =
                self.network.loss(&self.parameters, &self.examples, &part, settings.label_smoothing)?;
            let loss = loss.f_div_scalar(texts.len() as f64)?;
            sum += f64::try_from(&loss)?;
            loss.f_backward()?;
            tch::no_grad(|| self.collect())?;
        }
        self.network.train(false);
        if !sum.is_finite() {
            bail!("the loss is not finite after {} steps; try a lower learning rate", state.steps);
        }
        state.steps += 1;
        state.loss += sum;
        tch::no_grad(|| {
            self.parameters.step(state.steps, share, settings.clip)?;
            self.change.apply(&self.parameters)
        })?;
        Ok(sum)
    }

    /// Takes the gradients of a part of the step.
    fn collect(&mut self) -> Result<()> {
        self.change.collect(&mut self.parameters)?;
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
